"""Tests for fetch, against a server in this process."""

import base64
import hashlib
import http.server
import os
import urllib.error
import urllib.request

import pytest
import tensorflow as tf

from tests import local_server
from tests.weights import augreg_test
from tfvit.weights import fetch
from tfvit.weights import load
from tfvit.weights import transfer

DATA = bytes(range(256)) * 100
STEM = "Ti_16-i21k-300ep-lr_0.001-aug_{}-wd_0.03-do_0.0-sd_0.0"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves DATA under /folder/NAME, misbehaving as NAME says."""

    def do_GET(self):
        name = os.path.basename(self.path)
        self.server.requests.append((name, self.headers["Range"]))
        first = len(self.server.requests) == 1
        if name == "missing.npz" or (name == "busy.npz" and first):
            self.send_error(404 if name == "missing.npz" else 503)
            return
        start = 0
        if self.headers["Range"] and name != "no-ranges.npz":
            start = int(self.headers["Range"][len("bytes="):-1])
        data = self.server.files.get(name, DATA)
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        corrupt = name in self.server.corrupt or name == "corrupt.npz"
        md5 = hashlib.md5(b"other" if corrupt else data).digest()
        self.send_header("x-goog-hash", "crc32c=AAAAAA==")
        self.send_header("x-goog-hash", "md5=" + base64.b64encode(md5).decode())
        self.end_headers()
        end = len(data)
        if name == "never.npz" or (name == "short.npz" and first):
            end = start + 1000
        self.wfile.write(data[start:end])

    def log_message(self, *unused_args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setattr(transfer, "_PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    with local_server.answering(Handler) as server:
        server.requests, server.files, server.corrupt = [], {}, set()
        server.url = f"http://127.0.0.1:{server.server_port}/folder"
        yield server


def content(path):
    with open(path, "rb") as file:
        return file.read()


def start_with(url, data):
    """Leaves `data` as an earlier, interrupted download of `url` would."""
    part = fetch.cache_path(url) + ".part"
    os.makedirs(os.path.dirname(part))
    with open(part, "wb") as file:
        file.write(data)


def test_a_file_is_downloaded_once(server, tmp_path):
    url = f"{server.url}/good.npz"
    path = fetch.resolve(url)
    assert content(path) == DATA
    assert path == str(tmp_path / f"127.0.0.1:{server.server_port}" / "folder" /
                       "good.npz")
    assert fetch.resolve(url) == path
    assert server.requests == [("good.npz", None)]
    assert os.listdir(os.path.dirname(path)) == ["good.npz"]


def test_a_url_may_have_blanks_and_letters_of_any_language(server):
    path = fetch.resolve(f"{server.url}/Gewichte für ViT 100%25.npz")
    assert content(path) == DATA
    assert server.requests == [("Gewichte%20f%C3%BCr%20ViT%20100%25.npz", None)]


def test_an_interrupted_download_is_resumed(server):
    url = f"{server.url}/good.npz"
    start_with(url, DATA[:700])
    assert content(fetch.resolve(url)) == DATA
    assert server.requests == [("good.npz", "bytes=700-")]


def test_a_server_without_ranges_is_asked_for_the_whole_file(server):
    url = f"{server.url}/no-ranges.npz"
    start_with(url, DATA[:700])
    assert content(fetch.resolve(url)) == DATA


@pytest.mark.parametrize("part", [b"x" * len(DATA), b"x" * 700])
def test_a_part_of_another_file_is_thrown_away(server, part):
    url = f"{server.url}/good.npz"
    start_with(url, part)
    assert content(fetch.resolve(url)) == DATA
    assert server.requests[-1] == ("good.npz", None)


def test_a_short_body_is_completed(server):
    assert content(fetch.resolve(f"{server.url}/short.npz")) == DATA
    assert server.requests == [("short.npz", None),
                               ("short.npz", "bytes=1000-")]


def test_a_busy_server_is_asked_again(server):
    assert content(fetch.resolve(f"{server.url}/busy.npz")) == DATA


@pytest.mark.parametrize("name", ["never.npz", "corrupt.npz"])
def test_what_stays_broken_never_becomes_a_file(server, name):
    url = f"{server.url}/{name}"
    with pytest.raises(ConnectionError, match="Could not download"):
        fetch.resolve(url)
    assert len(server.requests) == 3
    assert not os.path.exists(fetch.cache_path(url))


@pytest.fixture
def catalogue(server, monkeypatch, tiny, tmp_path):
    """A bucket with an index.csv and the recommended file; (server, model)."""
    monkeypatch.setattr(fetch, "_STORAGE", server.url)
    model = tiny()
    load.to_npz(model, tmp_path / "upload.npz")
    rows = [
        dict.fromkeys(augreg_test.COLUMNS.split(","), "") | {
            "ds": "i21k", "final_val": value, "filename": STEM.format(aug)
        } for aug, value in (("none", "0.3"), ("light1", "0.4"))
    ]
    server.files = {
        "index.csv": "\n".join([
            augreg_test.COLUMNS, *(",".join(row.values()) for row in rows), ""
        ]).encode(),
        f"{STEM.format('light1')}.npz": content(tmp_path / "upload.npz")
    }
    return server, model


def test_a_short_name_downloads_the_index_and_the_recommended_file(
        catalogue, tmp_path):
    server, model = catalogue
    # The index was half there already.
    start_with("gs://vit_models/augreg/index.csv",
               server.files["index.csv"][:100])
    expected = [v.numpy() for v in model.weights]
    for variable in model.weights:
        variable.assign_add(tf.ones_like(variable))
    for _ in range(2):
        load.from_npz(model, path="augreg/Ti_16", reset_head=False)
    for variable, value in zip(model.weights, expected, strict=True):
        assert variable.numpy().tobytes() == value.tobytes()
    best = f"{STEM.format('light1')}.npz"
    assert server.requests == [("index.csv", "bytes=100-"), (best, None)]
    assert sorted(os.listdir(tmp_path / "vit_models" / "augreg")) == [
        best, "index.csv"]


@pytest.mark.parametrize("broken", ["index", "light1"])
def test_a_corrupt_catalogue_file_is_refused(catalogue, broken):
    server, model = catalogue
    name = next(name for name in server.files if broken in name)
    server.corrupt.add(name)
    with pytest.raises(ConnectionError, match=f"{name}.*MD5 is wrong"):
        load.from_npz(model, path="augreg/Ti_16")
    server.corrupt.clear()
    load.from_npz(model, path="augreg/Ti_16")


def test_a_download_shows_a_bar():
    assert fetch._progress(131_000_000, 393_000_000, 13.1e6) == (
        "[######              ] 33% of 393 MB, 13.1 MB/s, 20 s left")
    assert fetch._progress(5_000_000, None, 1e6) == "5 MB, 1.0 MB/s"


def test_a_missing_file_is_named(server):
    with pytest.raises(FileNotFoundError, match="missing.npz does not exist"):
        fetch.resolve(f"{server.url}/missing.npz")
    assert len(server.requests) == 1


def test_without_network_one_sentence_says_where_to_put_the_file(
        monkeypatch, tmp_path):

    def no_network(*unused_args, **unused_kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError) as error:
        fetch.resolve("sam/ViT-B_16")
    assert str(error.value) == (
        "Could not download gs://vit_models/sam/ViT-B_16.npz (no network); on "
        "a machine without network put the file at "
        f"{tmp_path}/vit_models/sam/ViT-B_16.npz.")


def test_public_buckets_are_read_over_https(monkeypatch, tmp_path):

    def not_found(request, **unused_kwargs):
        raise urllib.error.HTTPError(request.full_url, 404, "", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", not_found)
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        fetch.resolve("gs://a_bucket/a+b/c.npz")
    assert error.value.__cause__.filename == (
        "https://storage.googleapis.com/a_bucket/a%2Bb/c.npz")


def test_a_local_path_is_itself(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"")
    assert fetch.resolve(path) == str(path)


@pytest.mark.parametrize("path", ["no/such.npz", "ftp://host/x.npz", "sam"])
def test_what_is_neither_file_nor_name_is_an_error(path):
    with pytest.raises(FileNotFoundError, match=f"no file {path}, nor"):
        fetch.resolve(path)


@pytest.mark.parametrize("url", ["https://host", "https://host/a/../../b.npz"])
def test_urls_cannot_leave_the_cache(url):
    with pytest.raises(FileNotFoundError, match="does not name a file"):
        fetch.resolve(url)


@pytest.mark.parametrize("name, url", [
    ("imagenet21k/ViT-B_16", "gs://vit_models/imagenet21k/ViT-B_16.npz"),
    ("imagenet21k+imagenet2012/R50+ViT-B_16.npz",
     "gs://vit_models/imagenet21k+imagenet2012/R50+ViT-B_16.npz"),
    ("augreg/B_16-i21k-300ep-lr_0.001-aug_none-wd_0.1-do_0.0-sd_0.0",
     "gs://vit_models/augreg/"
     "B_16-i21k-300ep-lr_0.001-aug_none-wd_0.1-do_0.0-sd_0.0.npz"),
    ("augreg/index.csv", "gs://vit_models/augreg/index.csv"),
    ("gsam/Mixer-S_8", "gs://mixer_models/gsam/Mixer-S_8.npz"),
    ("mixer_models/imagenet21k/Mixer-B_16",
     "gs://mixer_models/imagenet21k/Mixer-B_16.npz"),
    ("lit/LiT-B16B_2", "gs://vit_models/lit/LiT-B16B_2.npz"),
    ("lit/LiT-L16S.model", "gs://vit_models/lit/LiT-L16S.model"),
    ("runs/ViT-B_16", None),
])
def test_catalogue_names_mean_the_published_files(name, url):
    assert fetch.catalogue_url(name) == url


def test_files_are_kept_under_their_buckets_name(monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", "/cache")
    expected = "/cache/vit_models/sam/ViT-B_16.npz"
    for url in ("gs://vit_models/sam/ViT-B_16.npz",
                "https://storage.googleapis.com/vit_models/sam/ViT-B_16.npz"):
        assert fetch.cache_path(url) == expected

"""Images behind URLs, from a server of Python's own on this machine."""

import errno
import http.server
import time

import pytest
import tensorflow as tf

from tests import local_server
from tfvit.data.datasets import captions
from tfvit.data.datasets import downloads
from tfvit.data.datasets import sources
from tfvit.data.images import ops
from tfvit.weights import transfer

PNG = tf.io.encode_png(tf.zeros([3, 4, 3], tf.uint8)).numpy()


@pytest.fixture(scope="module")
def web():
    """(its URL, what was asked of it)."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):

        def do_GET(self):
            asked.append(self.path)
            first = asked.count(self.path) == 1
            status, body, length = 200, PNG, None
            if "missing" in self.path:
                status, body = 404, b"<html>"
            elif "page" in self.path:
                body = b" <html>Hello"
            elif "shy" in self.path and first:
                status = 503
            elif "cut" in self.path and first:
                length = len(PNG) + 5
            elif "huge" in self.path:
                length = 2**30
            self.send_response(status)
            self.send_header("Content-Length", str(length or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            del args

    with local_server.answering(Handler, "localhost") as server:
        yield f"http://localhost:{server.server_port}", asked


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "_PAUSE", 0.0)
    return tmp_path / "cache"


def table(tmp_path, *rows):
    path = tmp_path / "table.csv"
    path.write_text("image,label\n" + "".join(f"{row}\n" for row in rows))
    return str(path)


def test_images_are_fetched_once(web, tmp_path, cache):
    url, asked = web
    (tmp_path / "here.png").write_bytes(PNG)
    path = table(tmp_path, f"{url}/a.png,cat", "here.png,dog",
                 f"{url}/shy/b%20c.png?size=1,dog", f"{url}/cut.png,cat")
    for _ in range(2):
        before = len(asked)
        source = sources.manifest(path=path, split="train[:100%]")
        assert source.num_examples == 4 and source.notes == ()
        for example in source.examples():
            assert ops.decode(example["image"]).shape == [3, 4, 3]
    assert len(asked) == before
    assert asked.count("/a.png") == 1 and asked.count("/cut.png") == 2
    names = [file.name for file in cache.rglob("*.png")]
    assert len(names) == 3 == sum(file.is_file() for file in cache.rglob("*"))
    assert any(name.endswith("-b_c.png") for name in names)


def test_a_full_disk_ends_it_and_says_the_way_out(web, tmp_path, monkeypatch):

    def full(name, mode):
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr(downloads, "open", full, raising=False)
    path = table(tmp_path, f"{web[0]}/full.png,cat", f"{web[0]}/f.png,dog")
    with pytest.raises(OSError, match=r"Cannot write \S+\.png: No space left on "
                       "device. Make room, or set TFVIT_CACHE to another"):
        sources.manifest(path=path, split="train[:100%]",
                         unreachable="leave_out")


@pytest.mark.parametrize("name, reason", [
    ("missing.png", "HTTP 404 Not Found"), ("page.png", "no image, but a web "
                                            "page"),
    ("huge.png", "larger than 64 MB")])
def test_what_cannot_be_fetched_is_named_or_left_out(web, tmp_path, name,
                                                     reason):
    url, _ = web
    path = table(tmp_path, f"{url}/x.png,cat", f"{url}/{name}?key=secret,dog",
                 f"{url}/y.png,dog")
    with pytest.raises(ValueError) as caught:
        sources.manifest(path=path, split="a[:100%]")
    said = str(caught.value)
    assert f"1 of 3 images cannot be fetched: line 3, {url}/{name}?..." in said
    assert reason in said and "'leave_out' trains without it" in said
    assert "secret" not in said
    source = sources.manifest(path=path, split="a[:100%]",
                              unreachable="leave_out")
    assert source.num_examples == 2 and "left out" in source.notes[0]
    assert source.class_names == ("cat", "dog")


def test_no_network_is_soon_clear(tmp_path):
    path = table(tmp_path, *(f"http://localhost:9/{i}.png,{'ab'[i % 2]}"
                             for i in range(300)))
    began = time.monotonic()
    with pytest.raises(ValueError, match="images cannot be fetched.*refused"):
        sources.manifest(path=path, split="a[:100%]", unreachable="leave_out")
    assert time.monotonic() - began < 20


def test_images_of_a_bucket_are_read_there(tmp_path):
    for name in "xy":
        with tf.io.gfile.GFile(f"ram://photos/{name}.png", "wb") as f:
            f.write(PNG)
    path = table(tmp_path, "ram://photos/x.png,cat", "ram://photos/y.png,dog")
    source = sources.manifest(path=path, split="a[:100%]")
    assert [e["image"] for e in source.examples().as_numpy_iterator()] == [
        PNG, PNG]


def test_captions_have_urls_too(web, tmp_path):
    url, _ = web
    path = tmp_path / "pairs.csv"
    path.write_text(f"image,caption\n{url}/a.png,One.\n{url}/missing.png,No.\n"
                    f"{url}/a.png,Two.\n")
    source = captions.table(path=str(path), unreachable="leave_out")
    (example,) = source.examples()
    assert example["label"].numpy().tolist() == [b"One.", b"Two."]
    with pytest.raises(ValueError, match="'skip' is neither"):
        captions.table(path=str(path), unreachable="skip")

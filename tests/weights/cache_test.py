"""Files that change, move and are protected, on a server of RFC 9110."""

import base64
import email.utils
import errno
import fcntl
import hashlib
import http.server
import os
import resource
import socket
import threading
import time

import pytest

from tests import local_server
from tfvit.weights import cache
from tfvit.weights import fetch
from tfvit.weights import transfer

OLD, NEW = (bytes([i]) * 5000 for i in (1, 2))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.data, with the validators that server.kind names."""

    def do_GET(self):
        server, headers = self.server, self.headers
        server.requests.append(dict(headers, path=self.path))
        if server.answers:
            code, more = server.answers.pop(0)
            self.send_response(code)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = server.by_path.get(self.path, server.data)
        etag = f'"{hashlib.sha1(data).hexdigest()}"'
        etag = {"weak": f"W/{etag}", "date": None, "none": None}.get(
            server.kind, etag)
        date = email.utils.formatdate(server.date, usegmt=True)
        date = date if server.kind in ("date", "weak") else None
        self.body, start = data, None
        if etag and headers["If-None-Match"] == etag or (
                not headers["If-None-Match"] and date and
                headers["If-Modified-Since"] == date):
            self.send_response(304)
            self.end_headers()
            return
        if headers["Range"]:
            # Sec. 13.1.5: weak tags never match; a date must be the same.
            condition = headers["If-Range"]
            strong = etag and not etag.startswith("W/") and condition == etag
            if condition is None or strong or (date and condition == date):
                start = int(headers["Range"][len("bytes="):-1])
        if start is not None and start >= len(data):
            self.send_error(416)
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range",
                             f"bytes {start}-{len(data) - 1}/{len(data)}")
        body = data[start or 0:]
        for name, value in [("ETag", etag), ("Last-Modified", date),
                            ("Content-Length", str(len(body)))]:
            if value:
                self.send_header(name, value)
        self.end_headers()
        if server.break_off:
            server.break_off = False
            body = body[:1000]
        self.wfile.write(body)

    def log_message(self, *unused_args):
        pass


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that would have been made."""
    made = []
    monkeypatch.setattr(fetch.time, "sleep", made.append)
    return made


@pytest.fixture(params=["strong", "weak", "date"])
def kind(request):
    return request.param


@pytest.fixture
def server(monkeypatch, tmp_path, pauses):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    with local_server.answering(Handler) as server:
        server.kind, server.data, server.by_path = "strong", OLD, {}
        server.date, server.break_off = 1_000_000_000, False
        server.requests, server.answers = [], []
        server.host = f"127.0.0.1:{server.server_port}"
        server.url = f"http://{server.host}/a/w.npz"
        yield server


def read(url):
    with open(fetch.resolve(url), "rb") as f:
        return f.read()


def change(server):
    server.data = NEW
    server.date += 100


def test_a_changed_file_is_fetched_anew_and_an_unchanged_one_is_not(server,
                                                                    kind):
    server.kind = kind
    assert read(server.url) == read(server.url) == OLD
    assert len(server.requests) == 2  # The second was answered by 304.
    change(server)
    assert read(server.url) == read(server.url) == NEW


def test_a_file_at_hand_serves_without_network(server, caplog):
    assert read(server.url) == OLD
    server.answers = [(503, {})]
    assert read(server.url) == OLD
    assert "whether it changed cannot be told" in caplog.text
    server.shutdown()
    server.server_close()
    assert read(server.url) == OLD


def test_a_download_that_goes_on_after_a_change_is_of_one_piece(server, kind,
                                                                monkeypatch):
    server.kind, server.break_off = kind, True
    monkeypatch.setattr(transfer, "_ATTEMPTS", 1)
    with pytest.raises(ConnectionError, match="1000 of 5000 bytes"):
        fetch.resolve(server.url)
    assert os.path.getsize(fetch.cache_path(server.url) + ".part") == 1000
    change(server)
    assert read(server.url) == NEW
    assert server.requests[-1]["Range"] == "bytes=1000-"
    assert server.requests[-1]["If-Range"]


def test_what_has_not_changed_goes_on_where_it_was(server, kind):
    server.kind, server.break_off = kind, True
    assert read(server.url) == OLD
    assert [r.get("Range") for r in server.requests] == [None, "bytes=1000-"]


def test_without_anything_to_tell_by_a_part_is_of_no_use(server):
    server.kind, server.break_off = "none", True
    assert read(server.url) == OLD
    # The answer to the second had nothing to tell by, either.
    assert [r.get("Range") for r in server.requests] == [
        None, "bytes=1000-", None]


def test_a_server_that_ignores_if_range_is_found_out(server, monkeypatch):
    server.break_off = True
    monkeypatch.setattr(transfer, "_ATTEMPTS", 1)
    with pytest.raises(ConnectionError):
        fetch.resolve(server.url)
    change(server)
    server.answers = [(206, {"Content-Range": "bytes 1000-4999/5000",
                             "ETag": '"another"'})]
    monkeypatch.setattr(transfer, "_ATTEMPTS", 3)
    assert read(server.url) == NEW


def test_each_query_is_a_file_of_its_own(server):
    for number in ("7", "8"):
        server.by_path[f"/a/w.npz?id={number}"] = number.encode() * 9
    files = {number: fetch.resolve(f"{server.url}?id={number}")
             for number in ("7", "8")}
    assert read(f"{server.url}?id=7") == b"7" * 9
    assert read(f"{server.url}?id=8") == b"8" * 9
    assert read(server.url) == OLD
    assert len({*files.values(), fetch.resolve(server.url)}) == 3
    assert all(file.endswith(".npz") for file in files.values())


def test_a_password_opens_and_is_written_nowhere(server, tmp_path, caplog):
    url = server.url.replace("//", "//me:s3cr%40t@") + "?token=h1dden"
    assert read(url) == OLD
    assert base64.b64decode(server.requests[0]["Authorization"].split()[1]) == (
        b"me:s3cr@t")
    assert server.requests[0]["Host"] == server.host
    server.answers = [(404, {})]
    with pytest.raises(FileNotFoundError) as missing:
        fetch.resolve(url.replace("w.npz", "x.npz"))
    server.answers = 3 * [(500, {})]
    with pytest.raises(ConnectionError) as broken:
        fetch.resolve(url.replace("w.npz", "y.npz"))
    everything = [caplog.text, str(missing.value), str(broken.value)]
    for folder, _, names in os.walk(tmp_path):
        everything += [folder, *names]
        everything += [open(os.path.join(folder, name), "rb").read().decode(
            "latin-1") for name in names]
    assert not [text for text in everything
                if "s3cr" in text or "h1dden" in text]
    assert fetch.cache_path(url) != fetch.cache_path(
        url.replace("s3cr", "other"))


@pytest.mark.parametrize("code", [429, 503, 408])
@pytest.mark.parametrize("after, pause", [
    ("7", 7.0), ("100000", 60.0), ("-3", 1.0), ("soon", 1.0), (None, 1.0),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 1.0),
])
def test_a_server_that_asks_to_wait_is_asked_again(server, pauses, code, after,
                                                   pause):
    server.answers = [(code, {"Retry-After": after} if after else {})]
    assert read(server.url) == OLD
    assert pauses == [pause]


def test_a_date_to_come_back_at_is_understood(server, pauses):
    server.answers = [(429, {"Retry-After": email.utils.formatdate(
        time.time() + 30, usegmt=True)})]
    assert read(server.url) == OLD
    assert 25 < pauses[0] <= 30


def test_a_refused_connection_is_tried_again_and_no_other_refusal(
        server, pauses, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError, match="[Rr]efused.*put the file at"):
        fetch.resolve(f"http://127.0.0.1:{port}/w.npz")
    assert len(pauses) == 2
    server.answers = [(403, {})]
    with pytest.raises(ConnectionError, match="Forbidden"):
        fetch.resolve(server.url)
    assert len(pauses) == 2


def test_a_disk_that_takes_no_more_is_said_and_not_tried_again(server, pauses):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="Cannot write .*w.npz: File too large"
                           ".*TFVIT_CACHE"):
            fetch.resolve(server.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not pauses
    assert read(server.url) == OLD


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_explained(server, monkeypatch, caplog,
                                                  number):

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert read(server.url) == OLD
    assert f"without locks ({os.strerror(number)})" in caplog.text
    folder = os.path.dirname(fetch.cache_path(server.url))
    assert sorted(os.listdir(folder)) == [".w.npz.json", "w.npz"]


def test_what_was_put_there_by_hand_and_the_catalogue_are_not_asked_about(
        server, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "_STORAGE", f"http://{server.host}")
    for url, place in [("imagenet21k/ViT-B_16", "vit_models/imagenet21k"),
                       (server.url, "a"),
                       ("gs://bucket/x/ViT-B_16.npz", "bucket/x")]:
        file = tmp_path / place / ("w.npz" if place == "a" else "ViT-B_16.npz")
        file.parent.mkdir(parents=True)
        file.write_bytes(b"mine")
        assert read(url) == b"mine"
    assert not server.requests
    read("gs://vit_models/new.npz")
    read("gs://bucket/new.npz")
    for url in ("gs://vit_models/new.npz", "gs://bucket/new.npz"):
        change(server)
        assert read(url) == (OLD if "vit" in url else NEW)


@pytest.mark.parametrize("url, shown", [
    ("https://me:pass@host/x?key=1#f", "https://host/x?..."),
    ("https://host/a@b", "https://host/a@b"),
    ("gs://bucket/x", "gs://bucket/x"),
])
def test_messages_show_no_secrets(url, shown):
    assert cache.shown(url) == shown


def test_two_processes_fetch_a_file_once(server):
    results = []
    threads = [threading.Thread(target=lambda: results.append(read(server.url)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == 4 * [OLD]
    assert len([r for r in server.requests if "If-None-Match" not in r]) == 1

"""A folder, as browsers get it."""

import gzip
import http.client
import os
import threading

import pytest

from tfvit.server import static


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static") / "inside"
    version = folder / "models" / "a" / "7"
    version.mkdir(parents=True)
    (folder / "index.html").write_text("<h1>ä</h1>" * 100)
    (folder / "b.wasm").write_bytes(bytes(10_000))
    (version / "text.tflite").write_bytes(bytes(range(256)) * 50)
    (folder.parent / "secret").write_text("no")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    made = static.Server(str(folder), host="127.0.0.1", port=0)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def get(server):
    connection = http.client.HTTPConnection(*server.server_address)

    def call(path, method="GET", **headers):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        return response, response.read()

    yield call
    connection.close()


def test_pages_may_have_threads_and_are_zipped(get):
    response, data = get("/", Accept_Encoding="gzip, br")
    assert response.status == 200
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Cache-Control"] == "no-cache"
    assert gzip.decompress(data).decode() == "<h1>ä</h1>" * 100
    assert int(response.headers["Content-Length"]) == len(data) < 200
    assert get("/index.html")[1].decode() == "<h1>ä</h1>" * 100


def test_the_runtime_has_its_type(get):
    response, data = get("/b.wasm?x=1", Accept_Encoding="gzip")
    assert response.headers["Content-Type"] == "application/wasm"
    assert gzip.decompress(data) == bytes(10_000)


def test_weights_come_as_they_are(get):
    response, data = get("/models/a/7/text.tflite", Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] is None
    assert data == bytes(range(256)) * 50


def test_what_the_browser_has_is_not_sent_again(get):
    tag = get("/")[0].headers["ETag"]
    response, data = get("/", If_None_Match=tag)
    assert (response.status, data) == (304, b"")
    assert get("/", If_None_Match='"other"')[0].status == 200


def test_another_folder_at_the_address_is_seen(get, folder):
    """Two runs have a model of one name and step."""
    response, _ = get("/models/a/7/text.tflite")
    assert response.headers["Cache-Control"] == "no-cache"
    tag = response.headers["ETag"]
    assert get("/models/a/7/text.tflite", If_None_Match=tag)[0].status == 304
    path = folder / "models" / "a" / "7" / "text.tflite"
    os.utime(path, ns=(1, 1))
    response, data = get("/models/a/7/text.tflite", If_None_Match=tag)
    assert (response.status, data) == (200, path.read_bytes())


def test_a_head_has_no_body(get):
    response, data = get("/models/a/7/text.tflite", method="HEAD")
    assert (int(response.headers["Content-Length"]), data) == (12_800, b"")


@pytest.mark.parametrize("path", [
    "/nothing", "/models", "/models/", "/../secret", "/%2e%2e/secret",
    "/models/../../secret", "//etc/passwd", "/\0", "/%00"])
def test_nothing_else_is_there(get, path):
    response, data = get(path.replace("\0", "%00"))
    assert response.status == 404 and data == b"Not found.\n"
    assert get("/")[0].status == 200  # The connection goes on.

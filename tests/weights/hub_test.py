"""Downloads from the hub, which a server in this process plays."""

import hashlib
import http.server
import os

import pytest

from tests import local_server
from tfvit.weights import hub
from tfvit.weights import load
from tfvit.weights import transfer

LARGE = bytes(range(256)) * 40
SMALL = b'{"model_type": "vit"}'
COMMIT = "0" * 39 + "1"


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves owner/name: small files itself, large ones from elsewhere."""

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        server = self.server
        server.asked.append((self.command, self.path,
                             self.headers.get("Authorization")))
        if server.broken:
            self.send_error(500)
            return
        if self.path.startswith("/elsewhere/"):
            self.whole(LARGE, with_body, {"ETag": '"other"'})
            return
        *_, name, resolve, revision, file = self.path.split("/")
        if name == "private" and self.headers["Authorization"] != "Bearer t0":
            self.refuse(401)
        elif name not in ("name", "private") or revision not in ("main", "v2",
                                                                 COMMIT):
            self.refuse(404, "RepoNotFound")
        elif file == "config.json":
            self.whole(server.small, with_body, {
                "ETag": f'"{git_hash(server.small)}"'})
        elif file == "model.safetensors":
            good = hashlib.sha256(LARGE).hexdigest()
            self.send_response(302)
            self.send_header("Location", f"{server.other}/elsewhere/x")
            self.send_header("X-Linked-Etag", f'"{server.hash or good}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.refuse(404, "EntryNotFound")

    def refuse(self, code, why=""):
        self.send_response(code)
        self.send_header("X-Error-Code", why)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def whole(self, data, with_body, headers):
        self.send_response(200)
        for key, value in {**headers, "Content-Length": len(data)}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *unused_args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transfer, "_PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with local_server.answering(Handler) as server:
        server.asked, server.small, server.hash = [], SMALL, None
        server.broken = False
        port = server.server_address[1]
        # Another host, as far as anybody can tell.
        server.other = f"http://localhost:{port}"
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}/")
        yield server


def read(path):
    with open(path, "rb") as file:
        return file.read()


def test_files_are_fetched_once_and_asked_for_again(server, tmp_path):
    model = hub.Model("hf:owner/name")
    path = model.file("model.safetensors")
    assert path == str(tmp_path / "cache/huggingface/owner/name/main/"
                       "model.safetensors")
    assert read(path) == LARGE and read(model.file("config.json")) == SMALL
    assert model.file("pytorch_model.bin") is None
    server.asked.clear()
    assert model.file("model.safetensors") == path
    assert [command for command, *_ in server.asked] == ["HEAD"]
    server.small = b"{}"  # It changes on the hub.
    assert read(model.file("config.json")) == b"{}"


def test_a_commit_is_not_asked_for_again(server):
    model = hub.Model(f"hf:owner/name@{COMMIT}")
    path = model.file("config.json")
    server.asked.clear()
    assert model.file("config.json") == path and not server.asked


def test_the_token_goes_to_the_hub_alone(server, monkeypatch):
    with pytest.raises(PermissionError, match="anybody without a token"):
        hub.Model("hf:owner/private").file("config.json")
    monkeypatch.setenv("HF_TOKEN", "t0")
    assert read(hub.Model("hf:owner/private").file("model.safetensors")) == LARGE
    tokens = {path.startswith("/elsewhere"): token
              for _, path, token in server.asked if token or "else" in path}
    assert tokens == {False: "Bearer t0", True: None}


def test_the_token_may_lie_in_its_file(server, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text("t0\n")
    assert hub.Model("hf:owner/private").file("config.json")


def test_offline_asks_nobody(server, monkeypatch):
    path = hub.Model("hf:owner/name").file("config.json")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    server.asked.clear()
    assert hub.Model("hf:owner/name").file("config.json") == path
    assert hub.Model("hf:owner/name").file("model.safetensors") is None
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE forbids"):
        hub.Model("hf:owner/other").file("config.json")
    assert not server.asked


def test_what_huggingface_hub_has_is_used(server, monkeypatch, tmp_path):
    folder = tmp_path / "home/hub/models--owner--name"
    for name, content in [("refs/main", COMMIT), ("blobs/b", "{}")]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to(folder / "blobs/b")
    monkeypatch.setenv("HF_HUB_OFFLINE", "yes")
    assert hub.Model("hf:owner/name").file("config.json") == str(
        snapshot / "config.json")


def test_a_wrong_hash_is_no_file(server, tmp_path):
    server.hash = "0" * 64
    with pytest.raises(ConnectionError, match="its hash is wrong"):
        hub.Model("hf:owner/name").file("model.safetensors")
    assert not os.path.exists(tmp_path / "cache/huggingface/owner/name/main/"
                              "model.safetensors")


def test_without_the_hub_what_is_here_is_taken(server):
    path = hub.Model("hf:owner/name").file("config.json")
    server.broken = True
    assert hub.Model("hf:owner/name").file("config.json") == path
    with pytest.raises(ConnectionError, match="without network put it at"):
        hub.Model("hf:owner/name").file("model.safetensors")


def test_a_model_or_revision_that_is_not_there(server):
    for name in ("hf:owner/nobody", "hf:owner/name@v3"):
        with pytest.raises(FileNotFoundError, match=f"no model {name}"):
            hub.Model(name).file("config.json")
    assert hub.Model("hf:owner/name@v2").file("config.json")


@pytest.mark.parametrize("name", [
    "hf:name", "hf:a/b/c", "hf:../x", "hf:a/..", "hf:a/b@", "hf:a/b@../x",
    "hf:a/b c", "hf:"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="write hf:OWNER/NAME"):
        hub.Model(name)


@pytest.mark.parametrize("path, parts", [
    ("hf:a/b", ("hf:a/b", None)), ("hf:a/b:img", ("hf:a/b", "img")),
    ("hf:a/b@v1:txt", ("hf:a/b@v1", "txt")), ("hf:a", ("hf:a", None)),
    ("x.safetensors:img", ("x.safetensors", "img")),
])
def test_a_tower_may_be_named(path, parts):
    assert load.split_subtree(path) == parts


def test_a_run_is_no_folder_of_theirs(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert hub.is_folder(tmp_path) and hub.is_theirs(str(tmp_path))
    (tmp_path / "config.gin").write_text("")
    assert not hub.is_folder(tmp_path)

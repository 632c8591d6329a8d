"""Packages of npm: from the cache, by npm, or one sentence."""

import base64
import hashlib
import io
import os
import stat
import tarfile

import pytest

from tfvit.serving import npm


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(npm.sys, "executable", str(tmp_path / "bin" / "python"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "cache" / "npm"


def packed(files):
    """Bytes of a package with {path: bytes}."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


DATA = packed({"dist/a.js": b"one", "wasm/b.wasm": b"two"})
PACKAGE = npm.Package(
    name="@some/thing", version="1.2.3", integrity="sha512-" + base64.b64encode(
        hashlib.sha512(DATA).digest()).decode())


def script(folder, text):
    """Puts an npm into the folder of programs."""
    path = folder.parent.parent / "bin" / "npm"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_file_that_was_put_there_is_taken(cache):
    cache.mkdir(parents=True)
    (cache / "some-thing-1.2.3.tgz").write_bytes(DATA)
    assert PACKAGE.read(lambda path: path.endswith(".js")) == {
        "dist/a.js": b"one"}


def test_npm_is_asked_once(cache, tmp_path):
    (tmp_path / "there").write_bytes(DATA)
    script(cache, f'echo "$@" >> {tmp_path}/said\n'
           f'/bin/cp {tmp_path}/there ./some-thing-1.2.3.tgz')
    for _ in range(2):
        assert len(PACKAGE.read(lambda path: True)) == 2
    (line,) = (tmp_path / "said").read_text().splitlines()
    assert line.startswith("pack @some/thing@1.2.3 ")
    assert os.listdir(cache) == ["some-thing-1.2.3.tgz"]


def test_another_file_is_refused(cache):
    cache.mkdir(parents=True)
    (cache / "some-thing-1.2.3.tgz").write_bytes(DATA + b"more")
    with pytest.raises(ValueError, match="is not @some/thing 1.2.3 .* remove"):
        PACKAGE.fetch()


def test_without_npm_the_way_out_is_said(cache):
    with pytest.raises(ConnectionError, match="there is no npm.*Install npm.*"
                       f"put the file at {cache}/some-thing-1.2.3.tgz"):
        PACKAGE.fetch()


def test_what_npm_says_is_said(cache):
    script(cache, "echo 'npm error code E404' >&2; echo 'npm error not found' "
           ">&2; exit 1")
    with pytest.raises(ConnectionError, match="could not be downloaded: not "
                       "found. Install"):
        PACKAGE.fetch()
    assert not os.listdir(cache)


def test_a_registry_is_asked_where_there_is_no_npm(cache, tmp_path,
                                                   monkeypatch):
    asked = []
    (tmp_path / "there").write_bytes(DATA)

    def resolve(url):
        asked.append(url)
        return str(tmp_path / "there")

    monkeypatch.setattr(npm.fetch, "resolve", resolve)
    monkeypatch.setenv("npm_config_registry", "https://mirror.test/npm/")
    assert PACKAGE.fetch().endswith("some-thing-1.2.3.tgz")
    assert asked == [
        "https://mirror.test/npm/@some/thing/-/thing-1.2.3.tgz"]

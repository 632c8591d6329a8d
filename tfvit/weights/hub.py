"""Models of the Hugging Face hub, and folders that look like one.

`hf:owner/name` or `hf:owner/name@revision` (a branch, tag or commit) is fetched
file by file, as each is asked for, to $TFVIT_CACHE/huggingface/. What
huggingface_hub has in its own cache is used as well. As its own client does it:
HF_TOKEN (or the file of `hf auth login`) is sent to the hub and to nobody it
refers to, HF_ENDPOINT names a mirror, HF_HUB_OFFLINE=1 asks no server.
"""

import hashlib
import os
import re
import urllib.error
import urllib.parse

from absl import logging

from tfvit.storage import paths
from tfvit.weights import cache
from tfvit.weights import fetch
from tfvit.weights import transfer

CONFIG = "config.json"
_NAME = re.compile(r"hf:([\w-][\w.-]*/[\w-][\w.-]*)(?:@(\w[\w./-]*))?")
_FILES = (".safetensors", ".safetensors.index.json", ".bin")
_ENDPOINT = "https://huggingface.co"
_CHUNK = 2**20  # Bytes.
_SAYS_NO = ("EntryNotFound",)  # The hub's word for a file that is not there.


def is_theirs(path):
    """Whether a path or name is of Hugging Face's or timm's kind of files."""
    path = os.fspath(path)
    return (path.startswith("hf:") or path.endswith(_FILES) or
            is_folder(path))


def is_folder(path):
    """Whether a directory holds such a model, and is no run of tfvit."""
    path = os.path.expanduser(path)
    return (os.path.isfile(os.path.join(path, CONFIG)) and
            not os.path.exists(os.path.join(path, "config.gin")))


class Model:
    """The files of a model: of the hub, a folder, or beside one of weights.

    Attributes:
      name: as it was given.
      weights: path of the file of weights, or None where `name` has several to
        choose from.
    """

    def __init__(self, name):
        """Raises ValueError for what is no such name."""
        self.name = os.fspath(name)
        self.weights = None
        self._repository = self._folder = None
        if self.name.startswith("hf:"):
            match = _NAME.fullmatch(self.name)
            if not match or ".." in self.name:
                raise ValueError(
                    f"{self.name} is no name of a model: write hf:OWNER/NAME, "
                    "such as hf:google/vit-base-patch16-224, and maybe "
                    "@REVISION.")
            self._repository, self._revision = match[1], match[2] or "main"
        elif os.path.isdir(os.path.expanduser(self.name)):
            self._folder = os.path.expanduser(self.name)
        else:
            self.weights = fetch.resolve(self.name)
            self._folder = os.path.dirname(self.weights)

    def file(self, name):
        """The local path of one of its files, or None where it has none.

        Raises:
          OSError: the hub cannot be reached, or refuses.
        """
        if self._repository:
            return _fetched(self._repository, self._revision, name)
        path = os.path.join(self._folder, name)
        return path if os.path.isfile(path) else None


def _here(repository, revision, name):
    """The path of a file that needs no server, or None."""
    target = _target(repository, revision, name)
    if os.path.exists(target):
        return target
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
        "huggingface")
    folder = os.path.join(
        os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub"),
        f"models--{repository.replace('/', '--')}")
    commit = revision
    try:
        with open(os.path.join(folder, "refs", revision),
                  encoding="utf-8") as file:
            commit = file.read().strip()
    except OSError:
        pass  # A commit, perhaps.
    path = os.path.join(folder, "snapshots", commit, name)
    return path if os.path.exists(path) else None


def _target(repository, revision, name):
    return os.path.join(paths.cache(), "huggingface", *repository.split("/"),
                        urllib.parse.quote(revision, safe=""), name)


def _offline():
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in (
        "1", "ON", "YES", "TRUE")


def _headers():
    """What tells the hub who asks; {} for nobody."""
    token = os.environ.get("HF_TOKEN")
    if not token:
        home = os.environ.get("HF_HOME") or os.path.expanduser(
            "~/.cache/huggingface")
        try:
            with open(os.environ.get("HF_TOKEN_PATH") or
                      os.path.join(home, "token"), encoding="utf-8") as file:
                token = file.read()
        except OSError:
            return {}
    token = token.strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _fetched(repository, revision, name):
    target = _target(repository, revision, name)
    here = _here(repository, revision, name)
    if _offline():
        if not here and name == CONFIG:
            raise FileNotFoundError(
                f"hf:{repository}@{revision} is not on this machine, and "
                "HF_HUB_OFFLINE forbids to fetch it: put its files into "
                f"{os.path.dirname(target)}.")
        return here
    if here and re.fullmatch(r"[0-9a-f]{40}", revision):
        return here  # Commits never change.
    endpoint = (os.environ.get("HF_ENDPOINT") or _ENDPOINT).rstrip("/")
    url = (f"{endpoint}/{repository}/resolve/"
           f"{urllib.parse.quote(revision, safe='')}/{name}")
    try:
        tag = _tag(url)
        if tag is None:
            return None
        # huggingface_hub's files are links to blobs that are named so.
        if here and tag in (cache.read_notes(here).get("etag"),
                            os.path.basename(os.path.realpath(here))):
            return here
        _download(url, target, tag)
    except (OSError, fetch.HTTPException) as error:
        if getattr(error, "errno", None) in transfer.DISK:
            raise OSError(
                f"Cannot write {target}: {error.strerror}. Make room, or set "
                "TFVIT_CACHE to another folder.") from error
        code = getattr(error, "code", None)
        if here and code not in (401, 403, 404):
            logging.warning("Using %s; whether it changed cannot be told: %s",
                            here, getattr(error, "reason", error))
            return here
        raise _explained(error, code, repository, revision, name,
                         target) from error
    return target


def _explained(error, code, repository, revision, name, target):
    model = f"hf:{repository}" + (f"@{revision}" if revision != "main" else "")
    if code == 404:
        return FileNotFoundError(f"There is no model {model}, or no such "
                                 "revision of it.")
    if code in (401, 403):
        return PermissionError(
            f"The hub does not give {name} of {model} to "
            f"{'this HF_TOKEN' if _headers() else 'anybody without a token'}: "
            "it does not exist, is private, or has terms to accept on its page;"
            " HF_TOKEN is the token of an account that may read it.")
    return ConnectionError(
        f"Could not download {name} of {model} "
        f"({str(getattr(error, 'reason', error)).splitlines()[0]}); on a "
        f"machine without network put it at {target}.")


def _tag(url):
    """The hash by which the hub knows a file, or None: it has no such file.

    It is the SHA-256 of large files and git's hash of small ones.
    """
    try:
        with transfer.send(url, _headers(), method="HEAD",
                           redirects=False) as response:
            headers = response.headers
    except urllib.error.HTTPError as error:
        if error.code not in (301, 302, 303, 307, 308):
            if (error.code == 404 and
                    error.headers.get("X-Error-Code") in _SAYS_NO):
                return None
            raise
        headers = error.headers
        there = headers.get("Location", "")
        if "X-Linked-Etag" not in headers and there.startswith("/"):
            return _tag(urllib.parse.urljoin(url, there))  # It was renamed.
    tag = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
    return tag.removeprefix("W/").strip('"')


def _download(url, target, tag):
    with cache.part(target) as part:
        if (tag and os.path.exists(target) and
                cache.read_notes(target).get("etag") == tag):
            os.remove(part.name)  # Another process was faster.
            return
        fetch.complete(url, part, _headers())
        if not _is_right(part.name, tag):
            part.truncate(0)
            raise transfer.BrokenOff("its hash is wrong")
        os.replace(part.name, target)
        cache.write_notes(target, {"etag": tag} if tag else {})
        cache.write_notes(part.name, {})


def _is_right(path, tag):
    """Whether a file has the hash that the hub knows it by."""
    if re.fullmatch(r"[0-9a-f]{64}", tag):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", tag):
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(f"blob {os.path.getsize(path)}\0".encode())
    else:
        return True  # A mirror with tags of its own.
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == tag

"""Finds the file behind a path, a URL or a catalogue name; downloads once.

Downloads go to $TFVIT_CACHE (default ~/.cache/tfvit) under the bucket's or
host's name: `imagenet21k/ViT-B_16` becomes
`~/.cache/tfvit/vit_models/imagenet21k/ViT-B_16.npz`. A machine without network
finds files that were put there by hand.
"""

import base64
import fcntl
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request

from absl import logging
import tensorflow as tf

BUCKETS = ("vit_models", "mixer_models", "big_vision")
COLLECTIONS = ("imagenet21k", "imagenet21k+imagenet2012", "imagenet1k",
               "augreg", "sam", "gsam", "lit")
_SUFFIXES = (".npz", ".csv", ".txt", ".model", ".index",
             ".data-00000-of-00001")  # Of files in the buckets.
_STORAGE = "https://storage.googleapis.com"
_ATTEMPTS = 3
_PAUSE = 1.0  # Seconds between two attempts: a server needs time to recover.
_TIMEOUT = 10.0  # Seconds without a byte.
_CHUNK = 2**20  # Bytes.
_REPORT_EVERY = 5.0  # Seconds.


class _BrokenOff(OSError):
    """A download that may go better when it is tried again."""


def resolve(path):
    """Returns the local path of `path`, downloading it where necessary.

    Args:
      path: one of
        a local path;
        `gs://bucket/object`;
        `https://host/file`;
        a catalogue name: `imagenet21k/ViT-B_16`,
        `imagenet21k+imagenet2012/ViT-B_16-224`, `augreg/<file name>`,
        `sam/ViT-B_16`, `gsam/ViT-B_16`, `lit/LiT-B16B_2`,
        `imagenet21k/Mixer-B_16`, or a path that starts with one of BUCKETS.
        `.npz` may be left out there.

    Raises:
      FileNotFoundError: neither a file nor a name, or not on the server.
      ConnectionError: the download failed; the message says where to put the
        file by hand.
    """
    path = os.path.expanduser(path)  # Of gin: no shell did it.
    if os.path.exists(path):
        return path
    url = catalogue_url(path) or path
    if not url.startswith(("gs://", "https://", "http://")):
        raise FileNotFoundError(
            f"There is no file {path}, nor is it a gs:// or https:// URL or a "
            "catalogue name such as imagenet21k/ViT-B_16.")
    target = cache_path(url)
    if not os.path.exists(target):
        _download(url, target)
    return target


def catalogue_url(name):
    """The gs:// URL of a catalogue name, or None where it is not one."""
    first, _, rest = name.partition("/")
    if not rest or first not in BUCKETS + COLLECTIONS:
        return None
    if first in COLLECTIONS:
        mixer = rest.startswith("Mixer-")
        name = f"{'mixer_models' if mixer else 'vit_models'}/{name}"
    return f"gs://{name}" + ("" if name.endswith(_SUFFIXES) else ".npz")


def is_published(path):
    """Whether a file is of the catalogue: by its name, URL or cached copy.

    What people have downloaded to elsewhere, or made, is not known to be.
    """
    path = os.fspath(path)
    if os.path.exists(path):
        cached = [cache_path(f"gs://{bucket}/x") for bucket in BUCKETS]
        return os.path.abspath(path).startswith(
            tuple(os.path.join(os.path.dirname(os.path.abspath(file)), "")
                  for file in cached))
    return catalogue_url(path) is not None or path.startswith(
        tuple(f"{scheme}/{bucket}/" for bucket in BUCKETS
              for scheme in ("gs:/", _STORAGE)))


def cache_path(url):
    """Where the file of a gs:// or https:// URL is kept on this machine."""
    parts = urllib.parse.urlsplit(url)
    names = parts.path.strip("/").split("/")
    if f"{parts.scheme}://{parts.netloc}" != _STORAGE:
        names.insert(0, parts.netloc)
    if any(name in ("", ".", "..") for name in names):
        raise FileNotFoundError(f"{url} does not name a file.")
    root = os.environ.get("TFVIT_CACHE") or "~/.cache/tfvit"
    return os.path.join(os.path.expanduser(root), *names)


def _download(url, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # Processes that want the same file wait for the one that fetches it, and
    # one that was killed leaves the part from which the next resumes.
    with open(f"{target}.part", "ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        if os.path.exists(target):
            return
        try:
            _fetch(url, part)
        except (OSError, http.client.HTTPException, tf.errors.OpError) as error:
            if (getattr(error, "code", None) == 404 or
                    isinstance(error, tf.errors.NotFoundError)):
                raise FileNotFoundError(f"{url} does not exist.") from error
            raise _unreachable(url, target, error) from error
        os.replace(f"{target}.part", target)


def _unreachable(url, target, error):
    reason = str(getattr(error, "reason", error)) or repr(error)
    reason = reason.splitlines()[0]
    return ConnectionError(f"Could not download {url} ({reason}); on a machine "
                           f"without network put the file at {target}.")


def _fetch(url, part):
    """Completes the open file `part`.

    gs:// goes over plain HTTPS first: the published buckets need no
    credentials, and it can resume and report progress. TensorFlow's own
    client, which looks for credentials, is asked only for what is not public.
    """
    if not url.startswith("gs://"):
        return _fetch_http(url, part)
    path = urllib.parse.quote(url.removeprefix("gs://"))
    try:
        return _fetch_http(f"{_STORAGE}/{path}", part)
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise
    return tf.io.gfile.copy(url, part.name, overwrite=True)


def _fetch_http(url, part):
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _transfer(url, part)
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _ATTEMPTS:
                raise
        except urllib.error.URLError:
            raise  # Not even a connection: most likely there is no network.
        except (OSError, http.client.HTTPException) as error:
            if attempt == _ATTEMPTS:
                raise
            logging.warning("Download of %s broke off (%s); resuming.", url,
                            error)
        time.sleep(_PAUSE)


def _transfer(url, part):
    """One request: appends what is missing to `part` and checks the result."""
    have = part.seek(0, os.SEEK_END)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing follows the bytes at hand, which may be others: start anew.
        part.truncate(0)
        raise _BrokenOff("the part at hand is of no use") from error
    with response:
        if have and response.status != 206:  # The server sends it whole.
            part.truncate(0)
            have = 0
        length = response.headers["Content-Length"]
        total = have + int(length) if length else None
        size = _copy(response, part, have, total, url)
        if total is not None and size != total:
            raise _BrokenOff(f"{size} of {total} bytes arrived")
        _check_md5(response.headers, part)


def _copy(response, part, have, total, url):
    """Appends the response to `part`, logging progress; returns its size."""
    start = reported = time.monotonic()
    size = have
    while chunk := response.read(_CHUNK):
        part.write(chunk)
        size += len(chunk)
        now = time.monotonic()
        if now - reported > _REPORT_EVERY:
            reported = now
            logging.info("%s: %s", url.rsplit("/", 1)[-1],
                         _progress(size, total, (size - have) / (now - start)))
    part.flush()
    logging.info("Downloaded %s, %.1f MB in %.1f s.", url, (size - have) / 1e6,
                 time.monotonic() - start)
    return size


def _progress(size, total, rate):
    """[#######             ] 35% of 393 MB, 21.3 MB/s, 12 s left."""
    if not total:
        return f"{size / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s"
    return (f"[{'#' * (20 * size // total):20}] {size / total:.0%} of "
            f"{total / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s, "
            f"{(total - size) / max(rate, 1):.0f} s left")


def _check_md5(headers, part):
    """Compares with the MD5 that Google Cloud Storage sends of the object."""
    hashes = ",".join(headers.get_all("x-goog-hash", []))
    for item in hashes.split(","):
        kind, _, value = item.strip().partition("=")
        if kind != "md5":
            continue
        md5 = hashlib.md5(usedforsecurity=False)
        with open(part.name, "rb") as file:
            while chunk := file.read(_CHUNK):
                md5.update(chunk)
        if md5.digest() != base64.b64decode(value):
            part.truncate(0)
            raise _BrokenOff("its MD5 is wrong")

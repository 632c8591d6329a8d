"""Finds the file behind a path, a URL or a catalogue name; downloads once.

Downloads go to $TFVIT_CACHE (default ~/.cache/tfvit) under the bucket's or
host's name: `imagenet21k/ViT-B_16` becomes
`~/.cache/tfvit/vit_models/imagenet21k/ViT-B_16.npz`. A machine without network
finds files that were put there by hand. Of files that are not in the catalogue
the server is asked each time whether they have changed.
"""

import functools
import http.client
import os
import re
import time
import urllib.error
import urllib.parse

from absl import logging
import tensorflow as tf

from tfvit.storage import files
from tfvit.storage import spelling
from tfvit.weights import cache
from tfvit.weights import transfer

BUCKETS = ("vit_models", "mixer_models", "big_vision")
COLLECTIONS = ("imagenet21k", "imagenet21k+imagenet2012", "imagenet1k",
               "augreg", "sam", "gsam", "lit")
_SUFFIXES = (".npz", ".csv", ".txt", ".model", ".index",
             ".data-00000-of-00001")  # Of files in the buckets.
# An architecture, more or less as the files' names have it: ViT-B_16.
_MODEL = re.compile(r"\b(ViT|Mixer)[-_]?(Ti|[SBLH])[-_]?(\d\d?)\b", re.I)
_STORAGE = "https://storage.googleapis.com"
_CHUNK = 2**20  # Bytes.
HTTPException = http.client.HTTPException  # Beside OSError, of `complete`.
_REPORT_EVERY = 5.0  # Seconds.


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
      OSError: there is no room for it.
    """
    path = os.path.expanduser(path)  # Of gin: no shell did it.
    if os.path.exists(path):
        return path
    url = catalogue_url(path) or path
    if not url.startswith(("gs://", "https://", "http://")):
        raise FileNotFoundError(
            f"There is no file {cache.shown(path) if '://' in path else path}, "
            "nor is it a gs:// or https:// URL or a "
            f"catalogue name such as imagenet21k/ViT-B_16.{_meant(path)}")
    target = cache_path(url)
    if not _current(url, target):
        try:
            _download(url, target)
        except OSError as error:
            if error.errno not in transfer.DISK:
                raise
            raise OSError(
                f"Cannot write {target}: {error.strerror}. Make room, or set "
                "TFVIT_CACHE to another folder.") from error
    return target


def _meant(path):
    """" Did you mean x?" for what is nearly a file here, or a known name."""
    folder, name = os.path.split(path.rstrip("/"))
    if "://" not in path and os.path.isdir(folder or "."):
        if said := spelling.did_you_mean(name, files.named(
                folder or ".", r"[^.].*"), os.path.join(folder, "{}")):
            return said
    first, _, rest = path.partition("/")
    near = spelling.near(first, COLLECTIONS) if rest else []
    meant = f"{near[0]}/{rest}" if near else path
    meant = _MODEL.sub(r"\1-\2_\3", meant)
    return f" Did you mean {meant}?" if meant != path and (
        near or "://" in path) else ""


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
    return cache.path(url, storage=_STORAGE, buckets=BUCKETS)


def _published(url):
    """Whether a URL is of the catalogue, whose files never change."""
    url = url.replace(f"{_STORAGE}/", "gs://", 1)
    return url.startswith(tuple(f"gs://{bucket}/" for bucket in BUCKETS))


def _current(url, target):
    """Whether the file at hand needs no download, as far as can be known.

    The server is asked whether it has changed, if it said at the time by what
    to tell (ETag, Last-Modified). Without an answer it is taken as it is, and
    so is a file of the catalogue, or one that was put there by hand.
    """
    if not os.path.exists(target):
        return False
    notes = cache.read_notes(target)
    if _published(url) or not notes:
        return True
    if notes.get("url") != cache.key(url):
        return False  # http:// and https:// have one place.
    headers = {}
    if "etag" in notes:
        headers["If-None-Match"] = notes["etag"]
    if "modified" in notes:
        headers["If-Modified-Since"] = notes["modified"]
    if not headers:
        return True
    try:
        with transfer.send(_http(url), headers) as response:
            same = transfer.validators(response) == transfer.known(notes)
    except urllib.error.HTTPError as error:
        if error.code != 304:
            logging.warning("Using %s; whether it changed cannot be told: %s",
                            target, error)
        return True
    except (OSError, http.client.HTTPException) as error:
        logging.warning("Using %s; whether it changed cannot be told: %s",
                        target, getattr(error, "reason", error))
        return True
    if not same:
        logging.info("%s has changed.", cache.shown(url))
    return same


def _download(url, target):
    with cache.part(target) as part:
        if _current(url, target):  # By another process, meanwhile.
            os.remove(part.name)
            return
        try:
            _fetch(url, part)
        except (OSError, http.client.HTTPException, tf.errors.OpError) as error:
            if (getattr(error, "code", None) == 404 or
                    isinstance(error, tf.errors.NotFoundError)):
                raise FileNotFoundError(f"{cache.shown(url)} does not exist."
                                        f"{_meant(url)}") from error
            if getattr(error, "errno", None) in transfer.DISK:
                raise
            raise _unreachable(url, target, error) from error
        # First the file: notes of another one only make for a download.
        notes = {} if _published(url) else cache.read_notes(part.name)
        os.replace(part.name, target)
        cache.write_notes(target, notes)
        cache.write_notes(part.name, {})


def _unreachable(url, target, error):
    reason = str(getattr(error, "reason", error)) or repr(error)
    reason = reason.splitlines()[0]
    return ConnectionError(
        f"Could not download {cache.shown(url)} ({reason}); on a machine "
        f"without network put the file at {target}.{_meant(url)}")


def _http(url):
    """The https:// URL of a gs:// one, or the URL itself."""
    if not url.startswith("gs://"):
        return url
    return f"{_STORAGE}/{urllib.parse.quote(url.removeprefix('gs://'))}"


def _fetch(url, part):
    """Completes the open file `part`.

    gs:// goes over plain HTTPS first: the published buckets need no
    credentials, and it can resume and report progress. TensorFlow's own
    client, which looks for credentials, is asked only for what is not public.
    """
    try:
        return complete(url, part)
    except urllib.error.HTTPError as error:
        if not url.startswith("gs://") or error.code not in (401, 403):
            raise
    return tf.io.gfile.copy(url, part.name, overwrite=True)


def complete(url, part, headers=()):
    """Completes the open file `part` over HTTP, which it tries several times.

    Raises:
      OSError, http.client.HTTPException: it did not work.
    """
    shown = cache.shown(url)
    return transfer.patiently(
        lambda: transfer.get_rest(_http(url), part, key=cache.key(url),
                                  headers=headers,
                                  copy=functools.partial(_copy, url=shown)),
        lambda error, pause: logging.warning(
            "Download of %s broke off (%s); trying again in %g s.", shown,
            getattr(error, "reason", error), pause))


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

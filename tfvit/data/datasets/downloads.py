"""Fetches images that a table names by https://, once, before training.

They lie in $TFVIT_CACHE/images from then on, and are not asked for again.
"""
from collections.abc import Sequence
from concurrent import futures
import functools
import http.client
import os
import re
import time
import urllib.parse

from absl import logging

from tfvit.storage import errors
from tfvit.storage import files as files_lib
from tfvit.storage import paths
from tfvit.weights import cache
from tfvit.weights import transfer

WEB = ("https://", "http://")
_MOST = 2**26  # Bytes of an image: larger than any photo, smaller than a film.
_THREADS = 32
_HOPELESS = 50  # Failures before the first success.
_REPORT_EVERY = 10.0  # Seconds.
_SHOWN = 3
# What the files of all formats that are read begin with; RIFF is WebP's.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF")


def bring(table: str, lines: Sequence[int], urls: Sequence[str], *,
          unreachable: str, user: str) -> tuple[list[str | None], list[str]]:
    """The local files of URLs, which are fetched where they are not there.

    Args:
      table: that names them, for errors.
      lines: of it, one for each URL.
      urls: of images.
      unreachable: "stop", or "leave_out" what cannot be fetched.
      user: function whose knob `unreachable` is, for errors.

    Returns:
      The files, None for what is left out; and sentences about that.

    Raises:
      ValueError: an image cannot be fetched; names the line.
      OSError: there is no room for it.
    """
    if unreachable not in ("stop", "leave_out"):
        raise ValueError(f"{user}.unreachable = {unreachable!r} is neither "
                         "'stop' nor 'leave_out'.")
    files = [_place(url) for url in urls]
    missing = {file: (line, url) for line, url, file in zip(lines, urls, files)
               if not os.path.exists(file)}
    if not missing:
        return files, []
    logging.info("Fetching %s images of %s to %s ...", f"{len(missing):,}",
                 table, _root())
    failed, done, spoke = {}, 0, time.monotonic()
    pool = futures.ThreadPoolExecutor(_THREADS)
    try:
        waiting = {pool.submit(_fetch, url, file): file
                   for file, (_, url) in missing.items()}
        for future in futures.as_completed(waiting):
            file = waiting[future]
            try:
                future.result()
                done += 1
            except (OSError, ValueError, http.client.HTTPException) as error:
                if getattr(error, "errno", None) in transfer.DISK:
                    raise
                failed[file] = _reason(error)
                if not done and len(failed) >= min(_HOPELESS, len(missing)):
                    break
            if time.monotonic() - spoke > _REPORT_EVERY:
                spoke = time.monotonic()
                logging.info("%s of %s images fetched, %s failed.", f"{done:,}",
                             f"{len(missing):,}", f"{len(failed):,}")
    finally:
        pool.shutdown(cancel_futures=True)
    if not failed:
        return files, []
    some = sorted(failed, key=lambda file: missing[file][0])[:_SHOWN]
    said = "; ".join(f"line {missing[file][0]}, {cache.shown(missing[file][1])}"
                     f" ({failed[file]})" for file in some)
    said = (f"{table}: {len(failed):,} of {len(files):,} images cannot be "
            f"fetched: {said}{', ...' if len(failed) > _SHOWN else '.'}")
    if unreachable == "stop" or not done and len(missing) == len(files):
        raise ValueError(
            f"{said} The same command fetches what is missing; {user}."
            "unreachable = 'leave_out' trains without it.")
    return [None if file in failed else file for file in files], [
        f"{said} They are left out."]


def _root():
    return os.path.join(paths.cache(), "images")


def _place(url):
    """Where the image of a URL is kept: host, hash and the end of its name."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    name = urllib.parse.unquote(parts.path).rpartition("/")[2]
    name = re.sub(r"[^\w.-]", "_", name)[-60:]
    return os.path.join(_root(), re.sub(r"[^\w.-]", "_", host),
                        f"{cache.key(url)[:20]}-{name}")


def _fetch(url, file):
    """Downloads a URL; the file is there when all of it is."""
    data = transfer.patiently(functools.partial(_get, url))
    with files_lib.beside(file, "Make room, or set TFVIT_CACHE to another "
                          "folder.") as name, open(name, "wb") as f:
        f.write(data)


def _get(url):
    with transfer.send(url, {}) as response:
        length = int(response.headers["Content-Length"] or 0)
        data = b"" if length > _MOST else response.read(_MOST + 1)
    if max(length, len(data)) > _MOST:
        raise ValueError(f"larger than {_MOST / 2**20:.0f} MB")
    if len(data) < length:
        raise transfer.BrokenOff(f"{len(data)} of {length} bytes arrived")
    if not data.startswith(_BEGINNINGS):
        raise ValueError("no image, but " + (
            "a web page" if data.lstrip()[:1] == b"<" else
            f"bytes that begin with {data[:8]!r}"))
    return data


def _reason(error):
    reason = getattr(error, "reason", None) or error
    if code := getattr(error, "code", None):
        return f"HTTP {code} {reason}"
    return errors.reason(reason).rstrip(".") if isinstance(
        reason, OSError) else str(reason)

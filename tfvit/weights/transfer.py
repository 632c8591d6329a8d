"""One HTTP request for the rest of a file, and what its answer tells.

As RFC 9110 has it: a part is gone on with only where the server can be sure
that it is of the file as it is now (If-Range), or where an MD5 tells it.
"""

import base64
import email.utils
import errno
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request

from tfvit.weights import cache

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_ATTEMPTS = 3
_PAUSE = 1.0  # Seconds between two attempts: a server needs time to recover.
_LONGEST_PAUSE = 60.0  # Seconds, whatever Retry-After asks for.
_TIMEOUT = 10.0  # Seconds without a byte.
_CHUNK = 2**20  # Bytes.
_MEANS_SOMETHING = "%/:=&?~#+!$,;'@()*[]"  # In the path of a URL (RFC 3986).


class BrokenOff(OSError):
    """A download that may go better when it is tried again."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Raises HTTPError where a server refers to another place."""

    def redirect_request(self, *unused_args):
        return None


def send(url, headers, *, method="GET", redirects=True):
    """Sends a request; a user and password of the URL become a header.

    Authorization goes to the host of the URL alone, not where it refers to.
    """
    parts = urllib.parse.urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    parts = parts._replace(
        # As a browser sends what people write: letters and blanks encoded.
        netloc=host.encode("idna").decode(),
        path=urllib.parse.quote(parts.path, safe=_MEANS_SOMETHING),
        query=urllib.parse.quote(parts.query, safe=_MEANS_SOMETHING))
    headers = {"Accept-Encoding": "identity", **dict(headers)}
    secret = headers.pop("Authorization", None)
    request = urllib.request.Request(parts.geturl(), headers=headers,
                                     method=method)
    if secret:
        request.add_unredirected_header("Authorization", secret)
    if at:
        user = urllib.parse.unquote(user).encode()
        request.add_unredirected_header(
            "Authorization", f"Basic {base64.b64encode(user).decode()}")
    if redirects:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    return urllib.request.build_opener(_Stay).open(request, timeout=_TIMEOUT)


def get_rest(url, part, *, key, copy, headers=()):
    """Appends what is missing to an open file, and checks the result.

    Args:
      url: http:// or https://.
      part: the file.
      key: of what is wanted, as cache.key makes it.
      copy: (response, part, bytes at hand, bytes in all or None) -> bytes then;
        writes the body to `part`.
      headers: {name: value} that go with the request.

    Raises:
      OSError, http.client.HTTPException: it did not work; see may_pass.
    """
    have = part.seek(0, os.SEEK_END)
    notes = cache.read_notes(part.name)
    if have and notes and notes.get("url") != key:
        part.truncate(0)
        have = 0
    headers = dict(headers)
    if have:
        headers["Range"] = f"bytes={have}-"
        if condition := _if_range(notes):
            headers["If-Range"] = condition
    try:
        response = send(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing follows the bytes at hand, which may be others: start anew.
        part.truncate(0)
        raise BrokenOff("the part at hand is of no use") from error
    with response:
        if have and response.status == 206:
            if not _continues(response, have, notes):
                part.truncate(0)
                raise BrokenOff("what follows may be of another file")
        else:  # The server sends it whole.
            part.truncate(0)
            have = 0
            found = validators(response)
            # Before the first byte, so that no byte is without.
            cache.write_notes(part.name,
                              found and {"url": key, **found})
        length = response.headers["Content-Length"]
        total = have + int(length) if length else None
        size = copy(response, part, have, total)
        if total is not None and size != total:
            raise BrokenOff(f"{size} of {total} bytes arrived")
        _check_md5(response.headers, part)


def patiently(get, said=lambda error, pause: None):
    """What get() returns, which is called again where that may help.

    Args:
      get: sends a request.
      said: called with the error and the seconds to wait before another try.

    Raises:
      OSError, http.client.HTTPException: of the last try, or see may_pass.
    """
    for left in reversed(range(_ATTEMPTS)):
        try:
            return get()
        except (OSError, http.client.HTTPException) as error:
            if not left or not may_pass(error):
                raise
            pause = max(_PAUSE, retry_after(getattr(error, "headers", None)))
            said(error, pause)
        time.sleep(pause)


def validators(response):
    """What tells this version of a file from others: {"etag", "modified"}."""
    return known({"etag": response.headers["ETag"],
                  "modified": response.headers["Last-Modified"]})


def known(notes):
    return {name: notes[name] for name in ("etag", "modified")
            if notes.get(name)}


def _if_range(notes):
    """The value of If-Range, for which a weak ETag is not enough."""
    etag = notes.get("etag", "")
    return etag if etag.startswith('"') else notes.get("modified")


def _continues(response, have, notes):
    """Whether a response of status 206 goes on with the bytes at hand."""
    begin = re.match(r"bytes (\d+)-", response.headers["Content-Range"] or "")
    if begin and int(begin[1]) != have:
        return False
    found = validators(response)
    if any(found.get(name, value) != value for name, value in notes.items()
           if name in ("etag", "modified")):
        return False
    # Else it is the MD5 that tells.
    return bool(_if_range(notes)) or "md5=" in ",".join(
        response.headers.get_all("x-goog-hash", []))


def may_pass(error):
    """Whether the same request may go better a moment later."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 425, 429)
    if isinstance(error, urllib.error.URLError):
        # Not even a host: most likely there is no network.
        return isinstance(error.reason, (ConnectionError, TimeoutError))
    return getattr(error, "errno", None) not in DISK


def retry_after(headers):
    """Seconds that a server asks to wait, at most _LONGEST_PAUSE."""
    text = (headers.get("Retry-After", "") if headers else "").strip()
    try:
        seconds = (float(text) if text.isdecimal() else
                   email.utils.parsedate_to_datetime(text).timestamp() -
                   time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_PAUSE)


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
            raise BrokenOff("its MD5 is wrong")

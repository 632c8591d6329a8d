"""Downloaded files on this machine: their names, notes and locks."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import urllib.parse

from absl import logging

from tfvit.storage import paths

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def path(url, *, storage, buckets):
    """Where the file of a gs:// or https:// URL is kept.

    Two URLs have two places: what is not plain host and path, such as a query
    or a password, comes as a hash, which tells nobody what it was.

    Args:
      url: of the file.
      storage: URL under which buckets are reached over HTTP.
      buckets: those of the catalogue, whose names no host may take.

    Raises:
      FileNotFoundError: the URL does not name a file.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    names = parts.path.strip("/").split("/")
    if f"{parts.scheme}://{parts.netloc}" != storage:
        names.insert(0, host)
    if any(name in ("", ".", "..") for name in names):
        raise FileNotFoundError(f"{shown(url)} does not name a file.")
    if (parts.query or host != parts.netloc or
            (host in buckets and parts.scheme != "gs")):
        stem, suffix = os.path.splitext(names[-1])
        names[-1] = f"{stem}-{key(url)[:16]}{suffix}"
    return os.path.join(paths.cache(), *names)


def key(url):
    """A hash of all of a URL but its #fragment, which servers never see."""
    return hashlib.sha256(url.partition("#")[0].encode()).hexdigest()


def shown(url):
    """A URL as messages may show it: without passwords and tokens."""
    url = re.sub(r"^(\w+://)[^/?#]*@", r"\1", url)
    return re.sub(r"\?.*", "?...", url, flags=re.DOTALL)


def read_notes(file):
    """What was noted beside a file; {} for nothing."""
    try:
        with open(_notes(file), encoding="utf-8") as f:
            notes = json.load(f)
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def write_notes(file, notes):
    """Notes a dict beside a file; nothing where it is empty."""
    if not notes:
        with contextlib.suppress(FileNotFoundError):
            os.remove(_notes(file))
        return
    partial = f"{_notes(file)}.{os.getpid()}"
    with open(partial, "w", encoding="utf-8") as f:
        json.dump(notes, f)
    os.replace(partial, _notes(file))


def _notes(file):
    folder, name = os.path.split(file)
    return os.path.join(folder, f".{name}.json")


@contextlib.contextmanager
def part(target):
    """Opens the part of a file that is being fetched, for this process alone.

    Processes that want the same file wait for the one that fetches it, and one
    that was killed leaves the part from which the next resumes.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    name = f"{target}.part"
    while True:
        with open(name, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                logging.warning(
                    "%s lies on a file system without locks (%s): processes "
                    "that want the same file will each fetch it. TFVIT_CACHE "
                    "may be set to a local disk.", os.path.dirname(target),
                    error.strerror)
                break
            # Who had the lock before may have turned it into the target.
            if os.path.exists(name) and os.path.samestat(
                    os.fstat(file.fileno()), os.stat(name)):
                yield file
                return
    with contextlib.suppress(FileNotFoundError):
        if not os.path.getsize(name):
            os.remove(name)
    name = f"{target}.{os.getpid()}.part"
    try:
        with open(name, "ab") as file:
            yield file
    finally:
        write_notes(name, {})
        with contextlib.suppress(FileNotFoundError):
            os.remove(name)

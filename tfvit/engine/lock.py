"""One training process for a workdir: WORKDIR/.lock.

The lock is the kernel's (flock) and ends with the process, however that ends;
the file, which says who has it, stays.
"""

import contextlib
import fcntl
import json
import os
import socket
import time

from absl import logging
import tensorflow as tf

from tfvit.storage import errors

_PATIENCE = 5.0  # Seconds: one that was killed may take a while to end.
_PAUSE = 0.1
_END = ("ended", "why")  # What the file says of a process that is gone.
_held = {}  # Real path of a workdir -> open file.


def take(workdir):
    """Locks a workdir until this process ends, or `held` does; True if new.

    Of several workers of a run, who share its workdir, only the first should.

    Raises:
      OSError: another process trains there, or nothing can be written there.
    """
    path = os.path.join(workdir, ".lock")
    place = os.path.realpath(workdir)
    if place in _held:
        return False
    with errors.writing(path, "Choose another --workdir."):
        tf.io.gfile.makedirs(workdir)
        if "://" in str(workdir):
            _unlocked(workdir, "buckets have no locks")
            return False
        file = open(path, "a+", encoding="utf-8")  # Kept open.
    try:
        _lock(file, workdir)
    except BaseException:
        file.close()
        raise
    _held[place] = file
    return True


@contextlib.contextmanager
def held(workdir):
    """Inside, this process has the lock of a workdir.

    The file says afterwards how that ended: "ended" is "finished" or the kind
    of the error, "why" its text. What it says of the process before stays if
    this one fails before it calls `begin`.
    """
    new = take(workdir)
    place = os.path.realpath(workdir)
    try:
        yield
        _note(place, "finished", "")
    except BaseException as error:
        if "ended" not in _noted(_held.get(place)):
            _note(place, type(error).__name__, str(error))
        raise
    finally:
        if new:
            _held.pop(place).close()


def begin(workdir):
    """Forgets how the process before ended: this one trains."""
    file = _held.get(os.path.realpath(workdir))
    _write(file, {name: value for name, value in _noted(file).items()
                  if name not in _END})


def _note(place, ended, why):
    file = _held.get(place)
    _write(file, {**_noted(file), "ended": ended, "why": why})


def _noted(file):
    """What the file, or None, says; {} if that is nothing."""
    if file is None:  # Of a bucket.
        return {}
    with contextlib.suppress(OSError, ValueError):
        file.seek(0)
        noted = json.load(file)
        return noted if isinstance(noted, dict) else {}
    return {}


def _write(file, noted):
    if file is not None:
        with contextlib.suppress(OSError):  # It is not worth a run.
            file.truncate(0)
            json.dump(noted, file)
            file.flush()


def _lock(file, workdir):
    since = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if time.monotonic() - since > _PATIENCE:
                raise OSError(
                    f"{workdir} is being trained by {_owner(file)}. Wait for "
                    "it to end, or end it, or choose another --workdir."
                ) from error
            time.sleep(_PAUSE)
        except OSError as error:
            _unlocked(workdir, f"its file system has no locks: {error}")
            return
    before = _noted(file)
    _write(file, {"host": socket.gethostname(), "pid": os.getpid(),
                  "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
                  **{name: before[name] for name in _END if name in before}})


def _owner(file):
    """Who has the lock, as far as the file says."""
    file.seek(0)
    try:
        owner = json.load(file)
        return (f"process {owner['pid']} on {owner['host']} since "
                f"{owner['since']}")
    except (ValueError, KeyError, TypeError):
        return "another process"


def _unlocked(workdir, why):
    logging.warning("%s is not locked (%s): start no second run there.",
                    workdir, why)

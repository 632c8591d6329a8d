"""One process at a time prepares a dataset; the others wait, and read it."""

from collections.abc import Iterator
import contextlib
import fcntl
import os
import time

from absl import logging

from tfvit.distribute import cluster

_PAUSE = 1.0  # Seconds between two looks.


@contextlib.contextmanager
def turn(folder: str, is_there) -> Iterator[None]:
    """Inside, no other process prepares what lies in a folder.

    A lock sees to it, of workers that share a disk and of runs on one machine;
    in a bucket, which has none, the first worker of TF_CONFIG goes first.

    Args:
      folder: of the dataset, which need not be there.
      is_there: () -> whether it is prepared.

    Raises:
      ConnectionError: the first worker is gone, and it is not.
    """
    if "://" in folder:
        text = os.environ.get("TF_CONFIG")
        if not cluster.is_first(text):
            _wait(folder, is_there, text)
        yield
        return
    parent = os.path.dirname(os.path.normpath(folder)) or "."
    os.makedirs(parent, exist_ok=True)
    # Kept: who waits at a file that is removed waits for nothing.
    with open(os.path.join(parent, ".preparing.lock"), "a",
              encoding="utf-8") as file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logging.info("Another process prepares a dataset in %s: "
                             "waiting for it.", parent)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            logging.warning(
                "%s has no locks (%s): of several processes that need the "
                "same dataset, each prepares it.", parent, error.strerror)
        yield


def _wait(folder, is_there, text):
    logging.info("Waiting for the first worker to prepare %s.", folder)
    while not is_there():
        if not cluster.first_answers(text):
            raise ConnectionError(
                f"{folder} is not prepared, and the first worker of TF_CONFIG, "
                "which was to do it, does not answer any more.")
        time.sleep(_PAUSE)  # Buckets tell nobody what is new.

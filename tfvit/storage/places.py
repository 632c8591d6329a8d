"""Reading and writing by path, of local disks without TensorFlow's import."""

import os
import posixpath
from typing import IO

from tfvit.storage import paths


def exists(path: str) -> bool:
    return (os.path.exists(path) if paths.is_local(path) else
            _gfile().exists(path))


def names(folder: str) -> list[str]:
    """Sorted names in a folder; [] where there is no such folder."""
    if paths.is_local(folder):
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    if not _gfile().isdir(folder):
        return []
    return sorted(name.rstrip("/") for name in _gfile().listdir(folder))


def opened(path: str, mode: str = "r") -> IO:
    """The open file; texts are UTF-8."""
    if not paths.is_local(path):
        return _gfile().GFile(path, mode)
    return open(path, mode, encoding=None if "b" in mode else "utf-8")


def relative(path: str, others: list[str]) -> str:
    """A path as seen from the folder that all of `others` have in common."""
    if all(map(paths.is_local, others)):
        folder = os.path.commonpath([os.path.dirname(os.path.abspath(other))
                                     for other in others])
        return os.path.relpath(path, folder)
    folders = [posixpath.dirname(other) for other in others]
    shared = os.path.commonprefix([f"{folder}/" for folder in folders])
    return path[shared.rfind("/") + 1:]


def _gfile():
    import tensorflow as tf  # It takes seconds, and only buckets need it.
    return tf.io.gfile

"""Files by their names: what a user calls a path is never read as a pattern.

A folder may be called `seed[12]`, which as a pattern means `seed1` and `seed2`.
TensorFlow's readers of checkpoints and SavedModels take their paths for
patterns, and so do not find what lies in it.
"""

from collections.abc import Iterator
import contextlib
import glob
import io
import os
import re
import socket
import tempfile

import tensorflow as tf

from tfvit.storage import errors

SIGNS = r"[*?\[\\]"  # What makes a name a pattern.


def named(folder: str, regex: str) -> list[str]:
    """Sorted names in a folder that a regular expression matches wholly.

    Those of folders are without a slash at the end; [] where there is no such
    folder.
    """
    if not tf.io.gfile.isdir(folder):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(folder))
    return sorted(name for name in names
                  if re.fullmatch(regex, name, re.DOTALL))


def matching(word: str) -> list[str]:
    """Sorted paths that a path or pattern means; [] for none.

    What exists by its very name comes first: a file called `a[1].png` is itself
    alone, and in `a[1]/*.png` a folder called `a[1]` is. `**` stands for
    folders at any depth, except in buckets.
    """
    word = os.fspath(word)
    if tf.io.gfile.exists(word):
        return [word]
    base = _existing(word)
    rest = word[len(base):]
    if "://" in word:
        base = re.sub(r"[*?\[]", r"[\g<0>]", base.replace("\\", "\\\\"))
        return sorted(tf.io.gfile.glob(base + rest))
    return sorted(glob.glob(glob.escape(base) + rest, recursive=True))


def _existing(word):
    """The longest folder at the start of a pattern that is there by name."""
    ends = [match.end() for match in re.finditer("/", word)
            if re.search(SIGNS, word[:match.end()])]
    return next((word[:end] for end in reversed(ends)
                 if tf.io.gfile.isdir(word[:end])), "")


@contextlib.contextmanager
def plain(path: str) -> Iterator[str]:
    """A path that is no pattern, to what lies at `path`, as long as it lasts.

    For TensorFlow's readers: `path` is a folder, or what the names of the files
    of a checkpoint begin with.
    """
    path = os.fspath(path)
    if not re.search(SIGNS, path):
        yield path
        return
    folder, stem = os.path.split(path.rstrip("/"))
    is_folder = tf.io.gfile.isdir(path)
    with tempfile.TemporaryDirectory() as place:
        alias = os.path.join(place, "plain")
        names = [stem] if is_folder else named(folder or ".",
                                               rf"{re.escape(stem)}\..*")
        for name in names:
            _bring(os.path.join(folder, name), alias + name[len(stem):])
        yield alias


@contextlib.contextmanager
def replacing(path: str, way_out: str = "") -> Iterator[io.BytesIO]:
    """What is written inside becomes the file, also in a bucket.

    Folders of it are made. If something goes wrong inside, nothing is touched,
    and no one ever reads half of it.

    Args:
      path: of the file.
      way_out: a sentence to add where it cannot be written.

    Raises:
      OSError: it cannot be written; names it.
    """
    buffer = io.BytesIO()
    yield buffer
    with beside(path, way_out) as name, tf.io.gfile.GFile(name, "wb") as f:
        f.write(buffer.getvalue())


@contextlib.contextmanager
def beside(path: str, way_out: str = "") -> Iterator[str]:
    """The name of a file to write inside, which then becomes the one at `path`.

    As `replacing`, for what is too large to be held in memory.

    Args:
      path, way_out: see replacing.

    Raises:
      OSError: it cannot be written; names it.
    """
    path = os.path.expanduser(path)
    with errors.writing(path, way_out):
        tf.io.gfile.makedirs(os.path.dirname(path) or ".")
        # Not of a link, or of what is no file: /dev/stdout.
        moves = "://" in path or not os.path.lexists(path) or (
            os.path.isfile(path) and not os.path.islink(path))
        written = (f"{path}.{socket.gethostname()}-{os.getpid()}" if moves else
                   path)
        try:
            yield written
            if moves:
                tf.io.gfile.rename(written, path, overwrite=True)
        except BaseException:
            if moves and tf.io.gfile.exists(written):
                tf.io.gfile.remove(written)
            raise


def _bring(there, here):
    """Makes a file or folder appear `here`: a link, or a copy of a bucket's."""
    if "://" not in there:
        os.symlink(os.path.abspath(there), here)
    elif not tf.io.gfile.isdir(there):
        tf.io.gfile.copy(there, here)
    else:
        os.mkdir(here)
        for name in named(there, ".*"):
            _bring(os.path.join(there, name), os.path.join(here, name))

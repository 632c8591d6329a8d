"""Examples whose images are spans of bytes of large files, such as tars.

Any of them can be read alone, so that order and resume are those of files of
their own. Where they lie is found out once and kept in $TFVIT_CACHE/indices.
"""
from collections.abc import Callable, Sequence
from concurrent import futures
import contextlib
import hashlib
import json
import os
import zipfile

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source
from tfvit.storage import errors
from tfvit.storage import files as files_lib
from tfvit.storage import paths

# So many are read by one call of Python, which costs as much as reading one.
_CHUNK = 32
_AHEAD = 2**20  # Bytes read at once from where each request takes long.
_THREADS = 16
_VERSION = 1  # Of what is kept.


class Spans(source.Indexed):
    """Reads examples by number; see source.Indexed."""

    def __init__(self, *, files: Sequence[str], table: dict[str, np.ndarray],
                 class_names: Sequence[str], labels: Sequence[int] | None,
                 texts: Callable[[bytes], list[str]] | None = None,
                 notes: Sequence[str] = ()):
        """Of N examples.

        Args:
          files: in which they lie.
          table: of arrays [N]: "shard", an index into files, "begin" and "size"
            of the image in it, "key", its name there, and with `texts` also
            "text_begin" and "text_size".
          class_names: see source.Indexed.
          labels: class numbers [N]; None for captions.
          texts: from the bytes of a text to captions, which are the label.
          notes: see source.Indexed.
        """
        super().__init__(num_examples=len(table["shard"]),
                         class_names=class_names, fetch=None, notes=notes,
                         labels=labels)
        self._files, self._table, self._texts = files, table, texts

    def fetched(self, indices, key=None):
        def names(numbers):
            return np.array([self._name(i) for i in numbers], object)

        def labels(numbers):
            return np.asarray(self.labels, np.int64)[numbers]

        def read(numbers):
            images, texts, wrong = [], [], ""
            for i in numbers:
                try:
                    images.append(self._bytes(i, ""))
                    texts.append("\0".join(self._captions(i)))
                except (OSError, ValueError, tf.errors.OpError) as error:
                    wrong = problem(self._name(i), error)
                    break
            missing = [b""] * (len(numbers) - len(texts))
            return (np.array(images[:len(texts)] + missing, object),
                    np.array(texts + missing, object), wrong)

        def example(numbers):
            images, texts, wrong = tf.numpy_function(
                read, [numbers], [tf.string] * 3)
            if not self._texts:
                texts = tf.numpy_function(labels, [numbers], tf.int64)
            found = {"image": checked(images, wrong), "label": texts,
                     "name": name(numbers)}
            return {k: tf.ensure_shape(v, [None]) for k, v in found.items()}

        def name(numbers):
            found = tf.numpy_function(names, [numbers], tf.string)
            return tf.ensure_shape(found, [None])

        if key == "name":
            return chunked(indices, name)
        dataset = chunked(indices, example)
        if self._texts:
            dataset = dataset.map(split_captions)
        return dataset if key is None else dataset.map(lambda e: e[key])

    def _name(self, i):
        where = self._table
        return (paths.encoded(self._files[where["shard"][i]]) + b":" +
                where["key"][i])

    def _captions(self, i):
        if not self._texts:
            return ()
        texts = self._texts(self._bytes(i, "text_"))
        if not texts or not all(text.strip() for text in texts):
            raise ValueError("has no caption, or an empty one")
        return texts

    def _bytes(self, i, prefix):
        where = self._table
        begin, size = (int(where[prefix + k][i]) for k in ("begin", "size"))
        data = read(self._files[where["shard"][i]], begin, size)
        if len(data) != size:
            raise ValueError("is cut short: the file has changed since its "
                             "members were listed")
        return data


def chunked(indices, fetch) -> tf.data.Dataset:
    """Fetches many examples by one call: [n] numbers -> [n] of each part."""
    return indices.batch(_CHUNK).map(
        fetch, num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True).unbatch()


def read(file: str, begin: int, size: int) -> bytes:
    """Bytes of a file, which may be of a bucket."""
    if not paths.is_local(file):
        with tf.io.gfile.GFile(file, "rb") as f:
            f.seek(begin)
            return f.read(size)
    number = os.open(file, os.O_RDONLY)
    try:
        return os.pread(number, size, begin)
    finally:
        os.close(number)


class Reader:
    """Bytes of an open file: small ones in a row by few requests."""

    def __init__(self, file: str):
        self._file, self._begin, self._data = file, 0, b""
        self.size = tf.io.gfile.stat(file).length
        self._local = paths.is_local(file)
        self._number = os.open(file, os.O_RDONLY) if self._local else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._local:
            os.close(self._number)

    def read(self, begin: int, size: int) -> bytes:
        if self._local:
            return os.pread(self._number, size, begin)
        if not 0 <= begin - self._begin <= len(self._data) - size:
            self._begin = begin
            self._data = read(self._file, begin, max(size, _AHEAD))
        at = begin - self._begin
        return self._data[at:at + size]


def kept(files: Sequence[str], how: object, count: Callable[[str], dict],
         what: str) -> dict[str, np.ndarray]:
    """The rows of count(file) of all files, from the cache where they are.

    Args:
      files: to look at.
      how: all else that the result depends on, as JSON has it.
      count: file -> {name: values [n]}, with the same names for all.
      what: to call this in the log.

    Returns:
      {name: array [N]}, with "shard", the index of each row's file, too.
    """
    stats = [tf.io.gfile.stat(file) for file in files]
    said = json.dumps([_VERSION, how, [
        [paths.shown(paths.identity(file)), stat.length, stat.mtime_nsec]
        for file, stat in zip(files, stats)]])
    path = os.path.join(paths.cache(), "indices", hashlib.sha256(
        said.encode()).hexdigest()[:32] + ".npz")
    with contextlib.suppress(FileNotFoundError):
        try:
            with np.load(path, allow_pickle=False) as found:
                return dict(found)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            logging.warning("%s is damaged (%s): made anew.", path, error)
    logging.info("Listing %s once, %d files of %.1f GB ...", what, len(files),
                 sum(stat.length for stat in stats) / 1e9)
    found = []
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        for each in pool.map(count, files):
            found.append({k: np.asarray(v) for k, v in each.items()})
            if len(found) % 1000 == 0:
                logging.info("%d of %d files listed.", len(found), len(files))
    sizes = [len(next(iter(each.values()))) for each in found]
    # A file without rows does not know what kind its values are.
    full = [each for each, size in zip(found, sizes) if size] or found[:1]
    table = {k: np.concatenate([each[k] for each in full]) for k in full[0]}
    table["shard"] = np.repeat(np.arange(len(files), dtype=np.int32), sizes)
    _keep(path, table)
    return table


def _keep(path, table):
    try:
        with files_lib.beside(path) as name, open(name, "wb") as f:
            np.savez(f, **table)
    except OSError as error:
        logging.warning("%s It is done again at the next start; TFVIT_CACHE "
                        "may be set to a folder that can be written.", error)


def split_captions(example):
    """An example whose captions, joined by zeros, become string [K]."""
    return {**example, "label": tf.strings.split(example["label"], "\0")}


def checked(images, wrong):
    """`images`, unless something is wrong."""
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(wrong, ""),
                                                      [wrong])]):
        return tf.identity(images)


def problem(name: bytes, error: Exception) -> str:
    """What is wrong with an example, as a sentence."""
    reason = errors.reason(error) if isinstance(error, (
        OSError, tf.errors.OpError)) else f"{error}."
    return f"{paths.shown(name)}: {reason}"

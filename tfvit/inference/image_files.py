"""Applies a model's signature to files of images, in batches."""

import itertools
import os
import time

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import walking
from tfvit.storage import files as files_lib
from tfvit.storage import paths

_REPORT_EVERY = 10.0  # Seconds.


def find(words):
    """Image files of paths, folders (at any depth) and patterns, in order.

    Of a folder it takes what training takes (see sources.folder): no hidden
    files, and none again through a link to a parent; says so in the log.

    Raises:
      FileNotFoundError: there is nothing by one of the names.
    """
    files = []
    for word in map(paths.home, words):
        problem = ""
        if _is_folder(word):
            walk = walking.Walk()
            found = sorted(walk.images(word))
            for note in walk.notes(word):
                logging.info("%s", note)
            if problem := walking.left_out(walk.left_out.get(walking.OTHER,
                                                             ())):
                logging.warning("Left out in %s: %s", word, problem)
        elif tf.io.gfile.exists(paths.encoded(word)):
            found = [word]
        else:
            found = files_lib.matching(word)
        if not found:
            raise FileNotFoundError(
                f"{word} is no image, no pattern of images and no folder with "
                f"{', '.join(walking.SUFFIXES)} files. {problem}".rstrip())
        files += found
    return list(dict.fromkeys(files))


def contents(file):
    """The bytes of a file of `find`, string []."""
    return tf.io.read_file(paths.encoded(file))


def class_of(file, class_names):
    """The name of the innermost folder of a file that is a class, or None."""
    folders = os.path.dirname(file).split("/")
    return next((name for name in reversed(folders) if name in class_names),
                None)


def halves(files, most, class_names=(), *, seed=0):
    """Two random samples of files, with as many of each class as can be.

    No file is in both. A class is a folder: one that has the name of a class,
    at any depth, else the one that a file lies in. Each of them is halved, and
    gives the halves in turns.

    Args:
      files: paths.
      most: files in either sample, at most.
      class_names: of the model.
      seed: of the draws; the samples depend on it and on the files alone.

    Returns:
      ([file], [file])
    """
    random = np.random.default_rng(seed)
    folders = {}
    for file in sorted(files):
        name = class_of(file, class_names) or os.path.dirname(file)
        folders.setdefault(name, []).append(file)
    shuffled = [random.permutation(group).tolist()
                for group in folders.values()]
    random.shuffle(shuffled)  # There may be more folders than `most`.
    samples = []
    for half in (0, 1):
        parts = [group[(half + i) % 2::2] for i, group in enumerate(shuffled)]
        turns = itertools.chain(*itertools.zip_longest(*parts))
        samples.append([file for file in turns if file is not None][:most])
    return tuple(samples)


def run(function, files, *, batch_size):
    """Yields (file, {output: row of the array}) of each file, in order.

    The file's name is one that can be printed, whatever its bytes are.

    Args:
      function: a signature that takes image_bytes and returns error.
      files: paths.
      batch_size: files at a time.
    """
    spoke = time.monotonic()
    for begin in range(0, len(files), batch_size):
        chunk = files[begin:begin + batch_size]
        read = [_read(file) for file in chunk]
        outputs = function(image_bytes=tf.constant([b for b, _ in read]))
        arrays = {name: value.numpy() for name, value in outputs.items()}
        for i, (file, (_, problem)) in enumerate(zip(chunk, read)):
            row = {name: array[i] for name, array in arrays.items()}
            row["error"] = problem or row["error"].decode()
            yield paths.shown(file), row
        if time.monotonic() - spoke > _REPORT_EVERY:
            spoke = time.monotonic()
            logging.info("%d/%d images, %d%%", begin + len(chunk), len(files),
                         100 * (begin + len(chunk)) // len(files))


def _is_folder(word):
    return tf.io.gfile.isdir(paths.encoded(word))


def _read(file):
    """(bytes, why they could not be read or "")."""
    try:
        with tf.io.gfile.GFile(paths.encoded(file), "rb") as f:
            return f.read(), ""
    except tf.errors.OpError as error:
        return b"", f"Cannot be read: {error.message}"


def top(row):
    """[(class id, class, score)] of a row of serving_default, best first."""
    return [(int(number), name.decode(), float(score)) for number, name, score
            in zip(row["class_ids"], row["classes"], row["scores"])]


def stacked(rows, name):
    """The arrays `name` of rows as one [N, ...], with NaN where it failed."""
    return np.stack([
        row[name] if not row["error"] else np.full_like(row[name], np.nan)
        for row in rows
    ])

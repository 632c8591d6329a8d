"""Applies a model's signature to files of images, in batches."""

import glob
import os
import time

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import listing

_REPORT_EVERY = 10.0  # Seconds.


def find(words):
    """Image files of paths, folders (at any depth) and patterns, in order.

    Raises:
      FileNotFoundError: there is nothing by one of the names.
    """
    files = []
    for word in words:
        problem = ""
        if tf.io.gfile.isdir(word):
            inside = sorted(os.path.join(folder, name)
                            for folder, _, names in tf.io.gfile.walk(word)
                            for name in names)
            found = [file for file in inside
                     if file.lower().endswith(listing.SUFFIXES)]
            if problem := listing.left_out(inside):
                logging.warning("Left out in %s: %s", word, problem)
        elif tf.io.gfile.exists(word):
            found = [word]
        else:
            found = sorted(tf.io.gfile.glob(word) if "://" in word else glob.
                           glob(word, recursive=True))
        if not found:
            raise FileNotFoundError(
                f"{word} is no image, no pattern of images and no folder with "
                f"{', '.join(listing.SUFFIXES)} files. "
                f"{problem}".rstrip())
        files += found
    return list(dict.fromkeys(files))


def run(function, files, *, batch_size):
    """Yields (file, {output: row of the array}) of each file, in order.

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
            yield file, row
        if time.monotonic() - spoke > _REPORT_EVERY:
            spoke = time.monotonic()
            logging.info("%d/%d images, %d%%", begin + len(chunk), len(files),
                         100 * (begin + len(chunk)) // len(files))


def _read(file):
    """(bytes, why they could not be read or "")."""
    try:
        with tf.io.gfile.GFile(file, "rb") as f:
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

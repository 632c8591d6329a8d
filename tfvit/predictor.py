"""Applies a model, exported or not, to files of images, in batches."""

import functools
import glob
import os
import time

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit import inference
from tfvit.data import listing
from tfvit.data import prompts as prompts_lib
from tfvit.data import text  # Also loads the ops of exported tokenizers.
from tfvit.serving import saved

_REPORT_EVERY = 10.0  # Seconds.
_TEXTS = 256  # Embedded at a time.


def signatures(where, **options):
    """{name: function of the signature} of a model.

    A model of images and texts has "features", too: the images' embeddings.

    Args:
      where: a SavedModel, a folder of versions (the newest counts), or what
        inference.load takes.
      **options: for inference.load; of no effect on a SavedModel.
    """
    found = _signatures(where, options)
    if embed := found.get("embed_images"):
        def features(image_bytes):
            values = embed(image_bytes=image_bytes)
            return {"features": values["embeddings"], "error": values["error"]}

        found["features"] = features
    return found


def _signatures(where, options):
    for folder in [where, *(os.path.join(where, str(version))
                            for version in reversed(saved.versions(where)))]:
        if tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
            logging.info("Loading %s.", folder)
            model = tf.saved_model.load(folder)
            # Through the model, without which the functions lose its variables.
            return {name: functools.partial(_call, model, name)
                    for name in model.signatures}
    return inference.load(where, **options).server().signatures()


def _call(model, name, **inputs):
    return model.signatures[name](**inputs)


def zeroshot(functions, class_names, *, prompts, top_k=5):
    """Makes a classifier out of a model of images and texts.

    A class is the mean of its prompts' embeddings, scaled to length 1.

    Args:
      functions: signatures of such a model.
      class_names: what the images may show.
      prompts: templates, such as those of data.prompts.
      top_k: how many of the classes to name.

    Returns:
      A function that takes image_bytes, as the signature serving_default of a
      classifier does, and returns the same.

    Raises:
      ValueError: the model has no texts, or see prompts.texts.
    """
    if "embed_texts" not in functions:
        raise ValueError("The model has no texts, only fixed classes: zero-"
                         "shot classification needs a LiT, such as "
                         "lit/LiT-B16B.")
    texts = prompts_lib.texts(class_names, prompts)
    flat = sum(texts, [])
    z = np.concatenate([
        functions["embed_texts"](texts=tf.constant(
            flat[begin:begin + _TEXTS]))["embeddings"].numpy()
        for begin in range(0, len(flat), _TEXTS)])
    z = z.reshape(len(texts), len(prompts), -1).mean(axis=1)
    z = tf.constant(z / (np.linalg.norm(z, axis=1, keepdims=True) + 1e-8))
    names = np.array([name.encode() for name in class_names])

    def classify(image_bytes):
        found = functions["zeroshot_embedded"](image_bytes=image_bytes,
                                               text_embeddings=z)
        scores, ids = tf.math.top_k(found["probabilities"],
                                    min(top_k, len(names)))
        return {**found, "scores": scores, "class_ids": ids,
                "classes": tf.gather(names, ids)}

    return classify


def find(words):
    """Image files of paths, folders (at any depth) and patterns, in order.

    Raises:
      FileNotFoundError: there is nothing by one of the names.
    """
    files = []
    for word in words:
        if tf.io.gfile.isdir(word):
            found = sorted(
                os.path.join(folder, name)
                for folder, _, names in tf.io.gfile.walk(word)
                for name in names if name.lower().endswith(listing.SUFFIXES))
        elif tf.io.gfile.exists(word):
            found = [word]
        else:
            found = sorted(tf.io.gfile.glob(word) if "://" in word else glob.
                           glob(word, recursive=True))
        if not found:
            raise FileNotFoundError(
                f"{word} is no image, no pattern of images and no folder with "
                f"{', '.join(listing.SUFFIXES)} files.")
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

"""Images with captions: where they come from, and how they become tokens.

Their sources have no class names; an example's label is its captions, string
[K]. TFDS has some, too: sources.tfds with target=targets.captions.
"""
from collections.abc import Callable, Sequence

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import manifests
from tfvit.data.datasets import source as source_lib
from tfvit.data.datasets import tables
from tfvit.data.images import decoding
from tfvit.storage import paths


def table(*,
          path: str,
          split: str | None = None,
          root: str | None = None,
          image_column: str = "image",
          caption_column: str = "caption",
          split_column: str = "split",
          delimiter: str | None = None,
          unreachable: str = "stop") -> source_lib.Indexed:
    """Reads images and captions that a file lists.

    In a .csv or .tsv file, whose first line names the columns, every line has
    one caption; an image may have several lines. In a .jsonl file every line is
    an object, whose caption is a text or a list of texts.

    Args:
      path: the file; may be gs://.
      split: a value of the column of splits, and a slice of it such as
        "train[:90%]", "train[90%:]", taken by hashes of the images' names, so
        that slices never overlap. Where there is no such column, any name with
        a slice. None for all.
      root: folder of the images; None for where the file lies.
      image_column: what names the image.
      caption_column: what holds the caption.
      split_column: what holds the split.
      delimiter: between values; None for a tab in .tsv, a comma in .csv.
      unreachable: see sources.manifest.

    Raises:
      ValueError: the file cannot be read, lacks a column, has an image without
        caption, or no such split or nothing in it.
    """
    path, rows, notes = paths.home(path), [], []
    for line, row in tables.records(path, delimiter, "captions.table",
                                    notes):
        tables.check_columns(path, row, {
            "captions.table.image_column": image_column,
            "captions.table.caption_column": caption_column,
            "captions.table.split_column": split_column})
        image, texts = row.get(image_column), row.get(caption_column)
        texts = [texts] if isinstance(texts, str) else texts
        if not (image and isinstance(image, str) and texts and
                isinstance(texts, list) and
                all(isinstance(text, str) and text.strip() for text in texts)):
            raise ValueError(
                f"{path}, line {line}: needs an image's name as "
                f"{image_column!r} and a caption, or several, as "
                f"{caption_column!r}; there are {sorted(map(str, row))}. Set "
                "captions.table.image_column and caption_column."
                f"{tables.hint(row, 'captions.table')}")
        rows.append((line, image, "", row.get(split_column), texts))
    if not rows:
        raise ValueError(f"{path} has no images.")
    root = manifests.root_of(path, root)
    by_image, first = {}, {}
    for row in manifests.select(path, rows, split, root, split_column,
                                "captions.table", notes):
        image, texts = row[1], row[-1]
        key = first.setdefault(
            paths.identity(manifests.place(root, image)), (row[0], image))
        by_image.setdefault(key, []).extend(texts)
    # By name where there are splits; else as they are listed.
    images = sorted(by_image, key=lambda key: key[1]) if split else list(
        by_image)
    images, files = manifests.locate(path, images, root, "captions.table",
                                     "file", unreachable, notes)
    logging.info("%s of %s: %d images with %d captions.", split or "All", path,
                 len(files), sum(len(by_image[image]) for image in images))
    for note in notes:
        logging.warning("%s", note)
    with tf.device("CPU:0"):
        files = tf.constant(files)
    return _indexed([by_image[image] for image in images],
                    image=lambda i: tf.io.read_file(files[i]),
                    name=lambda i: files[i],
                    notes=notes)


def arrays(*, images: np.ndarray,
           captions: Sequence[Sequence[str]]) -> source_lib.Indexed:
    """Holds images, uint8 [N, H, W, c], and each one's captions in memory.

    Raises:
      ValueError: the counts differ, or an image has no caption.
    """
    if len(images) != len(captions) or not all(map(len, captions)):
        raise ValueError(f"captions.arrays got {len(images)} images and "
                         f"captions of {len(captions)}, at least one for each "
                         "is needed.")
    with tf.device("CPU:0"):
        images = tf.constant(images, tf.uint8)
    return _indexed(captions, image=lambda i: images[i],
                    name=tf.strings.as_string)


def _indexed(captions, *, image, name, notes=()):
    """A source of len(captions) examples."""
    ends = np.cumsum([len(texts) for texts in captions])
    with tf.device("CPU:0"):
        flat = tf.constant([text for texts in captions for text in texts])
        ends = tf.constant(ends, tf.int64)

    def fetch(index):
        begin = tf.where(index > 0, ends[tf.maximum(index - 1, 0)], 0)
        return {
            "image": image(index),
            "label": flat[begin:ends[index]],
            "name": name(index)
        }

    return source_lib.Indexed(num_examples=len(captions), class_names=(),
                              fetch=fetch, notes=notes)


def one(tokenizer: Callable) -> Callable:
    """Annotates an example with "tokens" [L] of a random caption of it."""

    def annotate(record, seed):
        texts = _checked(record)
        index = tf.random.stateless_uniform([], seed, maxval=tf.size(texts),
                                            dtype=tf.int32)
        return {"tokens": tokenizer(texts[index])}

    return annotate


def every(tokenizer: Callable, most: int) -> Callable:
    """Annotates an example with all of its up to `most` captions.

    As "tokens" [most, L], where empty texts fill up, and "captions", their
    number, int32 [].
    """

    def annotate(record, seed):
        del seed
        texts = _checked(record)
        missing = tf.fill([most - tf.size(texts)], "")
        texts = tf.ensure_shape(tf.concat([texts, missing], 0), [most])
        return {"tokens": tokenizer(texts), "captions": tf.size(record["label"])}

    return annotate


def most(source) -> int:
    """The largest number of captions of an example; reads all of them."""
    counts = source.examples().map(lambda record: tf.size(record["label"]))
    return int(counts.reduce(0, tf.maximum))


def annotation(source, tokenizer) -> Callable:
    """How to annotate training examples: with a caption, or with the label.

    Args:
      source: of examples.
      tokenizer: one of data.tokenizers, or None for a source of labels.

    Raises:
      ValueError: captions without a tokenizer, or one without captions.
    """
    if bool(source.class_names) == bool(tokenizer):
        raise ValueError(
            f"pipeline.train.tokenizer = {tokenizer}, but the source has "
            f"{len(source.class_names)} classes. A tokenizer (such as "
            "@text.wordpiece()) goes with a source of captions, which has no "
            "classes: captions.table, or sources.tfds with sources.tfds.target "
            "= @targets.captions.")
    return one(tokenizer) if tokenizer else decoding.labels


def _checked(record):
    """The captions of an example, of which there must be one."""
    texts = record["label"]
    with tf.control_dependencies([
            tf.debugging.Assert(
                tf.size(texts) > 0, [record["name"], "has no caption."])
    ]):
        return tf.identity(texts)

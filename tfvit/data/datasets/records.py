"""Reads TFRecord files of labelled images; see sources.tfrecords."""
from collections.abc import Sequence

from absl import logging
import tensorflow as tf

from tfvit import files as files_lib
from tfvit.data.datasets import paths

_CYCLE = 16  # Files open at a time, as in TFDS.


def find(pattern: str) -> list[str]:
    """Lists the files of a pattern, or the one of that very name.

    Raises:
      ValueError: there is none.
    """
    files = files_lib.matching(paths.home(pattern))
    if not files:
        raise ValueError(f"sources.tfrecords.pattern = {pattern!r} matches no "
                         "file.")
    return files


def examples(files: Sequence[str], *, image_key: str, label_key: str,
             label_offset: int, num_classes: int) -> tf.data.Dataset:
    """Reads all records, from several files in turn, in a fixed order.

    Iterating raises tf.errors.InvalidArgumentError where a label plus
    label_offset is not in 0 ... num_classes - 1.
    """
    features = {
        image_key: tf.io.FixedLenFeature([], tf.string),
        label_key: tf.io.FixedLenFeature([], tf.int64)
    }

    def read(file):
        numbered = tf.data.TFRecordDataset(file).enumerate()
        return numbered.map(lambda index, record: (file, index, record))

    def parse(file, index, record):
        name = tf.strings.join([file, ":", tf.strings.as_string(index)])
        example = tf.io.parse_single_example(record, features)
        label = example[label_key] + label_offset
        tf.debugging.Assert((label >= 0) & (label < num_classes), [
            name, f"has {label_key} + label_offset =", label,
            f"which is none of the {num_classes} classes."
        ])
        return {"image": example[image_key], "label": label, "name": name}

    # A fixed cycle: tf.data's own is one for the machine's number of cores, and
    # workers that differ in it would not share the same sequence of examples.
    return tf.data.Dataset.from_tensor_slices(files).interleave(
        read, cycle_length=_CYCLE, num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True).map(parse)


def count(dataset: tf.data.Dataset, pattern: str) -> int:
    """Reads all examples once, which checks them, and counts them.

    Raises:
      ValueError: there are none, or one is wrong.
    """
    try:
        total = int(dataset.reduce(0, lambda seen, _: seen + 1))
    except tf.errors.OpError as error:
        raise ValueError(f"Cannot read {pattern}: {error.message}") from error
    if not total:
        raise ValueError(f"The files {pattern} hold no records.")
    logging.info(
        "%s: %d examples. Set sources.tfrecords.num_examples to that "
        "to start without counting.", pattern, total)
    return total

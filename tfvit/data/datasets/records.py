"""Reads TFRecord files of labelled images; see sources.tfrecords."""
from collections.abc import Callable, Sequence
import fnmatch
import os
import re

from absl import logging
import tensorflow as tf

from tfvit.storage import files as files_lib

_SHARD = re.compile(r"(?P<stem>.*-)(?P<index>\d+)-of-(?P<count>\d+)"
                    r"(?P<suffix>[^/]*)")
# Up to so many bytes the records are counted although their number is said: it
# takes less than a second.
_COUNTED = 2**28
# As TFDS: so many files are open, and give so many records in turn.
_CYCLE, _BLOCK = 16, 16


def find(pattern: str, num_bytes: int | None) -> list[str]:
    """The files of a pattern, sorted, if all are there.

    Args:
      pattern: of names; those such as train-00003-of-00008.tfrecord say how
        many there must be, of which the pattern may choose.
      num_bytes: how large they must be together, or None.

    Raises:
      ValueError: there is none, one is missing, or they are of two sets or of
        another size.
    """
    files = files_lib.matching(pattern)
    knob = f"sources.tfrecords.pattern = {pattern!r}"
    if not files:
        raise ValueError(f"{knob} matches no file.")
    counts = {}
    for file in files:
        if shard := _SHARD.fullmatch(file):
            counts.setdefault((shard["stem"], shard["suffix"]), {}).setdefault(
                shard["count"], []).append(shard["index"])
    for (stem, suffix), found in counts.items():
        if len(found) > 1:
            raise ValueError(
                f"{knob} matches files of {' and of '.join(sorted(found))} "
                f"called {stem}...{suffix}: remove those of an older copy.")
        ((count, indices),) = found.items()
        # A few programs count from 1.
        first = int(int(min(indices)) > 0 and int(max(indices)) == int(count))
        every = {f"{stem}{i:0{len(indices[0])}}-of-{count}{suffix}"
                 for i in range(first, int(count) + first)}
        missing = sorted(file for file in every.difference(files)
                         if fnmatch.fnmatchcase(*map(os.path.basename,
                                                     (file, pattern))))
        if missing:
            raise ValueError(
                f"{knob} lacks {len(missing)} of {count} files, such as "
                f"{missing[0]}: copy them, or let the same command of "
                "tools.to_tfrecords write the rest.")
    size = _size(files)
    if num_bytes is not None and size != num_bytes:
        raise ValueError(
            f"The files of {knob} have {size:,} bytes, not the "
            f"sources.tfrecords.num_bytes = {num_bytes:,} that they had when "
            "they were written: copy them anew.")
    return files


def _size(files):
    return sum(tf.io.gfile.stat(file).length for file in files)


def check_count(files: Sequence[str], pattern: str, num_examples: int) -> None:
    """Raises ValueError unless the files, if small, hold so many records."""
    if _size(files) > _COUNTED:
        return
    try:
        total = int(tf.data.TFRecordDataset(files).reduce(
            0, lambda seen, _: seen + 1))
    except tf.errors.OpError as error:
        raise ValueError(f"Cannot read {pattern}: {error.message}") from error
    if total != num_examples:
        raise ValueError(
            f"The files {pattern} hold {total} records, not the "
            f"sources.tfrecords.num_examples = {num_examples}: set it right "
            "(None counts them), or copy the files anew.")


def spans(dataset: tf.data.Dataset, num_examples: int) -> tuple[Callable,
                                                                Callable]:
    """(read, shard_size) of a source.Streamed, whose shards are spans."""

    def span(index, count):
        size, rest = divmod(num_examples, count)
        return index * size + min(index, rest), size + (index < rest)

    def read(index, count):
        begin, size = span(index, count)
        part = dataset.skip(begin).take(size)
        return part.apply(tf.data.experimental.assert_cardinality(size))

    return read, lambda *shard: span(*shard)[1]


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
        read, cycle_length=_CYCLE, block_length=_BLOCK,
        num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).map(parse)


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

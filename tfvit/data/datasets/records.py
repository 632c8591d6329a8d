"""Reads TFRecord files of labelled images; see sources.tfrecords."""
from collections.abc import Callable, Sequence
import fnmatch
import os
import re

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import spans
from tfvit.data.preparation import index
from tfvit.storage import files as files_lib

_SHARD = re.compile(r"(?P<stem>.*-)(?P<index>\d+)-of-(?P<count>\d+)"
                    r"(?P<suffix>[^/]*)")
_BUFFER = 2**18  # Bytes.


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
                f"{missing[0]}: copy them, or write them anew: tfvit "
                "prepare.")
    size = sum(tf.io.gfile.stat(file).length for file in files)
    if num_bytes is not None and size != num_bytes:
        raise ValueError(
            f"The files of {knob} have {size:,} bytes, not the "
            f"sources.tfrecords.num_bytes = {num_bytes:,} that they had when "
            "they were written: copy them anew.")
    return files


def lengths(files: Sequence[str], pattern: str) -> dict[str, np.ndarray]:
    """{"shard": file, "length": bytes} of each record, int32 and int64 [N].

    All files are looked at once, which is kept in $TFVIT_CACHE/indices.

    Raises:
      ValueError: one of them is damaged.
    """
    return spans.kept(files, "tfrecord", _lengths, pattern)


def _lengths(file):
    """The bytes of each record of a file; reads their headers alone."""
    found, at = [], 0
    with spans.Reader(file) as opened:
        while at < opened.size:
            header = opened.read(at, 12)
            length = int.from_bytes(header[:8], "little")
            at += length + index.FRAME
            if len(header) < 12 or at > opened.size:
                raise ValueError(
                    f"Cannot read {file}: after {len(found)} records it is cut "
                    "short, or no TFRecord file. Copy it anew.")
            found.append(length)
    return {"length": np.array(found, np.int64)}


def check_count(found: int, pattern: str, num_examples: int) -> None:
    """Raises ValueError unless the files hold so many records."""
    if found != num_examples:
        raise ValueError(
            f"The files {pattern} hold {found} records, not the "
            f"sources.tfrecords.num_examples = {num_examples}: set it right "
            "(None counts them), or copy the files anew.")


def reader(files: Sequence[str], table: dict[str, np.ndarray]) -> tuple[
        list[int], Callable]:
    """(records of each file, what files.Files reads them by).

    Elements are pairs of a name and a record, string [] each.
    """
    counts = np.bincount(table["shard"], minlength=len(files))
    begins = np.cumsum(counts) - counts
    ends = np.cumsum(table["length"] + index.FRAME)
    offsets = np.concatenate([[0], ends])
    # Of all files together -> of each one.
    offsets = offsets[:-1] - np.repeat(offsets[begins], counts)
    with tf.device("CPU:0"):
        names, begins = tf.constant(files), tf.constant(begins)
        offsets = tf.constant(np.append(offsets, 0))

    def read(file, skip):
        records = tf.data.experimental.from_variant(
            tf.raw_ops.TFRecordDatasetV2(
                filenames=[names[file]], compression_type="",
                buffer_size=tf.constant(_BUFFER, tf.int64),
                byte_offsets=[offsets[begins[file] + skip]]),
            tf.TensorSpec([], tf.string))
        return records.enumerate(skip).map(lambda row, record: (
            tf.strings.join([names[file], ":", tf.strings.as_string(row)]),
            record))

    return counts.tolist(), read


def parser(*, image_key: str, label_key: str, label_offset: int,
           num_classes: int) -> Callable:
    """From a name and a record to an example.

    Raises tf.errors.InvalidArgumentError where a label plus label_offset is not
    in 0 ... num_classes - 1.
    """
    features = {
        image_key: tf.io.FixedLenFeature([], tf.string),
        label_key: tf.io.FixedLenFeature([], tf.int64)
    }

    def parse(name, record):
        example = tf.io.parse_single_example(record, features)
        label = example[label_key] + label_offset
        tf.debugging.Assert((label >= 0) & (label < num_classes), [
            name, f"has {label_key} + label_offset =", label,
            f"which is none of the {num_classes} classes."
        ])
        return {"image": example[image_key], "label": label, "name": name}

    return parse


def check(dataset: tf.data.Dataset, pattern: str) -> None:
    """Reads all examples once, which checks them.

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
        "to start without reading all of them.", pattern, total)

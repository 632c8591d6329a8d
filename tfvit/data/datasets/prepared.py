"""Reads what `tfvit prepare` wrote, in any order."""
from collections.abc import Callable
import os

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import array_records
from tfvit.data.datasets import listing
from tfvit.data.datasets import source
from tfvit.data.preparation import index as index_lib
from tfvit.storage import paths

IMAGE, NAME = "image/encoded", "image/filename"
# TFDS and others call it so, who then read such files, too.
KEYS = {"label": "image/class/label"}


def images(*, path: str, split: str, verify: bool = False) -> source.Indexed:
    """Reads a folder that `tfvit prepare` wrote.

    Args:
      path: the folder; of TFRecords it may be gs://.
      split: one of its splits, or a slice of it such as "train[:90%]". Of each
        slice all classes are mixed; slices that share a bound share no image.
      verify: first read all files, and hold them against their checksums.

    Raises:
      ValueError: there is no such split, or a file is not as it was written.
    """
    folder = paths.home(path)
    name, low, high = listing.parse(
        split, f"prepared.images.split = {split!r}", index_lib.splits(folder))
    found = index_lib.read(folder, name)
    if verify:
        index_lib.verify(folder, found["files"])
    count = found["examples"]
    begin, end = count * low // 100, count * high // 100
    if begin == end:
        raise ValueError(f"prepared.images.split = {split!r} of {path} has no "
                         f"images, of {count}.")
    about = dict(class_names=found["class_names"],
                 labels=_labels(found, begin, end))
    files, begins, sizes = [], [], []
    first = 0
    for file in found["files"]:
        last = first + file["examples"]
        skip = max(begin - first, 0)
        size = min(end, last) - first - skip
        if size > 0:
            files.append(os.path.join(folder, file["name"]))
            begins.append(skip)
            sizes.append(size)
        first = last
    parse = _parser(found["features"])
    if found["format"] == "array_record":
        return array_records.ArrayRecords(files=files, begins=begins,
                                          sizes=sizes, parse=parse, **about)
    return _tfrecords(files, begins, sizes, parse, about, folder, found)


def _labels(found, begin, end):
    labels = found.get("labels")
    return None if labels is None else labels[begin:end]


def _tfrecords(files, begins, sizes, parse, about, folder, found):
    """TFRecords of which every record's place is known."""
    lengths = {os.path.join(folder, file["name"]): part for file, part in zip(
        found["files"], np.split(found["lengths"], np.cumsum(
            [file["examples"] for file in found["files"]])[:-1]))}
    offsets, rows = [], []
    for file, begin, size in zip(files, begins, sizes):
        ends = np.cumsum(lengths[file] + index_lib.FRAME)
        starts = ends - lengths[file] - index_lib.FRAME
        offsets.append(starts[begin:begin + size])
        rows.append(np.arange(begin, begin + size))
    with tf.device("CPU:0"):
        names = tf.constant([paths.encoded(file) for file in files])
        number = tf.constant(np.repeat(np.arange(len(files)), sizes))
        offsets = tf.constant(np.concatenate(offsets))
        rows = tf.constant(np.concatenate(rows))

    def fetch(i):
        file = names[number[i]]
        return parse(_record(file, offsets[i]), tf.strings.join(
            [file, ":", tf.strings.as_string(rows[i])]))

    return source.Indexed(num_examples=int(sum(sizes)), fetch=fetch, **about)


def _record(file, offset):
    """The record of a TFRecord file that begins at a byte; checks its sum."""
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=[file], compression_type="", byte_offsets=[offset],
        buffer_size=tf.constant(0, tf.int64))
    first = tf.raw_ops.TakeDataset(
        input_dataset=records, count=tf.constant(1, tf.int64),
        output_types=[tf.string], output_shapes=[[]])
    return tf.raw_ops.DatasetToSingleElement(
        dataset=first, output_types=[tf.string], output_shapes=[[]])[0]


def _parser(features) -> Callable:
    """(tf.train.Example, its name) -> an example of a source."""
    spec = {IMAGE: tf.io.FixedLenFeature([], tf.string),
            NAME: tf.io.FixedLenFeature([], tf.string, default_value="")}
    for key, (dtype, shape) in features.items():
        kind = stored(tf.as_dtype(dtype))
        spec[KEYS.get(key, key)] = (
            tf.io.FixedLenSequenceFeature([], kind, allow_missing=True)
            if None in shape else tf.io.FixedLenFeature(shape, kind))

    def parse(record, name):
        read = tf.io.parse_single_example(record, spec)
        example = {
            key: tf.reshape(tf.cast(read[KEYS.get(key, key)], dtype),
                            [-1 if n is None else n for n in shape])
            for key, (dtype, shape) in features.items()
        }
        said = read[NAME]
        return {"image": read[IMAGE], **example,
                "name": tf.where(tf.equal(said, ""), name, said)}

    return parse


def stored(dtype: tf.DType) -> tf.DType:
    """As what a tf.train.Example keeps values of a type."""
    if dtype == tf.string:
        return tf.string
    return tf.float32 if dtype.is_floating else tf.int64

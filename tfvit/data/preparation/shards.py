"""Writes the records of a split, file by file, whatever happens meanwhile."""
from collections.abc import Callable, Iterator
from concurrent import futures
import dataclasses
import functools
import io
import os
import re
import time

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import array_records
from tfvit.data.datasets import prepared
from tfvit.data.preparation import index as index_lib
from tfvit.data.preparation import reading
from tfvit.storage import errors
from tfvit.storage import files as files_lib
from tfvit.storage import paths

# Images a file; no more files than can be open at once.
_PER_SHARD, _MOST_SHARDS = 1_000, 256
_AHEAD = 4  # Images of each thread that are under way.
_SPEAK = 10.0  # Seconds.
# Which examples are in which file; files of another one are not to be mixed.
LAYOUT = 2
_OWN = ("image", "name")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to write.

    Attributes:
      out: folder, which is there.
      kind: "array_record" or "tfrecord".
      make: from photos.maker.
      num_shards: of each split, or None for one for each 1,000 images, 256 at
        most.
      threads: how many images are decoded at once.
    """
    out: str
    kind: str
    make: Callable
    num_shards: int | None = None
    threads: int = 2


def write(plan: Plan, split: str, source) -> dict:
    """Writes those files of a split that are not there yet, then its index.

    A file is there when all of it is, and {file}.json beside it says so until
    the index does: what is stopped at any moment goes on where it was.

    Returns:
      The index, see index.py.

    Raises:
      ValueError: the folder holds the split in another number of files, or
        nothing can be decoded.
    """
    done = index_lib.index_path(plan.out, split)
    total = source.num_examples
    count = plan.num_shards or min(max(total // _PER_SHARD, 1), _MOST_SHARDS)
    count = min(count, total)  # None without an image.
    names = [index_lib.shard_name(split, i, count, plan.kind)
             for i in range(count)]
    others = files_lib.named(plan.out, rf"{re.escape(split)}-\d+-of-\d+\.("
                             r"array_record|tfrecord)")
    if strange := sorted(set(others) - set(names)):
        raise ValueError(
            f"{plan.out} holds other files of {split}, such as {strange[0]}: "
            "remove them, choose another --out, or give --shards and --format "
            "as then.")
    if tf.io.gfile.exists(done):
        return index_lib.read(plan.out, split)
    progress = _Progress(split, total)
    parts = []
    for i, name in enumerate(names):
        path = os.path.join(plan.out, name)
        part = path + ".json"
        if not (name in others and tf.io.gfile.exists(part)):
            _write_shard(plan, path, reading.records(source, i, count),
                         progress)
        else:
            progress.skip(source.shard_size(i, count))
        parts.append(index_lib.read_json(part))
    found = _index(plan, split, names, parts, source)
    index_lib.write_json(done, found)
    for name in names:
        tf.io.gfile.remove(os.path.join(plan.out, name + ".json"))
    return index_lib.read(plan.out, split)


def _write_shard(plan, path, records, progress):
    """Writes a file of reading.records, and {path}.json about it before."""
    partial = path + ".unfinished"
    rows = {"lengths": [], "labels": [], "photos": [], "left_out": []}
    writing = functools.partial(
        errors.writing, partial, "Mend that, and give the same command again: "
        "it goes on where it was.")
    with writing():
        writer = (array_records.Writer if plan.kind == "array_record" else
                  tf.io.TFRecordWriter)(partial)
    for name, record, photo in _made(plan, records, progress):
        if isinstance(photo, str):
            rows["left_out"].append([name, " ".join(photo.split())])
            continue
        contents = _example(record, photo)
        with writing():
            writer.write(contents)
        rows["lengths"].append(len(contents))
        rows["photos"].append([*photo.before, *photo.after, photo.bytes_before,
                               len(photo.contents), int(photo.copied)])
        if np.ndim(record["label"]) == 0 and record["label"].dtype != object:
            rows["labels"].append(int(record["label"]))
    with writing():
        writer.close()
    rows["bytes"] = tf.io.gfile.stat(partial).length
    rows["sha256"] = index_lib.sha256(partial)
    index_lib.write_json(path + ".json", rows)
    tf.io.gfile.rename(partial, path, overwrite=True)


def _made(plan, records, progress) -> Iterator:
    """(name, record, its Photo or why there is none) of all, in order."""

    def one(record, reason):
        try:
            return reason or plan.make(record["image"])
        except tf.errors.OpError as error:
            return errors.reason(error)

    with futures.ThreadPoolExecutor(plan.threads) as pool:
        waiting = []

        def first():
            record, future = waiting.pop(0)
            photo = future.result()
            progress.add()
            return paths.shown(record["name"]), record, photo

        for record, reason in records:
            waiting.append((record, pool.submit(one, record, reason)))
            if len(waiting) >= _AHEAD * plan.threads:
                yield first()
        while waiting:
            yield first()


def _example(record, photo) -> bytes:
    """The bytes of a tf.train.Example of a record of a source."""
    features = {prepared.IMAGE: _feature(photo.contents, tf.string),
                prepared.NAME: _feature(record["name"], tf.string)}
    for key, value in record.items():
        if key not in _OWN:
            features[prepared.KEYS.get(key, key)] = _feature(
                value, tf.as_dtype(_dtype(value)))
    return tf.train.Example(features=tf.train.Features(
        feature=features)).SerializeToString()


def _feature(value, dtype):
    values = np.ravel(np.asarray(value, object)).tolist()
    kind = prepared.stored(dtype)
    if kind == tf.string:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if kind == tf.float32:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _dtype(value):
    dtype = np.asarray(value).dtype
    return tf.string if dtype.kind in "OSU" else dtype


def _index(plan, split, names, parts, source) -> dict:
    """Writes the table and left_out.txt, and returns what the index says."""
    lengths = [len(part["lengths"]) for part in parts]
    if not sum(lengths):
        name, reason = parts[0]["left_out"][0]
        raise ValueError(f"None of the {source.num_examples} images of {split} "
                         f"can be read and decoded, such as {name}: {reason}")
    table = {"lengths": np.concatenate(
        [np.array(part["lengths"], np.int64) for part in parts])}
    labels = [label for part in parts for label in part["labels"]]
    if len(labels) == sum(lengths):
        table["labels"] = np.array(labels, np.int64)
    buffer = io.BytesIO()
    np.savez(buffer, **table)
    index_lib.write(index_lib.table_path(plan.out, split), buffer.getvalue())
    left_out = [row for part in parts for row in part["left_out"]]
    if left_out:
        index_lib.write(
            os.path.join(plan.out, f"{split}.left_out.txt"),
            "".join(f"{name}\t{reason}\n" for name, reason in left_out).encode())
    spec = source.examples().element_spec
    return {
        "version": index_lib.VERSION, "format": plan.kind,
        "examples": sum(lengths), "left_out": len(left_out),
        "class_names": source.class_names,
        "features": {key: [part.dtype.name, part.shape.as_list()]
                     for key, part in spec.items() if key not in _OWN},
        "files": [{"name": name, "examples": count, "bytes": part["bytes"],
                   "sha256": part["sha256"]}
                  for name, count, part in zip(names, lengths, parts)],
        "statistics": _statistics(
            np.array([row for part in parts for row in part["photos"]]),
            labels, source.class_names),
    }


def _statistics(photos, labels, class_names) -> dict:
    """Of rows of height, width, both of what is kept, bytes, both, copied."""
    columns = ("height_before", "width_before", "height", "width")
    sizes = {name: dict(zip(("min", "median", "max"), map(int, (
        values.min(), np.median(values), values.max()))))
             for name, values in zip(columns, photos.T)}
    found = {"images": len(photos), "copied": int(photos[:, 6].sum()),
             "image_bytes_before": int(photos[:, 4].sum()),
             "image_bytes": int(photos[:, 5].sum()), **sizes}
    if labels:
        counts = np.bincount(labels, minlength=len(class_names))
        found["classes"] = len(class_names)
        found["images_of_a_class"] = {
            "min": int(counts.min()), "median": int(np.median(counts)),
            "max": int(counts.max())}
    return found


class _Progress:
    """Says now and then how far a split is."""

    def __init__(self, split, total):
        self._split, self._total = split, total
        self._done, self._new = 0, 0
        self._start = self._spoke = time.monotonic()

    def skip(self, count):
        """Counts images that were written before."""
        self._done += count

    def add(self):
        """Counts one more."""
        self._done, self._new = self._done + 1, self._new + 1
        now = time.monotonic()
        if now - self._spoke > _SPEAK or self._done == self._total:
            self._spoke = now
            rate = self._new / max(now - self._start, 1e-6)
            left = (self._total - self._done) / rate
            logging.info("%s: %d%%, %s of %s images, %.0f images/s, %s left.",
                         self._split, 100 * self._done // self._total,
                         f"{self._done:,}", f"{self._total:,}", rate,
                         f"{left / 60:.0f} min" if left > 90 else
                         f"{left:.0f} s")

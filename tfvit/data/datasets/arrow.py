"""Reads what Hugging Face's Dataset.save_to_disk writes: Arrow files.

Their images are not compressed, so each is a span of bytes that can be read
alone: no copy of the data, no row groups, any order.
"""
import json
import os

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import columns as columns_lib
from tfvit.data.datasets import parquet
from tfvit.data.datasets import shard_files
from tfvit.data.datasets import spans
from tfvit.storage import paths

try:
    import pyarrow
except ImportError:  # Of an extra: parquet.check_installed says which.
    pyarrow = None

SUFFIXES = (".arrow",)


def table(*,
          path: str,
          split: str | None = None,
          image_column: str | None = None,
          label_column: str | None = None,
          class_names_file: str | None = None) -> spans.Spans:
    """Reads the folder of a Dataset or DatasetDict of Hugging Face.

    Args:
      path: local folder that save_to_disk wrote, or one of .arrow files.
      split: "train", "val" or "test" of a DatasetDict; or a slice, such as
        "train[:90%]", of these or of all (see sources.folder). None for all.
      image_column, label_column, class_names_file: see parquet.table.

    Raises:
      ValueError: see parquet.table.
    """
    parquet.check_installed("arrow.table")
    if not paths.is_local(path):
        raise ValueError(f"arrow.table.path = {path!r}: only local files can "
                         "be mapped. Copy the folder to a disk.")
    splits = shard_files.find(path, SUFFIXES, "arrow.table.path")
    files = [file for part in splits.values() for file in part]
    chosen, low, high = shard_files.select(splits, split, "arrow.table.split")
    begins, sizes, values, counts, columns = [], [], [], [], None
    for file in files:
        _check_state(file)
        try:
            with pyarrow.memory_map(file) as mapped:
                base = mapped.read_buffer().address
                mapped.seek(0)
                reader = _reader(mapped)
                columns = columns_lib.of(
                    reader.schema, image=image_column, label=label_column,
                    caption=None, user="arrow.table", where=file)
                count = 0
                for batch in reader:
                    found = _places(batch.column(columns.image), base,
                                    mapped.size(), columns.nested, file)
                    begins.append(found[0])
                    sizes.append(found[1])
                    values += batch.column(columns.text).to_pylist()
                    count += len(batch)
                counts.append(count)
        except pyarrow.ArrowException as error:
            raise ValueError(f"Cannot read {file}: {error}") from error
    found = columns_lib.choose(columns, values, splits, chosen, low, high,
                               counts, class_names_file, "arrow.table", path,
                               split)
    rows = found["rows"]
    number = np.concatenate([np.arange(count) for count in counts])
    where = {"shard": np.repeat(np.arange(len(files)), counts),
             "begin": np.concatenate(begins), "size": np.concatenate(sizes),
             "key": np.char.encode(number.astype(str))}
    missing = np.flatnonzero(where["size"][rows] <= 0)
    if len(missing):
        row = rows[missing[0]]
        raise ValueError(
            f"{files[where['shard'][row]]}, row {number[row]}: no bytes of an "
            "image, only a path, as the cache of load_dataset has it: "
            "save_to_disk puts the images inside.")
    return spans.Spans(files=files,
                       table={k: v[rows] for k, v in where.items()},
                       class_names=found["class_names"],
                       labels=found["labels"])


def _reader(mapped):
    """Record batches of a stream, as save_to_disk writes it, or of a file."""
    magic = mapped.read(6)
    mapped.seek(0)
    if magic != b"ARROW1":
        return pyarrow.ipc.open_stream(mapped)
    read = pyarrow.ipc.open_file(mapped)

    class Batches:  # As a stream has them.
        schema = read.schema

        def __iter__(self):
            return map(read.get_batch, range(read.num_record_batches))

    return Batches()


def _places(column, base, size, nested, file):
    """(first byte, number of bytes), int64 [n] each, of a column's values."""
    array = column.field("bytes") if nested else column
    _, ends, data = array.buffers()
    wide = str(array.type) == "large_binary"
    ends = np.frombuffer(ends, np.int64 if wide else np.int32)
    ends = ends[array.offset:array.offset + len(array) + 1].astype(np.int64)
    begin = data.address - base if data is not None else 0
    if not 0 <= begin <= size:
        raise ValueError(f"{file} is compressed, so that no image in it can be "
                         "read alone: save it without, or as Parquet.")
    return ends[:-1] + begin, np.diff(ends)


def _check_state(file):
    """Raises ValueError for a dataset that is a choice of its rows."""
    path = os.path.join(os.path.dirname(file), "state.json")
    if not tf.io.gfile.exists(path):
        return
    with tf.io.gfile.GFile(path) as f:
        state = json.load(f)
    if state.get("_indices_data_files"):
        raise ValueError(f"{path} names rows to leave out or in another order: "
                         "call dataset.flatten_indices() before save_to_disk.")

"""Reads Parquet files of images and labels, as Hugging Face writes them.

A row can only be read with its whole row group, all of which is decompressed.
So an epoch is shuffled twice: the blocks of rows, and the rows of so many
blocks as the memory holds; each row group is read about once. Of several
workers each reads row groups of its own.
"""
import collections
from collections.abc import Sequence
import threading

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import columns as columns_lib
from tfvit.data.datasets import orders
from tfvit.data.datasets import shard_files
from tfvit.data.datasets import source
from tfvit.data.datasets import spans
from tfvit.storage import paths

try:
    import pyarrow
    import pyarrow.parquet as pq
except ImportError:  # Of an extra: `table` says which.
    pyarrow = pq = None

SUFFIXES = (".parquet",)
_LARGE = 2**28  # Bytes of a row group of which one should be told.


class RowGroups:
    """Images of row groups, of which the last used are kept.

    Attributes:
      ends: int64 [G], how many rows there are up to the end of each.
      num_bytes: mean size of the images of one, decompressed.
    """

    def __init__(self, files: Sequence[str], metadata: Sequence, column: str,
                 nested: bool, most: int):
        """Of Parquet files, with up to `most` bytes of images kept."""
        self._files, self._metadata = files, metadata
        self._column, self._nested = column, nested
        self._groups = [(file, group) for file, meta in enumerate(metadata)
                        for group in range(meta.num_row_groups)]
        parts = [metadata[file].row_group(group)
                 for file, group in self._groups]
        self.ends = np.cumsum([part.num_rows for part in parts])
        path = f"{column}.bytes" if nested else column
        sizes = [part.column(i).total_uncompressed_size for part in parts
                 for i in range(part.num_columns)
                 if part.column(i).path_in_schema == path]
        self.num_bytes = float(np.mean(sizes)) if sizes else 0.0
        self.most = max(int(most // max(self.num_bytes, 1)), 2)
        self._kept = collections.OrderedDict()
        self._lock = threading.Lock()

    def place(self, row: int) -> tuple[int, int]:
        """(row group, row in it) of a row of all files."""
        group = int(np.searchsorted(self.ends, row, side="right"))
        return group, row - int(self.ends[group - 1] if group else 0)

    def where(self, row: int) -> tuple[str, int]:
        """(file, row in it)."""
        group, within = self.place(row)
        file, number = self._groups[group]
        meta = self._metadata[file]
        return self._files[file], within + sum(
            meta.row_group(i).num_rows for i in range(number))

    def image(self, row: int) -> bytes:
        """The bytes of a row's image.

        Raises:
          ValueError: it has none.
        """
        group, within = self.place(row)
        value = self._read(group)[within].as_py()
        if not value:
            raise ValueError("has no bytes of an image (only a path? Then it "
                             "was written without embedding the files)")
        return value

    def _read(self, group):
        with self._lock:
            entry = self._kept.setdefault(group, [threading.Lock(), None])
            self._kept.move_to_end(group)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        with entry[0]:  # Others that want it wait for the one that reads it.
            if entry[1] is None:
                file, number = self._groups[group]
                with opened(self._files[file]) as f:
                    read = pq.ParquetFile(f, metadata=self._metadata[file])
                    found = read.read_row_group(number, [self._column])[0]
                if self._nested:
                    found = pyarrow.chunked_array(
                        [chunk.field("bytes") for chunk in found.chunks],
                        found.type.field("bytes").type)
                entry[1] = found
            return entry[1]


class Rows(source.Indexed):
    """Chosen rows of row groups; see source.Indexed."""

    def __init__(self, groups: RowGroups, rows: np.ndarray, *,
                 class_names: Sequence[str], labels: np.ndarray | None,
                 captions: Sequence[Sequence[str]] | None = None):
        """Of N rows, with their labels or captions."""
        super().__init__(num_examples=len(rows), class_names=class_names,
                         fetch=None, labels=labels)
        self._groups, self._rows, self._captions = groups, rows, captions
        # So many examples are in a block, of which so many are mixed. Half of
        # the memory is for those that come next.
        used = len(np.unique(np.searchsorted(groups.ends, rows, "right")))
        self._block = max(round(len(rows) / max(used, 1)), 1)
        self._mixed = max(groups.most // 2, 1)

    def order(self, places, seeds):
        """Blocks in a new order, and mixed; see source.Indexed.order."""
        if seeds is None:
            return places
        blocks = self.num_examples // self._block
        whole = blocks * self._block
        window = self._mixed * self._block
        number = places // window
        size = tf.minimum(whole - number * window, window)
        inside = places < whole
        # What is left over is a part of a block, which comes last.
        size = tf.where(inside, size, self.num_examples - whole)
        begin = tf.where(inside, number * window, whole)
        mixed = source.permuted(places - begin, orders.other_seeds(
            seeds, 1 + number), size)
        block = number * self._mixed + mixed // self._block
        block = source.permuted(tf.where(inside, block, 0),
                                orders.other_seeds(seeds, 0), blocks)
        return tf.where(inside, block * self._block + mixed % self._block,
                        whole + mixed)

    def part(self, shard_index, num_shards):
        """See source.Indexed.part: each row group is read by one shard."""
        sizes = [self.shard_size(i, num_shards) for i in range(shard_index + 1)]
        own = slice(sum(sizes[:-1]), sum(sizes))
        return Rows(self._groups, self._rows[own],
                    class_names=self.class_names,
                    labels=None if self.labels is None else self.labels[own],
                    captions=self._captions and self._captions[own])

    def fetched(self, indices, key=None):
        def read(numbers):
            images, problem = [], ""
            for row in self._rows[numbers]:
                try:
                    images.append(self._groups.image(int(row)))
                except (OSError, ValueError, tf.errors.OpError) as error:
                    problem = spans.problem(self._name(row), error)
                    break
            images += [b""] * (len(numbers) - len(images))
            return np.array(images, object), problem

        def names(numbers):
            return np.array([self._name(row) for row in self._rows[numbers]],
                            object)

        def labels(numbers):
            if self._captions is None:
                return np.asarray(self.labels, np.int64)[numbers]
            return np.array(["\0".join(self._captions[i]) for i in numbers],
                            object)

        kind = tf.int64 if self._captions is None else tf.string
        parts = {"image": lambda n: spans.checked(
            *tf.numpy_function(read, [n], [tf.string, tf.string])),
                 "label": lambda n: tf.numpy_function(labels, [n], kind),
                 "name": lambda n: tf.numpy_function(names, [n], tf.string)}
        wanted = parts if key is None else [key]
        dataset = spans.chunked(indices, lambda n: {
            k: tf.ensure_shape(parts[k](n), [None]) for k in wanted})
        if self._captions is not None and "label" in wanted:
            dataset = dataset.map(spans.split_captions)
        return dataset if key is None else dataset.map(lambda e: e[key])

    def _name(self, row):
        file, number = self._groups.where(int(row))
        return paths.encoded(f"{file}:{number}")


def table(*,
          path: str,
          split: str | None = None,
          image_column: str | None = None,
          label_column: str | None = None,
          caption_column: str | None = None,
          class_names_file: str | None = None,
          cache_mb: int = 512) -> Rows:
    """Reads Parquet files, such as those of a dataset of Hugging Face.

    Args:
      path: folder of .parquet files, one of them, or a pattern such as
        "data/train-*.parquet"; of train-00000-of-00005.parquet and the like all
        must be there.
      split: "train", "val" or "test" where the files' names tell their split;
        or a slice, such as "train[:90%]", of these or of all (see
        sources.folder). None for all.
      image_column: of the images' bytes, or Hugging Face's struct of them;
        None for the only one.
      label_column: of the classes, as numbers or names; None for the only
        ClassLabel of Hugging Face's metadata, or else "label".
      caption_column: of captions instead, texts or lists of them; the source
        then has no classes.
      class_names_file: text file with one class name a line. None takes those
        of the metadata, or else all labels of `path`, sorted.
      cache_mb: memory for row groups; the more, the better the shuffling.

    Raises:
      ValueError: there are no such files, splits or columns, or a label is none
        of the classes.
    """
    check_installed("parquet.table")
    splits = shard_files.find(path, SUFFIXES, "parquet.table.path")
    files = [file for part in splits.values() for file in part]
    chosen, low, high = shard_files.select(splits, split, "parquet.table.split")
    metadata, values, columns = [], [], None
    for file in files:
        try:
            with opened(file) as f:
                read = pq.ParquetFile(f)
                columns = columns_lib.of(
                    read.schema_arrow, image=image_column, label=label_column,
                    caption=caption_column, user="parquet.table", where=file)
                metadata.append(read.metadata)
                values += read.read([columns.text])[0].to_pylist()
        except pyarrow.ArrowException as error:
            raise ValueError(f"Cannot read {file}: {error}") from error
    groups = RowGroups(files, metadata, columns.image, columns.nested,
                       cache_mb * 2**20)
    found = columns_lib.choose(columns, values, splits, chosen, low, high,
                               [meta.num_rows for meta in metadata],
                               class_names_file, "parquet.table", path, split)
    if groups.num_bytes > _LARGE:
        logging.warning(
            "%s has row groups of %.0f MB, and one image costs a whole one: "
            "write it with row_group_size=100, or copy it by tfvit "
            "prepare.", path, groups.num_bytes / 2**20)
    return Rows(groups, found.pop("rows"), **found)


def check_installed(user: str) -> None:
    """Raises ImportError where pyarrow is not installed."""
    if pyarrow is None:
        raise ImportError(f"{user} needs pyarrow: pip install 'tfvit[parquet]'")


def opened(file: str):
    """A file as pyarrow reads it, also in a bucket."""
    if paths.is_local(file):
        return pyarrow.OSFile(file)
    return pyarrow.PythonFile(tf.io.gfile.GFile(file, "rb"), mode="r")

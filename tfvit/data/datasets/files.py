"""Examples in files that are read from front to back, such as TFRecords."""
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source

# As TFDS: so many files are open, and give so many records in turn. Not tf.data's
# own number, which is one for the machine's cores: workers that differ in it
# would not share the same sequence of examples.
_CYCLE, _BLOCK = 16, 16


class Files(source.Epochs):
    """See source.py. The number of records of each file is known.

    The files lie one after the other, in an order of the epoch's own, and each
    worker has a stretch of that: it reads no other file. A stretch is read and
    mixed in windows of half of `shuffle_buffer`: while one is handed out, the
    next one fills, also across the end of an epoch. Where a window begins in
    the middle of a file, only that file's records are passed over. A set that
    fits into `shuffle_buffer` is one window, and so held twice.
    """

    def __init__(self, *, class_names: Sequence[str], counts: Sequence[int],
                 read: Callable, parse: Callable, shuffle_buffer: int,
                 splits: Sequence[str] = ()):
        """Reads examples.

        Args:
          class_names: see source.Indexed.
          counts: how many records each file has.
          read: (file, skip), int64 [] -> dataset of the file's records from the
            skip-th on.
          parse: from an element of that to an example.
          shuffle_buffer: encoded examples to hold.
          splits: names of all that the dataset has.
        """
        self.num_examples = int(sum(counts))
        self.class_names = tuple(class_names)
        self.splits = tuple(splits)
        self._counts = np.asarray(counts, np.int64)
        self._read, self._parse = read, parse
        self._shuffle_buffer = shuffle_buffer

    def shard_size(self, shard_index: int, num_shards: int) -> int:
        return self._span(shard_index, num_shards)[1]

    def examples(self, *, seed=None, shard_index: int = 0, num_shards: int = 1,
                 skip=0) -> tf.data.Dataset:
        """Reads one epoch of one shard; see source.Indexed.examples."""
        begin, size = self._span(shard_index, num_shards)
        if seed is None:
            files = tf.range(len(self._counts), dtype=tf.int64)
            found = self._stretch(files, begin, begin + size).skip(skip)
        else:
            plan = _Windows(size, self._shuffle_buffer)
            seed = source.pair(seed)
            first, rest = plan.place(skip, seed)
            found = tf.data.Dataset.range(first, plan.count).flat_map(
                lambda window: self._window(plan, begin, seed, window)).prefetch(
                    1).unbatch().skip(rest)
        found = found.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE,
                          deterministic=True)
        return found.apply(tf.data.experimental.assert_cardinality(
            tf.maximum(size - tf.cast(skip, tf.int64), 0)))

    def endless(self, seeds, *, shard_index: int, num_shards: int,
                skip: int) -> tf.data.Dataset:
        """Reads a shard again and again; see source.Epochs."""
        begin, size = self._span(shard_index, num_shards)
        plan = _Windows(size, self._shuffle_buffer)
        epoch, used = divmod(skip, size)
        fold = tf.random.experimental.stateless_fold_in
        first, rest = plan.place(used, fold(seeds, tf.constant(epoch, tf.int64)))

        @tf.autograph.experimental.do_not_convert
        def window(number):
            return self._window(plan, begin, fold(seeds, number // plan.count),
                                number % plan.count)

        # The next window fills while this one is handed out: no epoch waits.
        return tf.data.Dataset.range(
            epoch * plan.count + first, tf.int64.max).flat_map(window).prefetch(
                1).unbatch().skip(rest).map(
                    self._parse, num_parallel_calls=tf.data.AUTOTUNE,
                    deterministic=True)

    def _span(self, index, count):
        size, rest = divmod(self.num_examples, count)
        return index * size + min(index, rest), size + (index < rest)

    def _window(self, plan, begin, seed, window):
        """One element, the mixed records of a window; none of an empty one."""
        shuffle = tf.random.experimental.stateless_shuffle
        fold = tf.random.experimental.stateless_fold_in
        files = shuffle(tf.range(len(self._counts), dtype=tf.int64), seed)
        low, high = plan.bounds(window, seed)
        read = self._stretch(files, begin + low, begin + high)
        order = shuffle(tf.range(high - low), fold(seed, window + 1))
        return read.batch(plan.size).map(lambda *records: tf.nest.map_structure(
            lambda part: tf.gather(part, order),
            records if len(records) > 1 else records[0]))

    def _stretch(self, files, begin, end):
        """The records from begin to end of all files in this order."""
        sizes = tf.gather(tf.constant(self._counts), files)
        ends = tf.cumsum(sizes)
        first = tf.maximum(ends - sizes, begin)
        last = tf.minimum(ends, end)
        inside = last > first
        skips, takes = first - (ends - sizes), last - first
        parts = tf.data.Dataset.from_tensor_slices(tuple(
            tf.boolean_mask(part, inside) for part in (files, skips, takes)))
        return parts.interleave(
            lambda file, skip, take: self._read(file, skip).take(take),
            cycle_length=_CYCLE, block_length=_BLOCK,
            num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


class _Windows:
    """An epoch of `length` records in `count` windows of up to `size`."""

    def __init__(self, length: int, shuffle_buffer: int):
        self._length = length
        self.size = (length if length <= shuffle_buffer else
                     max(shuffle_buffer // 2, 1))
        # One more: each epoch begins anywhere in its first window, else the same
        # records of a large file would be mixed every time.
        self.count = 1 if self.size == length else -(-length // self.size) + 1

    def _late(self, seed):
        """By how many records the first window is shorter."""
        if self.count == 1:
            return tf.constant(0, tf.int64)
        return tf.random.stateless_uniform([], seed, 0, self.size, tf.int64)

    def place(self, skip, seed):
        """(window, records in it) before the record number `skip`."""
        late = self._late(seed)
        window = (tf.cast(skip, tf.int64) + late) // self.size
        return window, tf.cast(skip, tf.int64) - self.bounds(window, seed)[0]

    def bounds(self, window, seed):
        """The first record of a window, and the first one after it."""
        begin = window * self.size - self._late(seed)
        return (tf.clip_by_value(begin, 0, self._length),
                tf.clip_by_value(begin + self.size, 0, self._length))

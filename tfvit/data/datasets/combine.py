"""Sources made of sources: mixed by weight, or kept in memory."""
from collections.abc import Callable, Sequence
import math

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import orders
from tfvit.data.datasets import source as source_lib
from tfvit.data.images import ops
from tfvit.storage import ram

_LOG_EVERY = 50_000
_PART = 2**40  # More than a source has numbers.


class _Shares:
    """Several sources, each with a share of the examples; see source.py.

    An epoch is just long enough for every source to be seen whole; what has a
    larger share than its size is repeated, in a new order each time. Where a
    source's part of an epoch is no multiple of its size, it begins anywhere in
    the source, so that over the epochs all examples come equally often.
    """

    def __init__(self, parts: Sequence, weights: Sequence[float]):
        """Mixes sources by weights, which need not have a sum of 1.

        Classes are the same where their names are.

        Raises:
          ValueError: weights are not positive or not as many as sources, or
            labels are classes here and probabilities there.
        """
        if len(weights) != len(parts) or not parts or min(weights) <= 0:
            raise ValueError(f"combine.mixture.weights={list(weights)} must be "
                             f"a number above 0 for each of {len(parts)} "
                             "sources.")
        self._parts = parts
        shares = np.array(weights, float) / sum(weights)
        length = max(part.num_examples / share
                     for part, share in zip(parts, shares))
        self._counts = [round(length * share) for share in shares]
        self.num_examples = sum(self._counts)
        self.class_names = tuple(dict.fromkeys(
            name for part in parts for name in part.class_names))
        if any(part.class_names != self.class_names and _is_dense(part)
               for part in parts):
            raise ValueError("combine.mixture cannot mix sources of different "
                             "classes whose labels are probabilities.")

    def _renamed(self, part):
        """From a part's examples to those with the labels of all."""
        if part.class_names == self.class_names:
            return lambda example: example
        table = tf.constant(
            [self.class_names.index(name) for name in part.class_names],
            tf.int64)
        return lambda example: {**example, "label": tf.gather(
            table, example["label"])}


class OrderedMixture(_Shares, source_lib.Indexed):
    """_Shares of sources that know who comes at any place; and so does it."""

    def __init__(self, parts: Sequence, weights: Sequence[float]):
        """See _Shares."""
        _Shares.__init__(self, parts, weights)
        source_lib.Indexed.__init__(
            self, num_examples=self.num_examples, class_names=self.class_names,
            fetch=None, notes=[note for part in parts for note in part.notes])

    def order(self, places, seeds):
        """The number of a part, and in it; see source.Indexed.order."""
        slots = places
        if seeds is not None:
            slots = source_lib.permuted(places, seeds, self.num_examples)
        found, end = tf.zeros_like(slots), 0
        for i, (part, count) in enumerate(zip(self._parts, self._counts)):
            begin, end = end, end + count
            size = part.num_examples
            row, others = slots - begin, None
            if seeds is not None:
                others = orders.other_seeds(seeds, i + 1)
                if count % size:  # Anywhere: some come once more than others.
                    row += source_lib.permuted(tf.zeros_like(row), others, size)
            number = i * _PART + part.order(row % size, others)
            found = tf.where((slots >= begin) & (slots < end), number, found)
        return found

    def fetched(self, indices, key=None):
        def of(part, i):
            mine = indices.filter(lambda number: number // _PART == i).map(
                lambda number: number % _PART)
            if key == "label":
                return part.fetched(mine).map(self._renamed(part)).map(
                    lambda example: example["label"])
            examples = part.fetched(mine, key)
            return examples if key else examples.map(self._renamed(part))

        return tf.data.Dataset.choose_from_datasets(
            [of(part, i) for i, part in enumerate(self._parts)],
            indices.map(lambda number: number // _PART),
            stop_on_empty_dataset=False)


class Mixture(_Shares, source_lib.Epochs):
    """_Shares of sources of which one is read from front to back."""

    def shard_size(self, shard_index: int, num_shards: int) -> int:
        return sum(self._shard_counts(shard_index, num_shards))

    def examples(self,
                 *,
                 seed=None,
                 shard_index: int = 0,
                 num_shards: int = 1,
                 skip=0) -> tf.data.Dataset:
        """Reads one epoch of one shard; see source.Indexed.examples."""
        counts = self._shard_counts(shard_index, num_shards)
        choice = tf.repeat(tf.range(len(counts), dtype=tf.int64), counts)
        seeds = [None] * len(counts)
        if seed is not None:
            seeds = [tf.random.experimental.stateless_fold_in(
                source_lib.pair(seed), tf.constant(i, tf.int64))
                     for i in range(len(counts) + 1)]
            choice = tf.random.experimental.stateless_shuffle(
                choice, seeds.pop())
        streams = [
            self._stream(part, counts[i],
                         tf.math.count_nonzero(choice[:skip] == i), seeds[i],
                         (shard_index, num_shards))
            for i, part in enumerate(self._parts)
        ]
        return tf.data.Dataset.choose_from_datasets(
            streams, tf.data.Dataset.from_tensor_slices(choice[skip:]),
            stop_on_empty_dataset=False)

    def _shard_counts(self, shard_index, num_shards):
        return [len(range(shard_index, count, num_shards))
                for count in self._counts]

    def _stream(self, part, count, skipped, seed, shard):
        """Reads a source again and again, from its place in the epoch on."""
        size = part.shard_size(*shard)
        if not size:
            raise ValueError(f"A source of {part.num_examples} examples is too "
                             f"small for {shard[1]} workers.")
        begin = tf.constant(0, tf.int64)
        fold = tf.random.experimental.stateless_fold_in
        if seed is not None and count % size:
            begin = tf.random.stateless_uniform([], fold(seed, begin), 0, size,
                                                tf.int64)
        begin += skipped
        first = begin // size

        @tf.autograph.experimental.do_not_convert  # It warns about TFDS.
        def read(number):
            return part.examples(
                seed=None if seed is None else fold(seed, number + 1),
                shard_index=shard[0],
                num_shards=shard[1],
                skip=tf.where(number == first, begin % size, 0))

        passes = tf.data.Dataset.range(first, tf.int64.max)
        return passes.flat_map(read).map(self._renamed(part))


def mixture(*, sources: Sequence[Callable],
            weights: Sequence[float]) -> Mixture | OrderedMixture:
    """Mixes sources, such as [@a/sources.tfds, @b/sources.folder].

    Args:
      sources: functions that make them, with examples of the same kind.
      weights: share of each, in any unit.
    """
    parts = [make() for make in sources]
    if all(map(source_lib.has_order, parts)):
        return OrderedMixture(parts, weights)
    return Mixture(parts, weights)


def in_memory(*, source: Callable, decoded: bool = False, channels: int = 3,
              budget: float | None = None) -> source_lib.Indexed:
    """Reads all encoded examples once and keeps them in host memory.

    Shuffling then mixes all of them, and costs nothing. While it loads, memory
    holds them twice: ImageNet takes 140 GB, and 280 GB then. Every worker
    keeps all of them.

    Args:
      source: function that makes what is to be kept.
      decoded: keep the pixels, uint8, instead of the files: for small images of
        one size, such as CIFAR's, which then cost no decoding at all.
      channels: of the pixels, see ops.decode.
      budget: GiB that the images may take, of which there is a copy while it
        loads; None for half of the memory that is free.

    Raises:
      ValueError: they take more, or are of several sizes where they are
        decoded.
    """
    read = source()
    examples, free = read.examples(), ram.free()
    if budget is None:
        budget = free / 2**31 if free else math.inf
    if decoded:
        examples = examples.map(
            lambda example: {**example, "image": ops.decode(
                example["image"], channels=channels)},
            num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    with tf.device("CPU:0"):
        columns, size = {}, 0
        for number, example in enumerate(examples.as_numpy_iterator()):
            size += _bytes(example["image"])
            whole = size / (number + 1) * read.num_examples / 2**30
            if size > budget * 2**30 or number == 99 and whole > budget:
                raise ValueError(
                    f"combine.in_memory: {read.num_examples:,} images take "
                    f"about {whole:.3g} GiB{' decoded' * decoded}, more than "
                    f"combine.in_memory.budget = {budget:.3g} GiB. Leave "
                    "combine.in_memory out" +
                    (", or combine.in_memory.decoded." if decoded else "."))
            for key, value in example.items():
                columns.setdefault(key, []).append(value)
            if number % _LOG_EVERY == 0:
                logging.info("Read %d of %d examples into memory.", number,
                             read.num_examples)
        try:
            columns = {k: tf.constant(columns.pop(k)) for k in list(columns)}
        except ValueError as error:
            raise ValueError(
                "combine.in_memory keeps encoded images, or arrays of one "
                f"size{', not decoded ones of several' * decoded}: {error}"
            ) from error
    return source_lib.Indexed(
        num_examples=read.num_examples,
        class_names=read.class_names,
        fetch=lambda i: {k: v[i] for k, v in columns.items()})


def _bytes(image):
    return image.nbytes if isinstance(image, np.ndarray) else len(image)


def _is_dense(part):
    return part.examples().element_spec["label"].shape.rank > 0

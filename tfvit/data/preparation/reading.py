"""Reads what is prepared, and goes on where an example cannot be read."""
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source as source_lib
from tfvit.storage import errors
from tfvit.storage import paths

# So many after one that cannot be read are read one by one. Alone each takes
# about a millisecond more.
_CAREFUL = 64
# In an order at random so many in a row are no bad files: the disk is gone.
_MOST_IN_A_ROW = 100


def numbers(source, index: int, count: int) -> np.ndarray:
    """Which examples of a source with an order are in file `index` of `count`.

    A slice of one permutation of all, int64 [shard_size]: what lies in blocks,
    which only such a source knows, is read about once for all files.
    """
    sizes = [source.shard_size(i, count) for i in range(index + 1)]
    places = tf.range(sum(sizes[:-1]), sum(sizes), dtype=tf.int64)
    return source.order(places, tf.zeros([sizes[-1], 2], tf.int64)).numpy()


def records(source, index: int, count: int) -> Iterator[tuple[dict, str]]:
    """Yields (example, "") of file `index` of `count`, as numpy has it.

    Instead, of one that cannot be read, ({"name"}, the reason); but a source
    without an order stops there.

    Raises:
      OSError: a hundred in a row cannot be read.
      tf.errors.OpError: of a source without an order.
    """
    if not source_lib.has_order(source):
        for record in source.examples(seed=0, shard_index=index,
                                      num_shards=count).as_numpy_iterator():
            yield record, ""
        return
    todo, lost = numbers(source, index, count), 0
    while len(todo):
        for record, reason in _until_one_fails(source, todo):
            lost = lost + 1 if reason else 0
            if lost > _MOST_IN_A_ROW:
                raise OSError(
                    f"{lost} images in a row cannot be read, the last one is "
                    f"{paths.shown(record['name'])}: {reason} Are the disk and "
                    "the network there? The same command goes on.")
            todo = todo[1:]
            yield record, reason


def _until_one_fails(source, todo):
    """records, which ends some time after the first that cannot be read."""
    done = 0
    try:
        for record in _fetched(source, todo):
            done += 1
            yield record, ""
        return
    except tf.errors.OpError:
        todo = todo[done:done + _CAREFUL]  # Others were read together with it.
    stream = tf.data.Dataset.from_tensor_slices(todo).flat_map(
        lambda number: source.fetched(tf.data.Dataset.from_tensors(number))
    ).as_numpy_iterator()  # Which goes on after an error.
    for name in list(_fetched(source, todo, "name")):
        try:
            yield next(stream), ""
        except tf.errors.OpError as error:
            # TensorFlow begins with the file.
            yield {"name": name}, errors.reason(error).removeprefix(
                f"{paths.shown(name)}; ")


def _fetched(source, some: Sequence[int], key=None):
    return source.fetched(tf.data.Dataset.from_tensor_slices(
        np.array(some, np.int64)), key).as_numpy_iterator()

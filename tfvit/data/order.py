"""Which examples a worker reads, in which order, and what their numbers are.

All of it is a pure function of (seed, batch): see pipeline.py.
"""
from collections.abc import Callable
import dataclasses
import inspect

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source as source_lib
from tfvit.data.images import decoding


@dataclasses.dataclass(frozen=True)
class Share:
    """What one worker does: a shard of the examples, for its replicas."""
    index: int
    num_shards: int
    num_replicas: int  # Of this worker.
    batch_size: int  # Of one replica.


def share_of(batch_size: int, context) -> Share:
    """What a tf.distribute.InputContext asks of a batch; None is for all of it.

    Raises:
      ValueError: the batch cannot be shared out evenly.
    """
    if context is None:
        return Share(0, 1, 1, batch_size)
    replicas = context.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(f"batch_size = {batch_size} must be a multiple of the "
                         f"{replicas} replicas.")
    return Share(index=context.input_pipeline_id,
                 num_shards=context.num_input_pipelines,
                 num_replicas=replicas // context.num_input_pipelines,
                 batch_size=batch_size // replicas)


def train_records(source, seed: int, first: int, share: Share,
                  every: int = 1) -> tf.data.Dataset:
    """Yields (number, record) of the batches first, first + every, ...

    Without end; numbers are unique over shards.
    """
    size = source.shard_size(share.index, share.num_shards)
    if not size:
        raise ValueError(f"The source's {source.num_examples} examples are too "
                         f"few for {share.num_shards} workers.")
    begin = first * share.batch_size
    first_epoch, used = divmod(begin, size)
    seeds = np.array([seed, 0], np.int64)

    @tf.autograph.experimental.do_not_convert  # It warns about TFDS.
    def read(epoch):
        skip = used * tf.cast(epoch == first_epoch, tf.int64)

        def keep(position):
            batch = (epoch * size + position) // share.batch_size
            return (batch - first) % every == 0

        return examples(source, share, seed=decoding.fold_in(seeds, epoch),
                        skip=skip, keep=None if every == 1 else keep)

    def number(local, record):
        again = local >= begin + size
        return local * share.num_shards + share.index, {
            **record, "again": again
        }

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return numbered(epochs.flat_map(read), first, every,
                    share.batch_size).map(number)


def examples(source, share: Share, *, keep: Callable | None, skip=0,
             seed=None) -> tf.data.Dataset:
    """A share's epoch from `skip` on, of what `keep` says of the position."""
    options = dict(seed=seed, shard_index=share.index,
                   num_shards=share.num_shards, skip=skip)
    if keep is None:
        return source.examples(**options)
    if "keep" in inspect.signature(source.examples).parameters:
        return source.examples(**options, keep=keep)
    # One that has to read to know how far it is.
    return source_lib.kept(source.examples(**options), keep, skip)


def numbered(records: tf.data.Dataset, first: int, every: int,
             batch_size: int) -> tf.data.Dataset:
    """Adds the places in the share: records are of first, first + every, ..."""

    def place(i, record):
        batch = first + i // batch_size * every
        return batch * batch_size + i % batch_size, record

    return records.enumerate().map(place)

"""Which examples a worker reads, in which order, and what their numbers are.

All of it is a pure function of (seed, batch): see pipeline.py.
"""
import dataclasses

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source as source_lib


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
    if source_lib.has_order(source):
        own, own_share = _own(source, share)
        records = _ordered(own, seed, first, own_share, every)
        if own is source:
            return records
        return records.map(lambda number, record: (
            number * share.num_shards + share.index, record))
    begin = first * share.batch_size
    seeds = np.array([seed, 0], np.int64)
    records = source.endless(seeds, shard_index=share.index,
                             num_shards=share.num_shards, skip=begin)

    def number(local, record):
        again = local >= begin + size
        return local * share.num_shards + share.index, {
            **record, "again": again
        }

    numbered = records.enumerate(begin)
    if every > 1:
        numbered = numbered.filter(
            lambda local, _: (local // share.batch_size - first) % every == 0)
    return numbered.map(number)


def _own(source, share):
    """The source and the share of a worker, which reads some sources' part."""
    if share.num_shards > 1 and (part := source.part(share.index,
                                                     share.num_shards)):
        return part, dataclasses.replace(share, index=0, num_shards=1)
    return source, share


def _ordered(source, seed, first, share, every):
    """train_records of a source that knows who comes at any place.

    The epochs, one permutation each, are one endless sequence; a step takes the
    next batch_size of it, and a replica its slice of these. So the batches are
    the same for any number of workers.
    """
    size, replicas = source.num_examples, share.num_replicas
    whole = share.batch_size * replicas * share.num_shards
    begin = first // replicas * whole

    def places(batch):
        rank = share.index * replicas + batch % replicas
        return (batch // replicas * whole + rank * share.batch_size +
                tf.range(share.batch_size, dtype=tf.int64))

    def numbers(batch):
        found = places(batch)
        seeds = tf.stack([tf.fill([share.batch_size], np.int64(seed)),
                          found // size], 1)
        return source.order(found % size, seeds)

    def said(batch):
        found = places(batch)
        return found, found >= begin + size

    batches = tf.data.Dataset.range(first, tf.int64.max, every)
    examples = source.fetched(batches.map(numbers).unbatch())
    return tf.data.Dataset.zip((batches.map(said).unbatch(), examples)).map(
        lambda said, record: (said[0], {**record, "again": said[1]}))


def records_once(source, first: int, end: int, share: Share,
                 every: int = 1) -> tf.data.Dataset:
    """Yields (place in the share, record) in storage order, each once.

    Of the batches first, first + every, ... before `end`.
    """
    size, batch_size = source.shard_size(share.index, share.num_shards), (
        share.batch_size)
    if not source_lib.has_order(source):
        records = source.examples(shard_index=share.index,
                                  num_shards=share.num_shards).enumerate()
        return records.filter(lambda place, _: (
            place // batch_size - first) % every == 0) if every > 1 else records
    source, share = _own(source, share)
    places = tf.data.Dataset.range(first, end, every).map(
        lambda batch: batch * batch_size + tf.range(batch_size, dtype=tf.int64)
    ).map(lambda places: places[places < size])
    return tf.data.Dataset.zip((places.unbatch(), source.fetched(places.map(
        lambda places: source.order(places * share.num_shards + share.index,
                                    None)).unbatch())))

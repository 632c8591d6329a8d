"""From a source and a list of ops to batches for one worker.

The order of training examples, and every random number, is a pure function of
(seed, step): a pipeline built at step s yields what one built at step 0 yields
from its s-th batch on, bit for bit. So nothing of it needs to be saved.

b is the batch of one replica. `source` is one of datasets.sources, `ops` is
a list of functions as in images.ops.
"""
from collections.abc import Callable, Sequence
import dataclasses
import socket

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import captions
from tfvit.data.datasets import source as source_lib
from tfvit.data.images import decoding
from tfvit.data.images import keep as keep_lib
from tfvit.storage import errors
from tfvit.storage import paths

_CORRUPT_ADVICE = (
    "Remove or replace it, or have such files skipped and counted in all of "
    "the run's data: "
    '--gin_bindings="experiment.Experiment.skip_corrupt = True"')


def train(*,
          source,
          ops: Sequence[Callable],
          batch_size: int,
          seed: int,
          start_step: int = 0,
          input_context: tf.distribute.InputContext | None = None,
          skip_corrupt: bool = False,
          tokenizer: Callable | None = None,
          keep: str | None = None,
          service: str | None = None) -> tf.data.Dataset:
    """Yields batches without end, each epoch shuffled anew.

    An epoch is seen whole before the next begins; batches may span two.

    Args:
      source: of encoded images and labels.
      ops: from an encoded image to [H, W, 3]; may be random.
      batch_size: of all replicas together.
      seed: of order and random ops.
      start_step: number of batches (of all replicas) to leave out.
      input_context: this worker's share of the work; None for all of it.
      skip_corrupt: give images that do not decode weight 0, and log their
        names, instead of stopping.
      tokenizer: one of data.tokenizers, for a source of images with captions.
      keep: what of an image the labels depend on: "sides" for left and right,
        "all" for everything (no crop, shift or mirroring), or None. The gin file
        of the data sets it, which takes such ops out of a recipe.
      service: address of a tf.data service's dispatcher, such as
        grpc://10.0.0.9:5050, whose one worker reads and decodes instead of this
        machine. It needs the same files at the same paths.

    Returns:
      A dataset of {"images": float32, or uint8 where ops end in it,
      [b, H, W, 3], "labels": int64 [b]}, with a tokenizer {"images", "tokens":
      int32 [b, L]} of a random caption each, and
      "weights": float32 [b], 0 or 1, where skip_corrupt is set.

    Raises:
      ValueError: batch_size or the source cannot be shared out evenly, ops
        do not end in images of one size or change what `keep` says must stay,
        or nothing answers at `service`.
    """
    keep_lib.check(keep, ops)
    share = _share(batch_size, input_context)
    records = _train_records(source, seed, start_step * share.num_replicas,
                             share)
    fields = {"images": "images"}
    if skip_corrupt:
        fields["weights"] = "valid"
    examples = decoding.decode(records,
                               ops=ops,
                               fields=fields,
                               seed=seed,
                               skip_corrupt=skip_corrupt,
                               annotate=captions.annotation(source, tokenizer),
                               keep_uint8=True)
    batches = _batch(examples, share)
    return _elsewhere(batches, service) if service else batches


def evaluate(
    *,
    source,
    ops: Sequence[Callable],
    batch_size: int,
    input_context: tf.distribute.InputContext | None = None,
    skip_corrupt: bool = False,
    annotate: Callable = decoding.labels,
) -> tuple[tf.data.Dataset, int]:
    """Yields every example once over all workers, and zeros to fill up.

    Args:
      source, ops, batch_size, input_context: see train; no op may be random.
      skip_corrupt: mask images that do not decode, and log their names,
        instead of stopping.
      annotate: see decoding.decode.

    Returns:
      A dataset of {"images": float32 [b, H, W, 3], the annotation (by default
      "labels": int64 [b]), "mask": float32 [b], 1 for examples to count}, and "corrupt": float32
      [b], 1 for those skipped, where skip_corrupt is set. And the number of its
      batches, which is the same on every worker and a multiple of the worker's
      replicas.

    Raises:
      ValueError: see train.
    """
    random = [decoding.op_name(op) for op in ops if decoding.is_random(op)]
    if random:
        raise ValueError(f"Evaluation ops must not be random, but {random} "
                         "take a seed.")
    share = _share(batch_size, input_context)
    sizes = [source.shard_size(i, share.num_shards)
             for i in range(share.num_shards)]  # yapf: disable
    num_steps = -(-max(sizes) // (share.batch_size * share.num_replicas))
    num_batches = num_steps * share.num_replicas
    records = source.examples(shard_index=share.index,
                              num_shards=share.num_shards).enumerate()
    fields = {"images": "images", "mask": "valid"}
    if skip_corrupt:
        fields["corrupt"] = "corrupt"
    examples = decoding.decode(records,
                               ops=ops,
                               fields=fields,
                               seed=0,
                               skip_corrupt=skip_corrupt,
                               annotate=annotate)
    filler = tf.data.Dataset.from_tensors(decoding.zeros(examples.element_spec))
    missing = num_batches * share.batch_size - sizes[share.index]
    examples = examples.concatenate(filler.repeat(missing))
    return _batch(examples, share), num_batches


def blame(
    source,
    *,
    batch_size: int,
    seed: int | None = None,
    start_step: int = 0,
    num_steps: int = 1,
    input_context: tf.distribute.InputContext | None = None,
) -> str | None:
    """Finds the record that stopped a pipeline, by reading it again.

    Call it after a tf.errors.OpError with the arguments the pipeline got.

    Args:
      source, batch_size, start_step, input_context: see train.
      seed: see train; None for evaluation, of which all records are tried.
      num_steps: how many training steps may have failed.

    Returns:
      A sentence that names the first record that does not decode, the reason
      and what to do, or says which cannot be read; None if all decode.
    """
    share = _share(batch_size, input_context)
    if seed is None:
        records = source.examples(shard_index=share.index,
                                  num_shards=share.num_shards).enumerate()
    else:
        records = _train_records(
            source, seed, start_step * share.num_replicas, share).take(
            num_steps * share.num_replicas * share.batch_size)
    try:
        for _, record in records:
            reason = decoding.error(record["image"])
            if reason:
                name = paths.shown(record["name"].numpy())
                return f"Cannot decode {name}: {reason} {_CORRUPT_ADVICE}"
    except tf.errors.OpError as error:
        return f"Cannot read {errors.reason(error)}"
    return None


def preview(build: Callable, source, seed: int, num_images: int = 8):
    """Takes a few images as training sees them, [num_images, H, W, 3].

    Args:
      build: train, with its ops bound.
      source, seed: see train.
      num_images: how many.

    Raises:
      ValueError: one of them cannot be read or does not decode.
    """
    # The first of many shares: a whole one would fill a shuffle buffer, which
    # may cost gigabytes and minutes.
    shares = max(source.num_examples // num_images, 1)
    context = tf.distribute.InputContext(shares, 0, shares)
    dataset = build(source=source,
                    batch_size=num_images * shares,
                    seed=seed,
                    input_context=context)
    try:
        return next(iter(dataset.take(1)))["images"]
    except tf.errors.OpError as error:
        culprit = blame(source,
                        batch_size=num_images * shares,
                        seed=seed,
                        input_context=context)
        if culprit:
            raise ValueError(culprit) from error
        raise


@dataclasses.dataclass(frozen=True)
class _Share:
    """What one worker does: a shard of the examples, for its replicas."""
    index: int
    num_shards: int
    num_replicas: int  # Of this worker.
    batch_size: int  # Of one replica.


def _share(batch_size, context):
    if context is None:
        return _Share(0, 1, 1, batch_size)
    replicas = context.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(f"batch_size = {batch_size} must be a multiple of the "
                         f"{replicas} replicas.")
    return _Share(index=context.input_pipeline_id,
                  num_shards=context.num_input_pipelines,
                  num_replicas=replicas // context.num_input_pipelines,
                  batch_size=batch_size // replicas)


def _train_records(source, seed, first, share, every=1):
    """Yields (number, record) of the batches first, first + every, ...

    Without end; numbers are unique over shards.
    """
    size = source.shard_size(share.index, share.num_shards)
    if not size:
        raise ValueError(f"The source's {source.num_examples} examples are too "
                         f"few for {share.num_shards} workers.")
    if source_lib.has_order(source):
        return _ordered(source, seed, first, share, every)
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


def _ordered(source, seed, first, share, every):
    """_train_records of a source that knows who comes at any place.

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


def _elsewhere(batches, service):
    """The same batches, made by a tf.data service."""
    host, _, port = service.removeprefix("grpc://").rpartition(":")
    try:  # TensorFlow would wait for it without end.
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"pipeline.train.service={service!r}: no tf.data service answers "
            f"there ({error}). It must be grpc://HOST:PORT of a dispatcher "
            "that runs, or None.") from error
    numbered = batches.enumerate().apply(
        tf.data.experimental.service.distribute(
            processing_mode=tf.data.experimental.service.ShardingPolicy.OFF,
            service="grpc://" + service.removeprefix("grpc://")))

    def check(expected, pair):
        number, batch = pair
        with tf.control_dependencies([tf.debugging.Assert(
                tf.equal(number, expected), [
                    "The tf.data service gives batch", number, "instead of",
                    expected, "- it must have one worker, not several."])]):
            return tf.nest.map_structure(tf.identity, batch)

    return tf.data.Dataset.zip(
        (tf.data.Dataset.range(tf.int64.max),
         numbered)).map(check).prefetch(tf.data.AUTOTUNE)


def _batch(examples, share):
    batches = examples.batch(share.batch_size, drop_remainder=True)
    options = tf.data.Options()
    options.deterministic = True
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)

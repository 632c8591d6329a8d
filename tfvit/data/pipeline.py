"""From a source and a list of ops to batches for one worker.

The order of training examples, and every random number, is a pure function of
(seed, step): a pipeline built at step s yields what one built at step 0 yields
from its s-th batch on, bit for bit. So nothing of it needs to be saved.

b is the batch of one replica. `source` is one of datasets.sources, `ops` is
a list of functions as in images.ops.
"""
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfvit.data import order
from tfvit.data import service as service_lib
from tfvit.data.datasets import captions
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
          service: str | Sequence[str] | None = None,
          threads: int | None = None,
          ram_budget: float | None = None) -> tf.data.Dataset:
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
      service: addresses of `tfvit decode_worker`s, such as ["10.0.0.9:5050",
        "10.0.0.10:5050"], which read and decode instead of this machine: each
        its share of the batches, the same ones as here. They need the same
        files at the same paths.
      threads: that read and decode, of a pool of their own; None for those that
        TensorFlow has anyway, one a core.
      ram_budget: GiB that buffers of decoded images may take; None for half of
        the memory that is free, as tf.data has it.

    Returns:
      A dataset of {"images": float32, or uint8 where ops end in it,
      [b, H, W, 3], "labels": int64 [b]}, with a tokenizer {"images", "tokens":
      int32 [b, L]} of a random caption each, and
      "weights": float32 [b], 0 or 1, where skip_corrupt is set.

    Raises:
      ValueError: batch_size or the source cannot be shared out evenly, ops
        do not end in images of one size or change what `keep` says must stay,
        nothing answers at `service`, or a number is not above 0.
    """
    for name, value in {"threads": threads, "ram_budget": ram_budget}.items():
        if value is not None and not value > 0:
            raise ValueError(f"pipeline.train.{name} = {value!r} must be above "
                             "0, or None.")
    keep_lib.check(keep, ops)
    share = order.share_of(batch_size, input_context)
    fields = {"images": "images"}
    if skip_corrupt:
        fields["weights"] = "valid"

    def batches(first, every=1):
        records = order.train_records(source, seed, first, share, every)
        examples = decoding.decode(records,
                                   ops=ops,
                                   fields=fields,
                                   seed=seed,
                                   skip_corrupt=skip_corrupt,
                                   annotate=captions.annotation(
                                       source, tokenizer),
                                   keep_uint8=True)
        return _batch(examples, share, threads, ram_budget)

    first = start_step * share.num_replicas
    if not service:
        return batches(first)
    places = service_lib.addresses(service, "pipeline.train.service")
    return service_lib.batches(batches, places, first)


def evaluate(
    *,
    source,
    ops: Sequence[Callable],
    batch_size: int,
    input_context: tf.distribute.InputContext | None = None,
    skip_corrupt: bool = False,
    annotate: Callable = decoding.labels,
    service: str | Sequence[str] | None = None,
) -> tuple[tf.data.Dataset, int]:
    """Yields every example once over all workers, and zeros to fill up.

    Args:
      source, ops, batch_size, input_context: see train; no op may be random.
      skip_corrupt: mask images that do not decode, and log their names,
        instead of stopping.
      annotate: see decoding.decode.
      service: see train.

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
    share = order.share_of(batch_size, input_context)
    sizes = [source.shard_size(i, share.num_shards)
             for i in range(share.num_shards)]  # yapf: disable
    num_steps = -(-max(sizes) // (share.batch_size * share.num_replicas))
    num_batches = num_steps * share.num_replicas
    fields = {"images": "images", "mask": "valid"}
    if skip_corrupt:
        fields["corrupt"] = "corrupt"

    def batches(first, every=1):
        size = share.batch_size
        mine = range(first, num_batches, every)
        full = sum(min(max(sizes[share.index] - n * size, 0), size)
                   for n in mine)
        records = order.records_once(source, first, num_batches, share, every)
        examples = decoding.decode(records,
                                   ops=ops,
                                   fields=fields,
                                   seed=0,
                                   skip_corrupt=skip_corrupt,
                                   annotate=annotate)
        filler = tf.data.Dataset.from_tensors(
            decoding.zeros(examples.element_spec))
        missing = len(mine) * size - full
        return _batch(examples.concatenate(filler.repeat(missing)), share)

    if not service:
        return batches(0), num_batches
    places = service_lib.addresses(service, "the evaluator's service")
    return service_lib.batches(batches, places, end=num_batches), num_batches


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
    share = order.share_of(batch_size, input_context)
    if seed is None:
        records = source.examples(shard_index=share.index,
                                  num_shards=share.num_shards).enumerate()
    else:
        records = order.train_records(
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


def _batch(examples, share, threads=None, ram_budget=None):
    batches = examples.batch(share.batch_size, drop_remainder=True)
    options = tf.data.Options()
    options.deterministic = True
    if threads:
        options.threading.private_threadpool_size = int(threads)
        options.threading.max_intra_op_parallelism = 1
    if ram_budget:
        options.autotune.ram_budget = int(ram_budget * 2**30)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)

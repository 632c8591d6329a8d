"""Exact evaluation over masked batches: each example counts once."""

import contextlib
import time
from typing import Any, NamedTuple

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.images import decoding
from tfvit.distribute import sharding
from tfvit.distribute import strategies


class Batches(NamedTuple):
    """What an evaluation goes through once.

    Attributes:
      dataset: distributed dataset of per-replica batches.
      count: global batches in it.
      source: whose examples they are, to name one that fails; None where they
        are of no files.
      batch_size: global batch.
    """
    dataset: Any
    count: int
    source: Any
    batch_size: int


def sums(*, name, batches, batch_sums, poll):
    """Adds up `batch_sums` over a whole dataset.

    Args:
      name: of the evaluation, for its progress line.
      batches: Batches.
      batch_sums: tf.function, batch -> {metric: sum over its examples []}; run
        on every replica.
      poll: called after each batch; may raise to end the evaluation.

    Returns:
      {metric: float}, added up in float64 in a fixed order.

    Raises:
      ValueError: names the example that fails to decode.
    """
    totals = {}
    with blaming(batches):
        for values in _each(name, batches, batch_sums, poll):
            for key, value in values.items():
                totals[key] = totals.get(key, 0.0) + float(value)
    return totals


def rows(*, name, batches, batch_rows, poll):
    """Collects what `batch_rows` gives for each example of a dataset.

    Args:
      name, batches, poll: see sums.
      batch_rows: made by `gathering`; one of its keys is "mask".

    Returns:
      {key: numpy array [N, ...]}, without padding and without "mask"; but
      "corrupt", if it is one of the keys, is the number of corrupt examples.

    Raises:
      ValueError: see sums.
    """
    parts, corrupt = {}, []
    with blaming(batches):
        for values in _each(name, batches, batch_rows, poll):
            valid = values.pop("mask").numpy() > 0
            if "corrupt" in values:
                corrupt.append(values.pop("corrupt").numpy().sum())
            for key, value in values.items():
                parts.setdefault(key, []).append(value.numpy()[valid])
    found = {key: np.concatenate(arrays) for key, arrays in parts.items()}
    return {**found, "corrupt": sum(corrupt)} if corrupt else found


def masks(batch):
    """What batch_rows passes on of a batch: "mask" and, if any, "corrupt"."""
    return {key: batch[key] for key in ("mask", "corrupt") if key in batch}


def corrupt_name(skip_corrupt):
    """The name of the metric that counts them, in a tuple, if they count."""
    return ("corrupt",) if skip_corrupt else ()


def take_corrupt(found):
    """Moves the number of corrupt examples, if there, to a dict of its own."""
    return {"corrupt": int(found.pop("corrupt"))} if "corrupt" in found else {}


@contextlib.contextmanager
def blaming(batches):
    """Turns a failure inside into a ValueError that names what fails to decode.
    """
    try:
        yield
    except tf.errors.OpError as error:
        culprit = batches.source and pipeline.blame(
            batches.source, batch_size=batches.batch_size)
        if culprit:
            raise ValueError(culprit) from error
        raise


def _each(name, batches, function, poll):
    """Yields function(batch) for each batch, with a progress line.

    Who reads a result waits for it: by then the device has the next batch.
    """
    iterator = iter(batches.dataset)
    spoke = time.monotonic()
    flying = None
    for i in range(batches.count):
        done, flying = flying, function(next(iterator))
        if done is not None:
            yield done
        poll()
        if time.monotonic() - spoke > 10:
            spoke = time.monotonic()
            logging.info("%s: %d/%d batches, %d%%", name, i + 1, batches.count,
                         100 * (i + 1) // batches.count)
    if flying is not None:
        yield flying


def share_out(strategy, *, source, ops, batch_size, skip_corrupt=False,
            annotate=decoding.labels, service=None):
    """Shares a source out to the replicas, every example once.

    Args:
      strategy: the tf.distribute.Strategy.
      source, ops, batch_size, skip_corrupt, annotate, service: see
        pipeline.evaluate.

    Returns:
      Batches of pipeline.evaluate.
    """
    num_batches = []

    def pipe(context):
        dataset, count = pipeline.evaluate(
            source=source, ops=ops, batch_size=batch_size,
            input_context=context, skip_corrupt=skip_corrupt,
            annotate=annotate, service=service)
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        num_batches.append(count // replicas)
        return dataset

    dataset = strategy.distribute_datasets_from_function(pipe)
    return Batches(dataset, num_batches[0], source, batch_size)


def summing(strategy, replica_sums, jit):
    """Makes replica_sums(batch, ...) -> tensors sum over all replicas.

    They tell each other all of it at once.
    """
    compiled = tf.function(replica_sums,
                           jit_compile=strategies.use_jit(jit, strategy))

    @tf.function
    def batch_sums(batch, *args):
        # Called by a plain function, so that each replica traces its own
        # variables: XLA reads none of another device.
        values = strategy.run(lambda *a: sharding.all_reduce(
            tf.distribute.get_replica_context(), compiled(*a)),
            args=(batch, *args))
        return tf.nest.map_structure(
            lambda v: strategy.experimental_local_results(v)[0], values)

    return batch_sums


def gathering(strategy, replica_rows, jit):
    """Makes replica_rows(batch) -> tensors [b, ...] join those of replicas."""
    compiled = tf.function(replica_rows,
                           jit_compile=strategies.use_jit(jit, strategy))

    @tf.function
    def batch_rows(batch):
        values = strategy.run(lambda batch: compiled(batch), args=(batch,))
        return tf.nest.map_structure(lambda v: strategy.gather(v, axis=0),
                                     values)

    return batch_rows

"""A run's whole train step as XLA's HLO, for as many replicas as one likes.

No accelerator, dataset or pretrained weight is touched.
"""

import dataclasses
import time

from absl import logging
import numpy as np
import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import compiler_ir

from tfvit.data.datasets import source as source_lib
from tfvit.data.images import decoding
from tfvit.distribute import stand_in
from tfvit.engine import build


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A step of one replica, optimizer and all-reduces included.

    Attributes:
      hlo: an HloModuleProto, serialized. Its arguments are the batch's tensors,
        in the order of their sorted names, and what the step captured.
      batch: {name: tf.TensorSpec} of a replica's batch.
      metrics: names of the first results.
      replicas: their number.
      run: the build.Run.
      step: the tf.types.experimental.ConcreteFunction that was lowered.
      seconds: {"build", "trace", "lower"}.
    """
    hlo: bytes
    batch: dict
    metrics: list
    replicas: int
    run: build.Run
    step: tf.types.experimental.ConcreteFunction
    seconds: dict


def lower(exp, replicas):
    """Lowers the step of an experiment.

    This is done by the compiler of the CPU: random numbers come out as plain
    operations instead of the TPU's own, and an operation that XLA has for CPUs
    alone would not be noticed.

    Args:
      exp: an experiment.Experiment; its strategy is not asked.
      replicas: how many share a batch.

    Returns:
      A Lowered.

    Raises:
      ValueError: the experiment cannot work, or XLA has no form of its step.
    """
    times = [time.monotonic()]
    run = build.build(exp, strategy=stand_in.Slice(replicas))
    spec = batch_spec(run)
    step = run.train_step
    names = []
    times.append(time.monotonic())
    logging.info("Tracing the step of %d replica%s.", replicas,
                 "s" * (replicas > 1))

    @tf.function(jit_compile=True)
    def whole(batch):
        metrics = run.strategy.run(step.replica_step, args=(batch,))
        names[:] = sorted(metrics)
        return [metrics[name] for name in names]

    concrete = whole.get_concrete_function(spec)
    times.append(time.monotonic())
    logging.info("Lowering it.")
    try:
        hlo = compiler_ir.from_concrete_function(concrete)(
            stage="hlo_serialized")
    except (tf.errors.OpError, ValueError) as error:
        said = getattr(error, "message", str(error)).splitlines()[0]
        raise ValueError("XLA, through which a TPU runs everything, has no "
                         f"form of this step: {said}") from error
    times.append(time.monotonic())
    seconds = dict(zip(("build", "trace", "lower"),
                       np.diff(times).round(1).tolist()))
    return Lowered(hlo=hlo, batch=spec, metrics=names, replicas=replicas,
                   run=run, step=concrete, seconds=seconds)


def batch_spec(run):
    """What a replica gets: {name: tf.TensorSpec}, without reading any data.

    It is what the run's own pipeline would yield of examples that are images
    and classes, or images and captions, of no dataset.
    """
    exp, model = run.exp, run.model
    texts = getattr(model, "txt", None)
    classes = () if texts else map(str, range(model.output_shape[-1]))
    label = tf.constant([""]) if texts else tf.constant(0, tf.int64)
    nothing = source_lib.Indexed(
        num_examples=exp.batch_size, class_names=classes,
        fetch=lambda i: {"image": "", "label": label, "name": ""})
    more = {}
    if texts:  # Not its own tokenizer, whose vocabulary may be far away.
        length = texts.input_shape[1]
        more["tokenizer"] = lambda text: tf.zeros([*text.shape, length],
                                                  tf.int32)
    batches = run.train_data(
        source=nothing, batch_size=exp.batch_size, seed=exp.seed,
        input_context=tf.distribute.InputContext(
            num_replicas_in_sync=run.strategy.num_replicas_in_sync), **more)
    decoding.check_images(model, batches.element_spec, "pipeline.train.ops")
    return batches.element_spec

"""Measures a run's speed: python -m tfvit.benchmark --gin_file=gin/digits.gin.

Training and inference, the input pipeline and the device each alone, and the
share of the device's matrix product peak, measured in between. Trains on copies
in memory; writes nothing but what --out and --profile ask for.

With --input, the input pipeline stage by stage instead: what each costs a core,
and how many cores, or machines of decode workers, the device needs:

    tfvit benchmark --gin_file=gin/b16_imagenet2012.gin --input --device_rate=2500 \
        --photos=500x375
"""

import dataclasses
import functools
import json
import re
import time

from absl import flags
from absl import logging

from tfvit import launch

_BATCH = flags.DEFINE_integer(
    "batch", None, "Images a step over all replicas, if not the run's.")
_STEPS = flags.DEFINE_integer("steps", 10, "How often each is timed.",
                              lower_bound=1)
_MATMUL = flags.DEFINE_integer(
    "matmul", None, "Side of the square matrices whose product is the peak "
    "(default 2048 on a CPU, else 8192).")
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of a table.")
_OUT = flags.DEFINE_string("out", None, "Also write the JSON to this file.")
_PROFILE = flags.DEFINE_string(
    "profile", None, "Directory for a TensorBoard trace of a few train steps.")
_INPUT = flags.DEFINE_bool("input", False, "Measure the input, by stages.")
_RATE = flags.DEFINE_float(
    "device_rate", None, "With --input: images/s of all devices of this machine "
    "(default: measured).", lower_bound=0.0)
_PHOTOS = flags.DEFINE_string(
    "photos", None, "With --input: WIDTHxHEIGHT of photos to draw and take, "
    "instead of the run's data.")
_COUNT = flags.DEFINE_integer("count", 400, "With --input: images a stage.",
                              lower_bound=1)

launch.start(__name__, "config", required=("gin_file",))

from absl import app
import numpy as np
import tensorflow as tf

from tfvit import config
from tfvit.data import input_speed
from tfvit.distribute import strategies
from tfvit.engine import build
from tfvit.engine import determinism
from tfvit.engine import dry_run
from tfvit.engine import start_up


def measure(exp, *, steps, matmul=None, profile=None):
    """Measures an experiment.

    Args:
      exp: an experiment.Experiment of a model with images as its one input.
      steps: how often each is timed.
      matmul: side of the matrices of the peak; None for a default.
      profile: directory for a trace, or None.

    Returns:
      {what: number or text}. "core" is a replica.

    Raises:
      ValueError: something in the experiment cannot work.
    """
    begun = start_up.StartUp(counts_imports=True)
    run = build.build(exp)
    begun.lap("model")
    strategy, model = run.strategy, run.model
    if not model.inputs:  # Two towers.
        raise ValueError(f"benchmark measures models of images alone, and "
                         f"{model.name} takes texts, too.")
    jit = strategies.use_jit(exp.jit, strategy)
    data = run.batches()
    batch = {k: strategy.experimental_local_results(v)[0]
             for k, v in next(data).items()}
    fixed = iter(strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensors(batch).repeat()))
    begun.lap("data")
    train = run.train_step
    side, product = _product(strategy, model.compute_dtype, matmul)

    logging.info("Compiling the train step.")
    start = time.monotonic()
    run.trace(fixed)
    begun.lap("tracing")
    _settle(train(fixed, 1))
    begun.lap("first step")
    first = time.monotonic() - start
    times = {}
    for calls in (
            {"training": lambda: train(data, 1)},
            {"input": lambda: next(data)},
            # In turns, for the clock of a machine changes within minutes.
            {"device step": lambda: train(fixed, 1), "product": product,
             **_parts(model, strategy, batch, jit)},
    ):
        logging.info("Timing %s.", ", ".join(calls))
        times.update(_time(calls, steps))
    if profile:
        with tf.profiler.experimental.Profile(profile):
            _time({"training": lambda: train(data, 1)}, min(steps, 5))
    return {
        "device": strategies.device_name(strategy),
        "cores": strategy.num_replicas_in_sync,
        "model": model.name, "image size": list(model.input_shape[1:3]),
        "batch": exp.batch_size, "precision": exp.precision,
        "compiler": "XLA" if jit else "graph",
        "deterministic": determinism.is_required(),
        "compile cache": begun.cache() if jit else "off",
        **{f"start-up: {what} s": seconds
           for what, seconds in begun.seconds.items()},
        **_summary(exp, model, strategy, times, first, side),
    }


def measure_input(exp, *, rate, photos, count, rounds):
    """Measures the input of an experiment by stages.

    Args:
      exp: see measure.
      rate: images/s of the devices, or None to measure it.
      photos: (width, height) to draw photos of; None for the run's data.
      count, rounds: see input_speed.report.

    Returns:
      {what: number or text}; "core" is one of the CPU's.
    """
    ops = config.settings(exp.train_data).get("ops")
    if not ops:
        raise ValueError("Experiment.train_data has no ops: --input measures "
                         "pipelines of pipeline.train.")
    if photos:
        drawn = input_speed.photos(*photos, count)
        exp = dataclasses.replace(exp, train_source=lambda: drawn)
    if rate is None:
        rate = measure(exp, steps=rounds)["device alone img/s"]
    return input_speed.report(exp.train_source(), ops, rate=rate, count=count,
                              batch_size=exp.batch_size, rounds=rounds)


def _summary(exp, model, strategy, times, first, side):
    """What follows from seconds {name: [steps]}; `side` is the product's."""
    middle = {name: float(np.median(values)) for name, values in times.items()}
    step, work = middle["device step"], dry_run.forward_flops(model)
    cores = strategy.num_replicas_in_sync
    peak = 2 * side**3 / middle["product"]
    rate = lambda name: exp.batch_size / middle[name]
    # Training is a forward pass and twice as much for the gradients; what remat
    # computes again is no use of the device.
    used = lambda name, passes: passes * work * rate(name) / (peak * cores)
    return {
        "training img/s": rate("training"),
        "training img/s per core": rate("training") / cores,
        "training ms per step": 1e3 * middle["training"],
        "training ms per step, p90":
            1e3 * float(np.percentile(times["training"], 90)),
        "compile s": first - step,
        "input alone img/s": rate("input"),
        "device alone img/s": rate("device step"),
        "inference img/s": rate("inference"),
        "inference img/s per core": rate("inference") / cores,
        "inference ms per batch": 1e3 * middle["inference"],
        "inference ms per batch, p90":
            1e3 * float(np.percentile(times["inference"], 90)),
        "step: forward ms": 1e3 * middle["forward"],
        "step: backward ms": 1e3 * (middle["gradients"] - middle["forward"]),
        "step: loss, update ms": 1e3 * (step - middle["gradients"]),
        "step: waiting for input ms": 1e3 * (middle["training"] - step),
        "matmul peak per core, GFLOP/s": peak / 1e9,
        "forward GFLOP per image": work / 1e9,
        "utilisation, training": used("device step", 3),
        "utilisation, inference": used("inference", 1),
    }


def _parts(model, strategy, batch, jit):
    """{name: a call on every replica} of what a step is made of."""
    variables = model.trainable_variables

    def inference(images):
        return model(images, training=False)

    def forward(images):
        return tf.reduce_mean(model(images, training=True))

    def gradients(images):
        with tf.GradientTape() as tape:
            value = forward(images)
        return tf.linalg.global_norm(tape.gradient(
            value, variables,
            unconnected_gradients=tf.UnconnectedGradients.ZERO))

    def everywhere(function):
        compiled = tf.function(function, jit_compile=jit)

        @tf.function
        def call(images):
            return strategy.run(lambda images: compiled(images), (images,))

        return functools.partial(call, batch["images"])

    return {f.__name__: everywhere(f) for f in (inference, forward, gradients)}


def _product(strategy, dtype, side):
    """(side, a call that multiplies square matrices on the first replica)."""
    device = strategy.extended.worker_devices[0]
    side = side or (2048 if "CPU" in device else 8192)
    product = tf.function(tf.matmul)
    with tf.device(device):
        x = tf.cast(tf.random.stateless_normal([side, side], [0, 0]), dtype)

    def call():
        with tf.device(device):
            return product(x, x)

    return side, call


def _settle(values):
    """Waits until tensors are there, for little of them to copy."""
    for value in tf.nest.flatten(values, expand_composites=True):
        tf.reshape(value, [-1])[:1].numpy()


def _time(calls, times):
    """Seconds {name: [times]} of calls {name: call}, made in turns."""
    for call in calls.values():
        _settle(call())
    seconds = {name: [] for name in calls}
    for _ in range(times):
        for name, call in calls.items():
            start = time.monotonic()
            _settle(call())
            seconds[name].append(time.monotonic() - start)
    return seconds


def table(values):
    """The measurements as lines for people."""
    width = max(map(len, values))
    return "\n".join(
        f"{name:{width}}  " + (f"{value:,.4g}" if isinstance(value, float) else
                               str(value)) for name, value in values.items())


def _size():
    """(width, height) of --photos, or None."""
    if _PHOTOS.value is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", _PHOTOS.value):
        raise app.UsageError(f"--photos={_PHOTOS.value} must be WIDTHxHEIGHT, "
                             "such as 500x375.")
    return tuple(map(int, _PHOTOS.value.split("x")))


def _require_input(**given):
    for name, value in given.items():
        if value is not None:
            raise app.UsageError(f"--{name} goes with --input.")


def main(exp, workdir):
    del workdir
    if _BATCH.value:
        exp = dataclasses.replace(exp, batch_size=_BATCH.value)
    if _INPUT.value:
        values = measure_input(exp, rate=_RATE.value, photos=_size(),
                               count=_COUNT.value, rounds=_STEPS.value)
    else:
        _require_input(device_rate=_RATE.value, photos=_PHOTOS.value)
        values = measure(exp, steps=_STEPS.value, matmul=_MATMUL.value,
                         profile=_PROFILE.value)
    text = json.dumps(values, indent=1)
    if _OUT.value:
        with tf.io.gfile.GFile(_OUT.value, "w") as f:
            f.write(text + "\n")
    print(text if _JSON.value else table(values))


if __name__ == "__main__":
    launch.run(main, writes=lambda: False)

"""Times a train step with the plain gradient, SAM and GSAM, in one process:

    python -m tools.bench_sam --gin_file=gin/digits.gin --rounds=20

The three take turns, so that a busy machine slows them alike; times are medians
over the rounds. Model, optimizer, precision and strategy are the run's, the
images are random.
"""

import dataclasses
import functools
import time

from absl import flags

from tfvit import launch

_BATCH = flags.DEFINE_integer("batch", None, "Images a step, if not the run's.")
_ROUNDS = flags.DEFINE_integer("rounds", 10, "How often each is timed.")
_STEPS = flags.DEFINE_integer("steps", 5, "Steps in a round.")

launch.start(__name__, "config", required=("gin_file",))

import numpy as np
import tensorflow as tf

from tfvit.engine import build as build_lib
from tfvit.optimize import gradients

_METHODS = {
    "plain": gradients.plain,
    "sam": functools.partial(gradients.sam, rho=0.05),
    "gsam": functools.partial(gradients.gsam, rho_min=0.05, rho_max=0.2,
                              lr_min=0.0, lr_max=1.0, alpha=0.4),
}


def build(exp, batch_size):
    """{method: () -> None, which trains --steps steps}."""

    def runner(method):
        run = build_lib.build(dataclasses.replace(exp, gradients=method))
        shape = [batch_size // run.strategy.num_replicas_in_sync,
                 *run.model.input_shape[1:]]
        labels = tf.range(shape[0], dtype=tf.int64)
        batch = {
            "images": tf.random.stateless_uniform(shape, [0, 0], -1.0, 1.0),
            "labels": labels % run.model.output_shape[-1]
        }
        iterator = iter(run.strategy.distribute_datasets_from_function(
            lambda context: tf.data.Dataset.from_tensors(batch).repeat()))
        train = run.train_step
        # Reading the loss waits for the last step.
        return lambda: train(iterator, _STEPS.value)["loss"].numpy()

    return {name: runner(method) for name, method in _METHODS.items()}


def main():
    exp = launch.experiment_from_flags()
    runners = build(exp, _BATCH.value or exp.batch_size)
    times = {name: [] for name in runners}
    for run in runners.values():
        run()  # Traces and compiles.
    for _ in range(_ROUNDS.value):
        for name, run in runners.items():
            start = time.monotonic()
            run()
            times[name].append((time.monotonic() - start) / _STEPS.value * 1e3)
    plain = np.median(times["plain"])
    for name, values in times.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        print(f"{name:8}{middle:9.1f} ms a step (quartiles {low:.1f}, "
              f"{high:.1f})  {middle / plain:.2f} x plain")


if __name__ == "__main__":
    launch.run_alone(main)

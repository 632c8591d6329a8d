"""Trains a grid of settings, one run after the other, and finds the best:

    python -m tools.sweep --gin_file=gin/b16_cifar10.gin --dir=runs/b16_sweep \
      --grid="optim.sgd.lr = 0.003 | 0.01 | 0.03" \
      --grid="experiment.Experiment.total_steps = 2_500 | 10_000"

Each --grid is a gin binding whose values are separated by |, or a file of such
lines: gin/sweeps/ has those of the papers. The whole grid is checked before the
first run starts. --dry_run prints the commands instead, to be run elsewhere.

The same command goes on where it was stopped (Ctrl-C and SIGTERM save the run)
and does not train finished runs again. A run that diverges is left out. The
table marks the run whose --metric is best after the last step; choose by a
validation split, and report what `test` says of the run so chosen.
"""

import dataclasses
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys

from absl import flags
from absl import logging

from tfvit import launch

_GRID = flags.DEFINE_multi_string("grid", [], "Settings to try; see above.")
_DIR = flags.DEFINE_string("dir", None, "Folder of the runs.")
_METRIC = flags.DEFINE_string("metric", "val/accuracy", "What decides.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands only.")

launch.start(__name__, "overrides", required=("gin_file", "grid", "dir"),
             clock=True)

import tensorflow as tf

from tfvit import experiment
from tfvit.data.images import decoding
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.engine import lock
from tfvit.engine import run_config
from tfvit.evaluators import metrics

from . import runs as runs_lib
from . import tables


def points(grid):
    """[[binding, ...], ...]: every combination of the lines of a grid.

    Raises:
      ValueError: a line is no binding.
    """
    axes = []
    for entry in grid:
        if tf.io.gfile.exists(entry):
            with tf.io.gfile.GFile(entry) as f:
                lines = [re.sub(r"#.*", "", line).strip() for line in f]
        else:
            lines = [entry]
        for line in filter(None, lines):
            name, equals, values = map(str.strip, line.partition("="))
            choices = [value.strip() for value in values.split("|")]
            if not (name and equals and all(choices)):
                raise ValueError(f"--grid={line!r} is neither a file nor "
                                 "'name = value | value'.")
            axes.append([f"{name} = {value}" for value in choices])
    return [list(point) for point in itertools.product(*axes)]


def directory(folder, point):
    """FOLDER/lr=0.01,total_steps=500 for a list of bindings."""
    parts = []
    for binding in point:
        name, value = binding.split(" = ", 1)
        parts.append(f"{name.split('.')[-1]}={value}")
    return os.path.join(folder, re.sub(r"[^\w.=,+-]+", "_", ",".join(parts)))


# Modules of settings, and Experiment's own, that change no metric's name.
_NO_NAMES = ("optim.", "schedules.", "gradients.", "losses.", "objectives.",
             "mixup.", "randaug.", "experiment.Experiment.")


def plan(grid, folder, metric, *, elsewhere=False):
    """{directory: (bindings, config, total_steps)} of the runs of a grid.

    Args:
      grid: what `points` returned.
      folder: of the runs.
      metric: "evaluator/metric" that decides.
      elsewhere: whether they may train on another machine, which has the data
        where this one need not.

    Raises:
      ValueError: gin or Experiment refuses a point, two share a directory, or
        no evaluator gives the metric.
    """
    runs = {}
    checked = set()
    files, bindings = launch.overrides()
    for point in grid:
        exp, text = experiment.from_config(files, [*point, *bindings])
        evaluator = metric.split("/")[0]
        if evaluator not in exp.evaluators:
            raise ValueError(
                f"--metric={metric} must start with the name of an evaluator; "
                f"there are: {', '.join(exp.evaluators) or 'none'}.")
        if "Jsonl" not in map(decoding.op_name, exp.writers):
            raise ValueError("Experiment.writers must have @writers.Jsonl, "
                             "whose file the values are read from.")
        kind = tuple(binding for binding in point
                     if not binding.startswith(_NO_NAMES))
        if kind not in checked:
            checked.add(kind)
            _check_metric(exp, evaluator, metric, elsewhere)
        run = directory(folder, point)
        if run in runs:
            raise ValueError(f"--grid: two settings would share {run}.")
        runs[run] = point, text, exp.total_steps
    return runs


def _check_metric(exp, name, metric, elsewhere):
    """Raises ValueError unless the evaluator of that name gives the metric."""
    exp = dataclasses.replace(
        exp, evaluators={name: exp.evaluators[name]}, evaluator_every={},
        best_metric=None, jit=False)
    try:
        evaluators = build.build(exp, strategy=tf.distribute.get_strategy(),
                                 training=False).evaluators
    except (ValueError, OSError) as error:
        if not elsewhere:
            raise
        logging.warning("--metric=%s is not checked, for evaluator %r cannot "
                        "be made on this machine: %s", metric, name, error)
        return
    metrics.check_name("--metric", metric, evaluators)


def command(files, bindings, workdir):
    """The words of the command that trains one run."""
    return [sys.executable, "-m", "tfvit.train", f"--workdir={workdir}",
            *(f"--gin_file={file}" for file in files),
            *(f"--gin_bindings={binding}" for binding in bindings)]


def train(words):
    """Runs a command; returns (exit code, whether a signal asked to stop).

    Ctrl-C and SIGTERM go on to it as SIGTERM, so that it saves.
    """
    asked = []
    process = None

    def stop(number, frame):
        del frame
        asked.append(number)
        if process:
            process.send_signal(signal.SIGTERM)

    previous = {number: signal.signal(number, stop)
                for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # A session of its own: the terminal's Ctrl-C would kill it unsaved.
        process = subprocess.Popen(words, start_new_session=True)
        if asked:
            process.send_signal(signal.SIGTERM)
        return process.wait(), bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def value(run, metric, total_steps=None):
    """Metric after a run's last step; None where it has not got so far.

    Without `total_steps` the run has ended, maybe early.
    """
    step, last = runs_lib.curves(run).get(metric, [(0, None)])[-1]
    return last if total_steps in (None, step) else None


def best(values, metric):
    """The run of the best value, or None. Values may be None, or NaN."""
    finished = {run: value for run, value in values.items()
                if value is not None}
    best_value = metrics.best(metric, finished.values())
    return next((run for run, value in finished.items()
                 if value == best_value), None)


def report(values, metric):
    """Yields the lines of a table, the best finished run marked with *."""
    runs = [run for run in values
            if tf.io.gfile.exists(os.path.join(run, "config.gin"))]
    winner = best(values, metric)
    rows = [{"": "*" if run == winner else "", **row}
            for run, row in zip(runs, runs_lib.rows(runs, best=False))]
    yield from tables.aligned(*runs_lib.table(rows))
    if winner:
        yield f"Best {metric}: {values[winner]:.5g}, {winner}"


def sweep(runs, files, bindings, metric):
    """Trains what is not finished; returns {run: value, or None: diverged}.

    Raises:
      ValueError: a run failed otherwise, as the next would, or it does not
        report the metric.
    """
    values = {}
    for number, (run, (point, text, total_steps)) in enumerate(
            runs.items(), 1):
        # Refuses results of other settings.
        run_config.save(text, run, started=checkpoint.steps(run))
        values[run] = value(run, metric, total_steps)
        if values[run] is not None:
            continue
        logging.info("Run %d of %d: %s", number, len(runs), run)
        code, stopped = train(command(files, [*bindings, *point], run))
        if stopped or code == launch.PREEMPTED:
            sys.exit(launch.PREEMPTED)  # The same command goes on.
        if code == launch.DIVERGED:
            continue
        if code:
            raise ValueError(f"{run} ended with exit code {code}; its last "
                             "lines say why.")
        values[run] = value(run, metric)
        if values[run] is None:
            known = [name for name in runs_lib.curves(run)
                     if not name.startswith("train/")]
            raise ValueError(f"--metric={metric} is none of this run's "
                             f"metrics: {', '.join(known)}.")
    return values


def main():
    files, bindings = launch.overrides()
    metric = _METRIC.value
    runs = plan(points(_GRID.value), _DIR.value, metric,
                elsewhere=_DRY_RUN.value)
    if _DRY_RUN.value:
        for run, (point, _, _) in runs.items():
            print(shlex.join(command(files, [*bindings, *point], run)))
        return
    if metric.startswith("test/"):
        logging.warning("--metric=%s: the best of several runs by a test split "
                        "looks better than it is.", metric)
    lock.take(_DIR.value)
    values = sweep(runs, files, bindings, metric)
    diverged = [run for run, found in values.items() if found is None]
    print("\n".join(report(values, metric)))
    if diverged:
        print(f"{len(diverged)} of {len(runs)} diverged: "
              f"{', '.join(diverged)}")


if __name__ == "__main__":
    tf.config.set_visible_devices([], "GPU")  # They are for the runs.
    launch.run_alone(main)

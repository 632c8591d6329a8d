"""Averages the weights of several checkpoints into one `.npz`:

    python -m tools.average runs/b16_cifar10 --last=5 --out=average.npz
    python -m tools.average runs/seed0 runs/seed1 --best --out=soup.npz

The first is of the newest checkpoints of a run, of which it keeps
Experiment.keep_checkpoints; the second, a model soup (arXiv 2203.05482), of
runs that began with the same weights. All count alike; of runs with moving
averages (Experiment.ema_decay) it is these that are averaged. What belongs to
the file lies beside it, as tools.export_npz writes both: predict, export and
load.from_npz take it, and tools.import_jax makes a run of it, to evaluate.
"""

import os

from absl import flags
from absl import logging

from tfvit import launch

_LAST = flags.DEFINE_integer(
    "last", None, "How many of the newest checkpoints of each run to take "
    "(default: all that there are).", lower_bound=1)
_BEST = flags.DEFINE_bool("best", False, "Take the best checkpoint of each run "
                          "instead.")
_OUT = flags.DEFINE_string(
    "out", None, "File to write; may be gs:// (default, of one run: "
    "average-STEPS.npz in it).")

launch.start(__name__, "overrides")

import numpy as np
import tensorflow as tf

from tfvit import experiment
from tfvit.data import class_names
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.inference import finished
from tfvit.weights import load
from tfvit.weights import names
from tfvit.weights import sidecar


def choose(workdir, last=None, best=False):
    """The steps of a run's checkpoints that are to be averaged, or ["best"].

    Raises:
      ValueError: the directory has none.
    """
    steps = checkpoint.steps(workdir, best)
    if not steps:
        raise ValueError(f"{workdir} holds no{' best' * best} checkpoint of a "
                         "run.")
    if best:
        return ["best"]
    if last is not None and last > len(steps):
        logging.warning(
            "%s has %d of the %d checkpoints that --last asks for, steps %s: "
            "these are averaged. Experiment.keep_checkpoints says how many a "
            "run keeps.", workdir, len(steps), last, steps)
    return steps[-(last or len(steps)):]


def average(chosen):
    """The mean of checkpoints, added up in float64: {name: array}.

    What are no fractions, such as counters, is that of the last one.

    Args:
      chosen: pairs of a run's directory and a step, or "best".

    Raises:
      ValueError: one is of another model, or cannot be read.
    """
    sums, counters, first = {}, {}, None
    for workdir, which in chosen:
        weights = checkpoint.weights_of(workdir, which)
        first = first or weights
        if weights.shapes != first.shapes:
            ours, theirs = (names.describe(w.shapes) for w in (first, weights))
            raise ValueError(f"{weights.path} is of another model than "
                             f"{first.path}: {theirs}, not {ours}.")
        for name, array in weights.items():
            if array.dtype.kind == "f":
                sums[name] = sums.get(name, 0.0) + array.astype(np.float64)
            else:
                counters[name] = array
    return {**counters, **{
        name: (array / len(chosen)).astype(first[name].dtype)
        for name, array in sums.items()}}


def _check_labels(workdirs):
    """Raises ValueError where runs have other classes than the first."""
    known = {}
    for workdir in workdirs:
        path = os.path.join(workdir, "labels.txt")
        if tf.io.gfile.exists(path):
            known[path] = class_names.read(path)
    for path, found in known.items():
        if found != next(iter(known.values())):
            raise ValueError(f"{path} names other classes than "
                             f"{next(iter(known))}: an average of the two "
                             "would be of neither.")


def main(words):
    if not words:
        raise ValueError("Name the directory of a run, or several.")
    workdirs = [os.path.expanduser(word) for word in words]
    if len(words) > 1 and not _OUT.value:
        raise ValueError("Of several runs --out must say where the average is "
                         "to be written.")
    _check_labels(workdirs)
    chosen = [(workdir, step) for workdir in workdirs
              for step in choose(workdir, _LAST.value, _BEST.value)]
    if len(chosen) == 1:
        raise ValueError(
            f"{workdirs[0]} has one such checkpoint, {chosen[0][1]}: there is "
            "nothing to average. Experiment.keep_checkpoints says how many a "
            "run keeps.")
    exp, _ = experiment.of_run(workdirs[0], launch.overrides())
    run = build.build(exp, strategy=tf.distribute.get_strategy(),
                      training=False)
    found = average(chosen)
    if missing := run.weights.keys() ^ found.keys():
        raise ValueError(f"{workdirs[0]} has other weights than the model of "
                         f"its config.gin: {', '.join(sorted(missing)[:5])}.")
    for name, variable in run.weights.items():
        variable.assign(found[name])
    if run.statistics:
        logging.warning(
            "%d statistics, such as those of BatchNormalization, are averaged "
            "like weights, though no model has measured them so.",
            len(run.statistics))
    path = _OUT.value or os.path.join(
        workdirs[0], f"average-{'-'.join(str(step) for _, step in chosen)}.npz")
    load.to_npz(run.model, path)
    name = " and ".join(os.path.basename(os.path.normpath(w)) for w in workdirs)
    beside = sidecar.write(path, {
        "model": name, "averaged": [[w, str(step)] for w, step in chosen],
        "step": max((s for _, s in chosen if s != "best"), default="best"),
        **finished.facts(exp, run.model, workdirs[0])})
    logging.info("Wrote the average of %s%s to %s, and %s.", ", ".join(
        f"{workdir} {step}" for workdir, step in chosen),
                 " (their moving averages)" * bool(exp.ema_decay), path, beside)


if __name__ == "__main__":
    launch.run_words(main)

"""A published checkpoint as a run that can be evaluated."""

import dataclasses
import os

import tensorflow as tf

from tfvit import experiment
from tfvit.engine import build
from tfvit.inference import report
from tfvit.weights import hub
from tfvit.weights import published


def experiment_of(where, overrides=((), ())):
    """(Experiment, its config as text) of a published checkpoint.

    Args:
      where: anything that load.from_npz takes.
      overrides: (gin files, bindings) that change its config.

    Raises:
      ValueError, OSError: as published.gin_of.
    """
    files, bindings = published.gin_of(where, overrides[1])
    return experiment.from_config([*files, *overrides[0]],
                                  [*bindings, *overrides[1]])


def of(where, overrides=((), ()), only=()):
    """The build.Run of a published checkpoint, without its weights.

    Args:
      where, overrides: see experiment_of; they name the data to evaluate on.
      only: names of evaluators; none for all.

    Raises:
      ValueError, OSError: see experiment_of; or there is no such evaluator,
        or nothing says what to evaluate on.
    """
    where = os.path.expanduser(where)
    if tf.io.gfile.isdir(where) and not hub.is_folder(where):
        raise ValueError(f"--model={where} is a folder, and a run's has "
                         f"--workdir={where}.")
    if not overrides[0]:
        raise ValueError(
            f"--model={where} has no data of its own: say what to evaluate on, "
            "such as --gin_file=gin/data/imagenet2012.gin --split=test.")
    exp, _ = experiment_of(where, overrides)
    report.check_splits(exp, only)
    if only:  # The others' data need not be on this machine.
        exp = dataclasses.replace(exp, evaluators={
            name: exp.evaluators[name] for name in only})
    return build.build(exp, training=False)

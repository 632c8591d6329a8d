"""A run made longer, or shorter, than it was begun: Experiment.extended.

It lists (step, total_steps until then, how), so that the config says of every
step which learning rate it had: a run with this config from scratch does the
same. `how` says what the schedule does from that step on:

  stretch  goes on as one of the new total_steps would at this step: that of a
           cosine, which was to end here, jumps up again.
  restart  begins anew, warm-up and all, and ends at the new total_steps.
"""
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfvit.engine import run_changes

CHOICES = ("stretch", "restart")
EXACT = "exact"  # To stretch where no step so far would have been another.
_SAMPLES = 200  # Steps at which schedules are compared.


def optimizer(make, total_steps: int, extended: Sequence = ()):
    """The optimizer of a run, with the learning rates of all its parts.

    Args:
      make: total_steps -> optim.Optimizer.
      total_steps, extended: of the experiment.
    """
    begins = [(0, "stretch"), *((step, how) for step, _, how in extended)]
    totals = [*(total for _, total, _ in extended), total_steps]
    origin, parts = 0, []
    for (begin, how), total in zip(begins, totals):
        origin = begin if how == "restart" else origin
        parts.append((begin, origin, make(total - origin)))
    if len(parts) == 1:
        return parts[0][2]

    def lr(step):
        rate = tf.constant(0.0)
        for begin, origin, part in parts:
            rate = tf.where(step >= begin, part.lr(step - origin), rate)
        return rate

    return parts[-1][2]._replace(lr=lr)


def bindings(text: str, saved: str | None, done: int | None, how: str | None):
    """How a run came to its total_steps: (gin bindings that say it, is it new).

    Args:
      text: the config as the user gave it.
      saved: that of the run, None where there is none.
      done: steps of its newest checkpoint, None without.
      how: of CHOICES, EXACT, or None for a run that only goes on.

    Raises:
      ValueError: there is nothing to extend, or it is longer already.
    """
    if saved is None or done is None:
        if how:
            raise ValueError("--extend: --workdir holds no run with a "
                             "checkpoint to go on from.")
        return [], False
    name = "experiment.Experiment.extended"
    steps = "experiment.Experiment.total_steps"
    history = run_changes.literal(saved, name) or []
    new, old = (run_changes.literal(config, steps) for config in (text, saved))
    # By other actions alone a run that stopped early may go on, too.
    is_new = bool(how) and run_changes.differ(text, saved, besides=name)
    if is_new:
        if not isinstance(new, int) or new < done:
            raise ValueError(f"--extend: {steps} = {new} is less than the "
                             f"{done} steps that this run has behind it.")
        history = [*history, (done, old, "restart" if new != old and
                              how == "restart" else "stretch")]
    if history == (run_changes.literal(text, name) or []):
        return [], is_new
    return [f"{name} = {history!r}"], is_new


def check(exp, how: str):
    """Checks, of an experiment that was just extended, that `how` can be.

    Raises:
      ValueError: the schedule would have been another before, and it is not
        said what it is to do now; or too few steps are left.
    """
    *earlier, (done, before, chosen) = exp.extended
    total = exp.total_steps
    if total == done:
        return
    new, old, as_if = (optimizer(exp.optimizer, *arguments) for arguments in (
        (total, exp.extended), (before, earlier), (total, earlier)))
    try:
        new.lr(tf.constant(done, tf.int64))
    except ValueError as error:
        raise ValueError(
            f"--extend={chosen}: the {total - done} steps from {done} to "
            f"{total} are too few for the schedule: "
            f"{str(error).split(', for')[0].rstrip('.')}.") from error
    samples = np.unique(np.linspace(0, done - 1, _SAMPLES).astype(np.int64))
    if how != EXACT or _rates(old, samples) == _rates(as_if, samples):
        return
    now, stretched = (_rates(found, [done])[0] for found in (old, new))
    raise ValueError(
        f"--extend: the learning rate depends on total_steps and has come to "
        f"{now:.3g} at step {done}, so say how it goes on to step {total}: "
        f"--extend=stretch, as it would at this step of a schedule that long "
        f"({stretched:.3g}); or --extend=restart, the schedule anew, warm-up "
        "and all.")


def _rates(found, steps):
    return [float(found.lr(tf.constant(step, tf.int64))) for step in steps]

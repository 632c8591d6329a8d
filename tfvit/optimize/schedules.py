"""Learning rates as functions of the number of finished updates.

The step is 0 for the first update, as in the original (so a warm-up starts
with an update of size 0). All arithmetic is float32.
"""

import math

import tensorflow as tf


def _progress(step, warmup_steps, total_steps, name):
    """Share in [0, 1] of the steps after the warm-up that are done."""
    _check_phases(warmup_steps, 0, total_steps, name)
    progress = (step - warmup_steps) / float(total_steps - warmup_steps)
    return tf.clip_by_value(progress, 0.0, 1.0)


def _warm_up(lr, step, warmup_steps):
    return lr * tf.minimum(1.0, step / warmup_steps) if warmup_steps else lr


def cosine(step, *, base, total_steps, warmup_steps):
    """Half a cosine from `base` to 0 (float32 []), after a linear warm-up.

    Args:
      step: finished updates.
      base: learning rate at the end of the warm-up.
      total_steps: updates in the run.
      warmup_steps: updates in which the learning rate rises from 0.

    Raises:
      ValueError: the warm-up is not shorter than the run.
    """
    step = tf.cast(step, tf.float32)
    progress = _progress(step, warmup_steps, total_steps, "cosine")
    lr = base * 0.5 * (1.0 + tf.cos(math.pi * progress))
    return _warm_up(lr, step, warmup_steps)


def linear(step, *, base, total_steps, warmup_steps, end=1e-5):
    """A straight line from `base` to `end` (float32 []), after a warm-up.

    Args:
      step, base, total_steps, warmup_steps: see cosine.
      end: an absolute learning rate; 1e-5 is vision_transformer's.

    Raises:
      ValueError: the warm-up is not shorter than the run.
    """
    step = tf.cast(step, tf.float32)
    progress = _progress(step, warmup_steps, total_steps, "linear")
    lr = end + (base - end) * (1.0 - progress)
    return _warm_up(lr, step, warmup_steps)


def rsqrt(step, *, base, total_steps, warmup_steps, timescale=10_000, shift=0,
          cooldown_steps=0):
    """base / sqrt(1 + t / timescale), float32 [], after a linear warm-up.

    t is the number of steps since the warm-up, plus `shift`. Before the
    cool-down nothing depends on total_steps, so that a run can be prolonged
    (arXiv 2106.04560, section 3.5).

    Args:
      step, base, total_steps, warmup_steps: see cosine.
      timescale: steps in which the learning rate falls by the first 29 %.
      shift: steps of the curve to leave out at its start.
      cooldown_steps: last updates, which lead linearly to 0.

    Raises:
      ValueError: warm-up and cool-down are not shorter than the run.
    """
    step = tf.cast(step, tf.float32)
    _check_phases(warmup_steps, cooldown_steps, total_steps, "rsqrt")
    since = shift + tf.maximum(step - warmup_steps, 0.0)
    lr = base / tf.sqrt(1.0 + since / timescale)
    return _cool_down(_warm_up(lr, step, warmup_steps), step, cooldown_steps,
                      total_steps)


def stair(step, *, base, total_steps, boundaries=(), multipliers=(),
          warmup_steps=0, cooldown_steps=0):
    """base times the multiplier of the last boundary passed, float32 [].

    Without any boundary it is constant.

    Args:
      step, base, total_steps, warmup_steps, cooldown_steps: see rsqrt.
      boundaries: increasing steps; before the first it is base.
      multipliers: from boundaries[i] on it is base * multipliers[i].

    Raises:
      ValueError: as many multipliers as boundaries are needed, in increasing
        order; or see rsqrt.
    """
    _check_phases(warmup_steps, cooldown_steps, total_steps, "stair")
    if (len(boundaries) != len(multipliers) or
            list(boundaries) != sorted(set(boundaries))):
        raise ValueError(f"schedules.stair.boundaries={boundaries} must "
                         "increase, one for each of "
                         f"schedules.stair.multipliers={multipliers}.")
    step = tf.cast(step, tf.float32)
    passed = tf.reduce_sum(tf.cast(
        step >= tf.constant(boundaries, tf.float32), tf.int32))
    lr = base * tf.gather(tf.constant([1.0, *multipliers]), passed)
    return _cool_down(_warm_up(lr, step, warmup_steps), step, cooldown_steps,
                      total_steps)


def _check_phases(warmup_steps, cooldown_steps, total_steps, name):
    """Raises ValueError unless warm-up and cool-down leave a step."""
    if warmup_steps + cooldown_steps < total_steps:
        return
    said = f"schedules.{name}.warmup_steps={warmup_steps}"
    if cooldown_steps:
        said += f" and cooldown_steps={cooldown_steps} together"
    raise ValueError(
        f"{said} must be less than Experiment.total_steps={total_steps}, for "
        f"example schedules.{name}.warmup_steps = {total_steps // 10}.")


def _cool_down(lr, step, cooldown_steps, total_steps):
    if not cooldown_steps:
        return lr
    return lr * tf.clip_by_value((total_steps - step) / cooldown_steps, 0., 1.)

"""Optimizers as plain maths on one variable at a time.

The step assigns the results. (A Keras optimizer cannot run inside an
XLA-compiled function under MirroredStrategy.)
"""

import functools
import math
import numbers
import re
from typing import Callable, NamedTuple

import numpy as np
import tensorflow as tf

from tfvit.storage import unconverted


class Optimizer(NamedTuple):
    """What the train step needs to know.

    Attributes:
      lr: number of finished updates, int64 [] -> learning rate, float32 [].
      slots: shape of a variable -> {slot name: (shape, dtype)}; slots start as
        zeros.
      update: (name, value, gradient, slots, *, lr, step) -> (new value, new
        slots), where step is the number of finished updates, float32.
      elementwise: whether each number of a variable is updated by itself, so
        that replicas can share out the work.
    """
    lr: Callable
    slots: Callable
    update: Callable
    elementwise: bool = False


def _decay(value, dtype):
    """A decay rate as the dtype that holds its moment represents it.

    JAX multiplies a bfloat16 moment with bfloat16(0.9) = 0.8984375.
    """
    return tf.cast(tf.cast(value, dtype), tf.float32)


def sgd(total_steps, *, lr, schedule, momentum=0.9, accumulator="bfloat16"):
    """SGD with momentum, as the published fine-tunings used it.

    Args:
      total_steps: of the run, for the schedule.
      lr: base learning rate.
      schedule: one of tfvit.optimize.schedules.
      momentum: decay of the accumulator, in [0, 1).
      accumulator: dtype name of the momentum; the original's is bfloat16
        (vit_jax/train.py), which halves its memory and makes 0.9 0.8984375.
    """
    dtype = tf.dtypes.as_dtype(accumulator)

    def update(name, value, gradient, slots, *, lr, step):
        del name, step
        moment = gradient + _decay(momentum, dtype) * tf.cast(
            slots["momentum"], tf.float32)
        return value - lr * moment, {"momentum": tf.cast(moment, dtype)}

    return Optimizer(_bind("sgd", schedule, lr, total_steps),
                     lambda shape: {"momentum": (shape, dtype)}, update,
                     elementwise=True)


def adamw(total_steps, *, lr, schedule, weight_decay, beta1=0.9, beta2=0.999,
          epsilon=1e-8, first_moment="float32", decay_names=r".*/kernel"):
    """Adam with decoupled weight decay: w -= lr_t * (adam + weight_decay * w).

    big_vision's absolute `wd` is weight_decay * lr: its 1e-4 at lr 1e-3 is 0.1
    here.

    Args:
      total_steps: of the run, for the schedule.
      lr: base learning rate.
      schedule: one of tfvit.optimize.schedules.
      weight_decay: in units of the learning rate, as in AdamW.
      beta1: decay of the first moment.
      beta2: decay of the second moment.
      epsilon: added to the root of the second moment.
      first_moment: dtype name of the first moment.
      decay_names: regular expression; variables whose whole published name
        matches decay. The default is big_vision's: kernels only.
    """
    dtype = tf.dtypes.as_dtype(first_moment)

    # A function, traced once for all variables of a shape: of what a step of
    # AdamW has to trace, this would be half.
    @functools.partial(tf.function, autograph=False)
    def updated(value, gradient, first, second, lr, step, decays):
        count = step + 1.0
        first = ((1.0 - beta1) * gradient +
                 _decay(beta1, dtype) * tf.cast(first, tf.float32))
        second = (1.0 - beta2) * tf.square(gradient) + beta2 * second
        adam = (first / (1.0 - tf.pow(beta1, count))) / (
            tf.sqrt(second / (1.0 - tf.pow(beta2, count))) + epsilon)
        if decays:
            adam += weight_decay * value
        return value - lr * adam, tf.cast(first, dtype), second

    def update(name, value, gradient, slots, *, lr, step):
        decays = bool(weight_decay and re.fullmatch(decay_names, name))
        value, first, second = updated(value, gradient, slots["first"],
                                       slots["second"], lr, step, decays)
        return value, {"first": first, "second": second}

    slots = lambda shape: {
        "first": (shape, dtype),
        "second": (shape, tf.float32)
    }
    return Optimizer(_bind("adamw", schedule, lr, total_steps), slots, update,
                     elementwise=True)


def adafactor(total_steps, *, lr, schedule, weight_decay, momentum=0.9,
              first_moment="bfloat16", decay_power=0.8, beta2_cap=0.999,
              min_size=32, clip_rms=None, epsilon=1e-30,
              decay_names=r".*/kernel"):
    """Adafactor as big_vision has it (arXiv 2106.04560, section 3.4).

    w -= lr_t * (moment of g / rms + weight_decay * w). The rms comes from one
    mean of squares for each row and one for each column of a matrix (the two
    longest axes of a larger tensor), so that memory beside the weights is
    little more than the first moment, which bfloat16 halves. Nothing is scaled
    by the weights' size.

    Args:
      total_steps: of the run, for the schedule.
      lr: base learning rate.
      schedule: one of tfvit.optimize.schedules.
      weight_decay: in units of the learning rate; see adamw.
      momentum: decay of the first moment, in [0, 1).
      first_moment: dtype name of the first moment.
      decay_power: the t-th decay of squares is 1 - t ** -decay_power.
      beta2_cap: at most.
      min_size: a variable with fewer than two axes this long keeps all squares.
      clip_rms: largest root mean square of a variable's update before the
        moment; None for no limit.
      epsilon: added to squares.
      decay_names: see adamw.
    """
    dtype = tf.dtypes.as_dtype(first_moment)

    def slots(shape):
        axes = _factored(shape, min_size)
        squares = {"squares": (shape, tf.float32)} if axes is None else {
            f"squares_without_{name}": (_without(shape, axis), tf.float32)
            for name, axis in zip(("longest", "second"), axes)
        }
        return {"moment": (shape, dtype), **squares}

    def update(name, value, gradient, slots, *, lr, step):
        beta2 = tf.minimum(beta2_cap, 1.0 - tf.pow(step + 1.0, -decay_power))
        squares = tf.square(gradient) + epsilon

        def decayed(slot, new):
            return beta2 * slots[slot] + (1.0 - beta2) * new

        axes = _factored(gradient.shape, min_size)
        if axes is None:
            new = {"squares": decayed("squares", squares)}
            scaled = gradient * tf.math.rsqrt(new["squares"])
        else:
            longest, second = axes
            rows, columns = (
                decayed(f"squares_without_{slot}",
                        tf.reduce_mean(squares, axis))
                for slot, axis in (("longest", longest), ("second", second)))
            new = {"squares_without_longest": rows,
                   "squares_without_second": columns}
            mean = tf.reduce_mean(rows, second - (second > longest),
                                  keepdims=True)
            scaled = (gradient *
                      tf.expand_dims(tf.math.rsqrt(rows / mean), longest) *
                      tf.expand_dims(tf.math.rsqrt(columns), second))
        if clip_rms is not None:
            rms = tf.sqrt(tf.reduce_mean(tf.square(scaled)))
            scaled /= tf.maximum(1.0, rms / clip_rms)
        moment = ((1.0 - momentum) * scaled +
                  _decay(momentum, dtype) * tf.cast(slots["moment"],
                                                    tf.float32))
        direction = moment
        if weight_decay and re.fullmatch(decay_names, name):
            direction += weight_decay * value
        return value - lr * direction, {"moment": tf.cast(moment, dtype), **new}

    return Optimizer(_bind("adafactor", schedule, lr, total_steps), slots, update)


def _factored(shape, min_size):
    """(longest axis, second longest), or None where that one is too short."""
    order = np.argsort(shape, kind="stable")
    if len(order) < 2 or shape[order[-2]] < min_size:
        return None
    return int(order[-1]), int(order[-2])


def _without(shape, axis):
    return [size for i, size in enumerate(shape) if i != axis]


def unfrozen(params, frozen):
    """The entries of `params` whose whole name `frozen` does not match.

    Args:
      params: {published name: anything}.
      frozen: regular expression, or None for nothing frozen.

    Raises:
      ValueError: it matches nothing, or leaves nothing.
    """
    if frozen is None:
        return dict(params)
    rest = {k: v for k, v in params.items() if not re.fullmatch(frozen, k)}
    if len(rest) in (0, len(params)):
        raise ValueError(
            f"Experiment.frozen={frozen!r} matches {len(params) - len(rest)} of "
            f"the {len(params)} parameters, such as {next(iter(params))!r}; it "
            "must match the whole names of some, not all.")
    return rest


def multipliers(names, pairs):
    """{name: factor of its learning rate} from pairs (regex, factor).

    The first regular expression that matches a whole name counts; names that
    none matches have 1.

    Raises:
      ValueError: one is not the first match of any name.
    """
    factors, used = {}, set()
    for name in names:
        match = next((i for i, (pattern, _) in enumerate(pairs)
                      if re.fullmatch(pattern, name)), None)
        used.add(match)
        factors[name] = 1.0 if match is None else pairs[match][1]
    for i, (pattern, factor) in enumerate(pairs):
        if i not in used:
            raise ValueError(
                f"Experiment.lr_multipliers: {pattern!r} (factor {factor}) "
                "matches the whole name of no trained parameter, such as "
                f"{next(iter(names))!r}, or an earlier pair takes them all.")
    return factors


def _bind(name, schedule, lr, total_steps):
    if (isinstance(lr, bool) or not isinstance(lr, numbers.Real) or
            not 0 <= lr < math.inf):
        raise ValueError(f"optim.{name}.lr={lr!r} must be a number of at least "
                         "0, and finite.")
    return functools.partial(unconverted.unconverted(schedule), base=lr,
                             total_steps=total_steps)


def clip_by_global_norm(gradients, norm, max_norm):
    """Scales `gradients`, whose global norm is `norm`, to at most max_norm."""
    factor = tf.where(norm < max_norm, 1.0, max_norm / norm)
    return [g * factor for g in gradients]

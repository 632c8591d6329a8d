"""Dynamic loss scaling: keeps small float16 gradients from becoming zero.

The loss is multiplied by a scale before differentiation and the gradients are
divided by it, in float32, after. A scale that is too large makes gradients
overflow: that update is skipped and the scale halved. After many good updates
it doubles (arXiv 1710.03740).
"""

import tensorflow as tf

GROWTH_EVERY = 2000  # Good updates in a row; the paper's and Keras' number.


def variables(first):
    """Variables of the state, with `first` as the first scale.

    Returns:
      {"value": the scale, "good": updates since it changed, "skipped": updates
      skipped in the whole run}
    """
    return {
        "value": tf.Variable(first, trainable=False, dtype=tf.float32,
                             name="loss_scale/value"),
        "good": tf.Variable(0, trainable=False, dtype=tf.int64,
                            name="loss_scale/good"),
        "skipped": tf.Variable(0, trainable=False, dtype=tf.int64,
                               name="loss_scale/skipped"),
    }


def advance(scale, finite):
    """The state after one update.

    Args:
      scale: {name: tensor []}, see `variables`.
      finite: whether the gradients are, bool [].

    Returns:
      (the new state, whether the update counts as skipped, float32 []). At a
      scale of 1 nothing is left to halve: the numbers themselves are not
      finite, which is for the caller to report.
    """
    value, good = scale["value"], scale["good"] + 1
    grow = good >= GROWTH_EVERY
    skip = tf.logical_not(finite) & (value > 1.0)
    return {
        "value": tf.where(finite, tf.where(grow, value * 2.0, value),
                          tf.maximum(value / 2.0, 1.0)),
        "good": tf.where(finite & ~grow, good, 0),
        "skipped": scale["skipped"] + tf.cast(skip, tf.int64),
    }, tf.cast(skip, tf.float32)

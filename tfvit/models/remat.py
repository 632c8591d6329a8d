"""Rematerialisation: memory for activations against time."""

import functools

import tensorflow as tf


def optional(call):
    """Makes a block's call(self, x, training) obey `self.remat`.

    Where that is true, training keeps nothing of the block but its input and
    computes the rest again when it needs gradients (arXiv 1604.06174). Dropout
    draws the same masks both times, because they follow from the seed scope.
    """

    @functools.wraps(call)
    def wrapped(self, x, training=False):
        if not (self.remat and training):
            return call(self, x, training=training)

        @tf.recompute_grad
        def again(x):
            return call(self, x, training=True)

        return again(x)

    return wrapped

"""What is added to the patches of an image: a class token, positions."""

import numpy as np
import tensorflow as tf
import tf_keras

from tfvit.models import serial


@serial.layer
class ClassToken(tf_keras.layers.Layer):
    """Prepends a learned token: [B, N, D] -> [B, 1 + N, D], float32.

    What comes next rounds the token to what it computes in, if at all: once,
    with the position embedding added, as in the original.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)

    def build(self, shape):
        # The published name of this variable is just "cls".
        with tf.name_scope(""):
            self.cls = self.add_weight("cls", [1, 1, shape[-1]],
                                       initializer="zeros")

    def call(self, x):
        cls = tf.tile(self.cls, [tf.shape(x)[0], 1, 1])
        return tf.concat([cls, x], axis=1)


@serial.layer
class Registers(tf_keras.layers.Layer):
    """Learned tokens that carry nothing of the image (arXiv 2309.16588).

    They come after the first `behind` tokens: [B, N, D] -> [B, N + count, D].
    """

    def __init__(self, count, *, behind, **kwargs):
        super().__init__(**kwargs)
        self.count = count
        self.behind = behind

    def build(self, shape):
        with tf.name_scope(""):  # As ClassToken's.
            self.registers = self.add_weight(
                "registers", [1, self.count, shape[-1]],
                initializer=tf_keras.initializers.RandomNormal(stddev=0.02))

    def call(self, x):
        own = tf.tile(tf.cast(self.registers, x.dtype), [tf.shape(x)[0], 1, 1])
        return tf.concat([x[:, :self.behind], own, x[:, self.behind:]], axis=1)


@serial.layer
class PositionEmbedding(tf_keras.layers.Layer):
    """Adds learned [1, N, D] or, where given, constant position embeddings.

    The sum is float32, and rounded afterwards.
    """

    def __init__(self, *, constant=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.constant = (None if constant is None else
                         np.asarray(constant, np.float32))

    def build(self, shape):
        if self.constant is None:
            self.embedding = self.add_weight(
                "pos_embedding", [1, *shape[1:]],
                initializer=tf_keras.initializers.RandomNormal(stddev=0.02),
                experimental_autocast=False)

    def call(self, x):
        table = self.embedding if self.constant is None else self.constant
        return tf.cast(tf.cast(x, tf.float32) + table, self.compute_dtype)

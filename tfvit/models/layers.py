"""Layers shared by the model families.

Variables carry the names of the published checkpoints (`scale`, `bias`,
`query/kernel`, ...), so loading a file is a comparison of names.
"""

import contextlib
import math
import threading
import zlib

import tensorflow as tf
import tf_keras

from tfvit.models import activations
from tfvit.models import products
from tfvit.models import serial

_LOCAL = threading.local()


@contextlib.contextmanager
def seed_scope(seed):
    """Makes dropout inside the scope a pure function of `seed` (int32 [2]).

    The scope belongs to the thread, because MirroredStrategy traces one thread
    per replica. Outside any scope dropout draws from TensorFlow's global
    generator, as Keras layers do.
    """
    outer = getattr(_LOCAL, "seed", None)
    _LOCAL.seed = seed
    try:
        yield
    finally:
        _LOCAL.seed = outer


def _bits(shape, salt):
    """Uniform int32 numbers that depend on the scope's seed and `salt`."""
    seed = getattr(_LOCAL, "seed", None)
    if seed is None:
        seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    # The salt is a name, not a counter: rematerialised blocks draw twice and
    # must get the same mask.
    seed = tf.random.experimental.stateless_fold_in(
        seed, zlib.crc32(salt.encode()) & 0x7FFFFFFF)
    # A fixed algorithm: "auto" picks another one on TPU. Integers: XLA and
    # TensorFlow's kernels turn the same bits into different floats.
    return tf.random.stateless_uniform(shape, seed, minval=None, maxval=None,
                                       dtype=tf.int32, alg="philox")


@serial.layer
class Dropout(tf_keras.layers.Layer):
    """Inverted dropout; the mask follows from the seed scope and `salt`.

    Args:
      rate: probability in [0, 1) that an element is dropped.
      salt: name that makes this layer's mask differ from all others.
      per_example: drop whole examples instead (stochastic depth).
      rescale: divide what is kept by 1 - rate, which keeps the expectation.
    """

    def __init__(self, rate, *, salt, per_example=False, rescale=True,
                 **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"Dropout rate {rate} of {salt} must be in [0, 1).")
        self.rate = rate
        self.salt = salt
        self.per_example = per_example
        self.rescale = rescale

    def call(self, x, training=False):
        if not training or not self.rate:
            return x
        shape = tf.shape(x)
        if self.per_example:
            shape = tf.concat([shape[:1], [1] * (x.shape.rank - 1)], axis=0)
        keep = _bits(shape, self.salt) >= int(self.rate * 2**32) - 2**31
        if self.rescale:
            x /= tf.cast(1.0 - self.rate, x.dtype)
        return tf.where(keep, x, tf.zeros_like(x))


@serial.layer
class LayerNorm(tf_keras.layers.Layer):
    """Layer normalisation over the last axis, computed in float32.

    Its input is taken as it comes, in float32 where that is what comes. Epsilon
    1e-6 is flax's default (flax/linen/normalization.py).
    """

    def __init__(self, *, epsilon=1e-6, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.epsilon = epsilon

    def build(self, shape):
        # As flax does, which never rounds these: bfloat16 knows no number
        # between 1 and 1.0078.
        self.scale, self.bias = (
            self.add_weight(name, shape[-1:], initializer=initializer,
                            experimental_autocast=False)
            for name, initializer in (("scale", "ones"), ("bias", "zeros")))

    def call(self, x):
        y = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(y, axes=[-1], keepdims=True)
        y = tf.nn.batch_normalization(y, mean, variance, self.bias, self.scale,
                                      self.epsilon)
        return tf.cast(y, self.compute_dtype)


def xavier_uniform(fan_in, fan_out):
    """Glorot's uniform initializer with explicit fans.

    Keras derives the fans from the shape and takes [D, heads, d] for a
    convolution; flax initializes the flattened [D, heads * d].
    """
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return tf_keras.initializers.RandomUniform(-limit, limit)


@serial.layer
class Dense(tf_keras.layers.Layer):
    """y = x @ kernel + bias on the last axis, [B, ..., D] -> [B, ..., units]."""

    def __init__(self, units, *, kernel_initializer, bias_initializer="zeros",
                 **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.kernel_initializer, self.bias_initializer = map(
            tf_keras.initializers.get, (kernel_initializer, bias_initializer))

    def build(self, shape):
        self.kernel = self.add_weight("kernel", [shape[-1], self.units],
                                      initializer=self.kernel_initializer)
        self.bias = self.add_weight("bias", [self.units],
                                    initializer=self.bias_initializer)

    def call(self, x):
        return products.project(x, self.kernel) + self.bias


@serial.layer
class MlpBlock(tf_keras.layers.Layer):
    """Dense -> GELU -> Dense, dropout after both [B, N, D] -> [B, N, D].

    The initializers are those of the Transformer; Mixer passes its own.
    """

    def __init__(self, mlp_dim, *, salt, dropout_rate=0.0,
                 kernel_initializer=None, bias_initializer=None,
                 activation="gelu_tanh", **kwargs):
        super().__init__(**kwargs)
        self.activation = activation
        self.mlp_dim = mlp_dim
        self.salt = salt
        self.dropout_rate = dropout_rate
        self.kernel_initializer, self.bias_initializer = map(
            tf_keras.initializers.get, (kernel_initializer, bias_initializer))

    def build(self, shape):
        width = shape[-1]
        kernel = self.kernel_initializer or xavier_uniform(width, self.mlp_dim)
        bias = (self.bias_initializer or
                tf_keras.initializers.RandomNormal(stddev=1e-6))
        for i, units in enumerate([self.mlp_dim, width]):
            dense = Dense(units, kernel_initializer=_copy(kernel),
                          bias_initializer=_copy(bias), name=f"Dense_{i}")
            dropout = Dropout(self.dropout_rate, salt=f"{self.salt}/{i}")
            setattr(self, f"dense_{i}", dense)
            setattr(self, f"dropout_{i}", dropout)

    def call(self, x, training=False):
        x = activations.activate(self.dense_0(x), self.activation)
        x = self.dropout_0(x, training=training)
        return self.dropout_1(self.dense_1(x), training=training)


def _copy(initializer):
    """Keras warns, rightly, when one unseeded initializer object fills two."""
    return type(initializer).from_config(initializer.get_config())


@serial.layer
class MultiHeadDotProductAttention(tf_keras.layers.Layer):
    """Attention [B, N, D] -> [B, N, D]; the softmax is float32.

    Queries are of x, too, or of `queries` [B, M, D]. With `causal` a token sees
    none that follow it; with `qk_norm` heads' queries and keys are normalised.

    Raises:
      ValueError: the width is not divisible by `num_heads`.
    """

    def __init__(self, num_heads, *, salt, dropout_rate=0.0, causal=False,
                 qk_norm=False, norm_epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.causal = causal
        self.norms = [
            LayerNorm(epsilon=norm_epsilon, name=name)
            for name in ("query_ln", "key_ln")] if qk_norm else []
        self.dropout = Dropout(dropout_rate, salt=salt, dtype="float32")

    def build(self, shape):
        width, heads = shape[-1], self.num_heads
        if width % heads:
            raise ValueError(
                f"width={width} must be divisible by num_heads={heads}.")
        init = lambda: xavier_uniform(width, width)
        for name in ("query", "key", "value"):
            kernel = self.add_weight(f"{name}/kernel",
                                     [width, heads, width // heads],
                                     initializer=init())
            bias = self.add_weight(f"{name}/bias", [heads, width // heads],
                                   initializer="zeros")
            setattr(self, name, (kernel, bias))
        self.out = (self.add_weight("out/kernel",
                                    [heads, width // heads, width],
                                    initializer=init()),
                    self.add_weight("out/bias", [width], initializer="zeros"))

    def _heads(self, x, queries=None, training=False):
        """Queries, divided by sqrt(d), keys, values: [B, heads, N, d] each."""
        kernels, biases = zip(self.query, self.key, self.value)
        if queries is None:
            query, key, value = products.project_heads(x, kernels, biases,
                                                       training)
        else:
            query, = products.project_heads(queries, kernels[:1], biases[:1])
            key, value = products.project_heads(x, kernels[1:], biases[1:])
        if self.norms:
            query, key = (norm(y) for norm, y in zip(self.norms, (query, key)))
        root = tf.cast(math.sqrt(query.shape[-1]), query.dtype)
        return query / root, key, value

    def weights_over(self, x):
        """Attention weights [B, heads, N (queries), N (keys)], float32."""
        query, key, _ = self._heads(x)
        return products.weights(query, key, causal=self.causal)

    def call(self, x, queries=None, training=False):
        query, key, value = self._heads(x, queries, training)
        if training and not self.dropout.rate and not self.causal:
            x = products.attend(query, key, value)
        else:
            weights = self.dropout(
                products.weights(query, key, causal=self.causal),
                training=training)
            x = tf.matmul(tf.cast(weights, value.dtype), value)
        kernel, bias = self.out
        return tf.einsum("bhnd,hdw->bnw", x, kernel) + bias

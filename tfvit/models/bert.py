"""BERT (arXiv 1810.04805), the text tower of LiT's larger models.

Written on our own layers rather than on those of tf-models-official: the
published LiT files have two-dimensional query, key and value kernels under
names that theirs do not have, and their dropout draws from a generator with
state, so that runs could not be resumed exactly. Tests compare the two.
"""

import math

import tensorflow as tf
import tf_keras

from tfvit.models import activations
from tfvit.models import layers
from tfvit.models import serial
from tfvit.models import text_tower
from tfvit.models import vit

_EPSILON = 1e-12  # Of layer normalisation; google-research/bert modeling.py.
_NEVER = -1e10  # Score of a token that may not be attended to.


def bert(*, num_classes, vocab_size, width, depth, num_heads, mlp_dim,
         max_positions=512, dropout_rate=0.0):
    """Builds a BERT encoder that reads its output off the first token, [CLS].

    Token 0 is padding, which no other token sees.

    Args:
      num_classes: D of the embedding, or None for a model without head.
      vocab_size: number of different tokens.
      width: of the encoder, divisible by num_heads.
      depth: number of encoder layers.
      num_heads: attention heads.
      mlp_dim: hidden width of the MLPs.
      max_positions: largest N.
      dropout_rate: on the embeddings, the attention weights, and after both
        halves of each layer.

    Returns:
      A tf_keras.Model from int tokens [B, N] to float32 [B, D] ([B, width]
      without head).

    Raises:
      ValueError: the heads do not divide the width, or, when it is called, N
        is larger than max_positions.
    """
    if width % num_heads:
        raise ValueError(f"bert.width={width} must be divisible by "
                         f"bert.num_heads={num_heads}.")
    tokens = tf_keras.Input([None], dtype=tf.int32, name="tokens")
    x = Embedder(vocab_size, max_positions, width,
                 name="BertEncoder_0/embedder")(tokens)
    x = layers.LayerNorm(epsilon=_EPSILON, name="BertEncoder_0/layer_norm")(x)
    x = layers.Dropout(dropout_rate, salt="BertEncoder_0/embedder")(x)
    valid = tf.not_equal(tokens, 0)
    for i in range(depth):
        x = EncoderLayer(
            num_heads=num_heads, mlp_dim=mlp_dim, dropout_rate=dropout_rate,
            name=f"BertEncoder_0/encoder_block/layer_sequence/layers_{i}")(
                x, valid)
    return tf_keras.Model(
        tokens, vit.head(x[:, 0], num_classes,
                         kernel_initializer="lecun_normal"), name="bert")


def _normal():
    return tf_keras.initializers.TruncatedNormal(stddev=0.02)


@serial.layer
class Embedder(tf_keras.layers.Layer):
    """Tokens, positions and the first segment: int [B, N] -> [B, N, width].

    The sum of the three is float32, and rounded afterwards.
    """

    def __init__(self, vocab_size, max_positions, width, **kwargs):
        super().__init__(**kwargs)
        self.sizes = {"token": vocab_size, "position": max_positions,
                      "segment": 2}
        self.width = width

    def build(self, shape):
        self.tables = {
            kind: self.add_weight(f"embedders_{kind}_ids/embedding",
                                  [size, self.width], initializer=_normal(),
                                  experimental_autocast=False)
            for kind, size in self.sizes.items()
        }

    def call(self, tokens):
        length, most = tokens.shape[1], self.sizes["position"]
        if length is not None and length > most:
            raise ValueError(f"Texts of {length} tokens are longer than "
                             f"bert.max_positions={most}.")
        x = (text_tower.lookup(self.tables["token"], tokens) +
             self.tables["position"][:tf.shape(tokens)[1]] +
             self.tables["segment"][0])
        return tf.cast(x, self.compute_dtype)


@serial.layer
class EncoderLayer(tf_keras.layers.Layer):
    """Post-norm Transformer block [B, N, width], valid [B, N] -> the former."""

    def __init__(self, *, num_heads, mlp_dim, dropout_rate, name,
                 **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.dropouts = {
            part: layers.Dropout(dropout_rate, salt=f"{name}/{part}")
            for part in ("attention", "mlp")
        }
        # Of the attention weights, which are float32.
        self.weights_dropout = layers.Dropout(
            dropout_rate, salt=f"{name}/weights", dtype="float32")

    def build(self, shape):
        width = shape[-1]
        dense = lambda name, units=width: layers.Dense(
            units, kernel_initializer=_normal(), name=name)
        norm = lambda name: layers.LayerNorm(epsilon=_EPSILON, name=name)
        self.query, self.key, self.value = (
            dense(f"attention_block/attention_layer/{name}")
            for name in ("query", "key", "value"))
        self.attention_dense = dense("attention_block/dense_layer")
        self.attention_norm = norm("attention_block/layer_norm")
        self.mlp_hidden = dense("mlp_block/mlp/dense_layer", self.mlp_dim)
        self.mlp_dense = dense("mlp_block/dense_layer")
        self.mlp_norm = norm("mlp_block/layer_norm")

    def call(self, x, valid, training=False):
        y = self.attention_dense(self._attend(x, valid, training))
        y = self.dropouts["attention"](y, training=training)
        x = self.attention_norm(x + y)
        y = activations.activate(self.mlp_hidden(x))
        y = self.dropouts["mlp"](self.mlp_dense(y), training=training)
        return self.mlp_norm(x + y)

    def _attend(self, x, valid, training):
        query, key, value = (self._split(project(x)) for project in
                             (self.query, self.key, self.value))
        query /= tf.cast(math.sqrt(query.shape[-1]), query.dtype)
        scores = tf.matmul(query, key, transpose_b=True)  # [B, heads, N, N]
        may = (valid[:, :, None] & valid[:, None, :])[:, None]
        scores = tf.where(may, tf.cast(scores, tf.float32), _NEVER)
        weights = self.weights_dropout(tf.nn.softmax(scores), training=training)
        y = tf.matmul(tf.cast(weights, value.dtype), value)
        y = tf.transpose(y, [0, 2, 1, 3])  # [B, N, heads, d]
        return tf.reshape(y, tf.shape(x))

    def _split(self, x):
        """[B, N, width] -> [B, heads, N, d]."""
        shape = tf.shape(x)
        x = tf.reshape(x, [shape[0], shape[1], self.num_heads,
                           x.shape[-1] // self.num_heads])
        return tf.transpose(x, [0, 2, 1, 3])

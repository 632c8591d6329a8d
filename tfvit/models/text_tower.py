"""The small text transformer of LiT (arXiv 2111.07991)."""

import math

import tensorflow as tf
import tf_keras

from tfvit.models import activations
from tfvit.models import encoder_block
from tfvit.models import layers
from tfvit.models import serial
from tfvit.models import vit


def text_transformer(*, num_classes, vocab_size, max_len, width, depth,
                     num_heads, mlp_dim, dropout_rate=0.0, causal=False,
                     activation="gelu_tanh", norm_epsilon=1e-6):
    """Builds a Transformer over tokens that reads its output off the last one.

    There is no mask: texts are padded with their end-of-text token, whose last
    copy sees everything. With `causal` there is one, as in CLIP (arXiv
    2103.00020): the output is that of the first end-of-text token, which has
    the highest number of all, and what follows changes nothing.

    Args:
      num_classes: D of the embedding, or None for a model without head.
      vocab_size: number of different tokens.
      max_len: N, tokens in every text.
      width: of the encoder, divisible by num_heads.
      depth: number of encoder blocks.
      num_heads: attention heads.
      mlp_dim: hidden width of the MLP blocks.
      dropout_rate: after the embedding, attention and both MLP layers.
      causal: whether a token sees only those before it.
      activation: of the MLPs, one of activations.FUNCTIONS.
      norm_epsilon: of layer normalisation.

    Returns:
      A tf_keras.Model from int tokens [B, N] to float32 [B, D] ([B, width]
      without head).
    """
    activations.check("text_transformer", activation)
    tokens = tf_keras.Input([max_len], dtype=tf.int32, name="tokens")
    x = TokenEmbedding(vocab_size, width, name="tokens_embedding")(tokens)
    x = layers.Dropout(dropout_rate, salt="Encoder_0/embedding")(x)
    for i in range(depth):
        x = encoder_block.EncoderBlock(num_heads=num_heads, mlp_dim=mlp_dim,
                                dropout_rate=dropout_rate, causal=causal,
                                activation=activation,
                                norm_epsilon=norm_epsilon,
                                name=f"Encoder_0/encoderblock_{i}")(x)
    x = layers.LayerNorm(epsilon=norm_epsilon, name="Encoder_0/encoder_norm",
                         dtype="float32")(x)
    x = (tf.gather(x, tf.argmax(tokens, axis=1), batch_dims=1) if causal else
         x[:, -1])
    return tf_keras.Model(
        tokens, vit.head(x, num_classes, kernel_initializer="lecun_normal"),
        name="text_transformer")


@serial.layer
class TokenEmbedding(tf_keras.layers.Layer):
    """Tokens and their positions: int [B, N] -> [B, N, width].

    The sum of both is float32, and rounded afterwards.
    """

    def __init__(self, vocab_size, width, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.width = width

    def build(self, shape):
        # flax's default for embeddings, and big_vision's for positions.
        init = lambda: tf_keras.initializers.RandomNormal(
            stddev=1 / math.sqrt(self.width))
        # The published names do not begin with this layer's.
        with tf.name_scope(""):
            self.embedding = self.add_weight(
                "Embed_0/embedding", [self.vocab_size, self.width],
                initializer=init(), experimental_autocast=False)
            self.pos_embedding = self.add_weight(
                "pos_embedding", [1, shape[1], self.width], initializer=init(),
                experimental_autocast=False)

    def call(self, tokens):
        x = lookup(self.embedding, tokens) + self.pos_embedding
        return tf.cast(x, self.compute_dtype)


def lookup(table, ids):
    """Rows of `table` [V, D] for int ids [...]: [..., D].

    The gradient is a dense [V, D], as an optimizer with momentum needs.
    """

    @tf.custom_gradient
    def rows_of(table):

        def gradient(upstream):
            # One token may come thousands of times: too often for the 8 bits of
            # bfloat16 to add up.
            flat = tf.reshape(tf.cast(upstream, tf.float32),
                              [-1, table.shape[1]])
            total = tf.math.unsorted_segment_sum(flat, tf.reshape(ids, [-1]),
                                                 table.shape[0])
            return tf.cast(total, table.dtype)

        return tf.gather(table, ids), gradient

    return rows_of(tf.convert_to_tensor(table))

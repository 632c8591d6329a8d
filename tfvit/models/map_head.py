"""Attention pooling, as SigLIP (arXiv 2303.15343) has it."""

import tensorflow as tf
import tf_keras

from tfvit.models import layers
from tfvit.models import serial


@serial.layer
class MAPHead(tf_keras.layers.Layer):
    """What one learned query finds among the tokens: [B, N, D] -> [B, D].

    "Multihead attention pooling" of arXiv 2106.04560, with the names that
    big_vision's files have.
    """

    def __init__(self, *, num_heads, mlp_dim, activation="gelu_tanh",
                 norm_epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadDotProductAttention(
            num_heads, salt="map_head", name="MultiHeadDotProductAttention_0")
        self.norm = layers.LayerNorm(epsilon=norm_epsilon, name="LayerNorm_0")
        self.mlp = layers.MlpBlock(mlp_dim, salt="map_head/mlp",
                                   activation=activation, name="MlpBlock_0")

    def build(self, shape):
        self.probe = self.add_weight(
            "probe", [1, 1, shape[-1]],
            initializer=layers.xavier_uniform(shape[-1], 1))

    def call(self, x):
        probe = tf.tile(tf.cast(self.probe, x.dtype), [tf.shape(x)[0], 1, 1])
        y = self.attention(x, queries=probe)
        return (y + self.mlp(self.norm(y)))[:, 0]

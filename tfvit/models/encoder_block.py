"""The block that Vision Transformers and text towers are made of."""

import tf_keras

from tfvit.models import layers
from tfvit.models import remat as remat_lib
from tfvit.models import serial


@serial.layer
class EncoderBlock(tf_keras.layers.Layer):
    """Pre-norm Transformer block [B, N, D] -> [B, N, D].

    The sublayers' numbers are those of the published files. `layer_scale` is
    what the factors of both branches start from (arXiv 2103.17239), None for
    no such factors; what else there is, see models.vit.vit.
    """

    def __init__(self, *, num_heads, mlp_dim, dropout_rate=0.0,
                 attention_dropout_rate=0.0, stochastic_depth=0.0, remat=False,
                 activation="gelu_tanh", norm_epsilon=1e-6, layer_scale=None,
                 qk_norm=False, causal=False, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.remat = remat
        self.layer_scale = layer_scale
        self.scales = ()
        self.norm_0 = layers.LayerNorm(epsilon=norm_epsilon, name="LayerNorm_0")
        self.attention = layers.MultiHeadDotProductAttention(
            num_heads, dropout_rate=attention_dropout_rate,
            salt=f"{name}/attention", causal=causal, qk_norm=qk_norm,
            norm_epsilon=norm_epsilon, name="MultiHeadDotProductAttention_1")
        self.dropout = layers.Dropout(dropout_rate, salt=f"{name}/out")
        self.norm_2 = layers.LayerNorm(epsilon=norm_epsilon, name="LayerNorm_2")
        self.mlp = layers.MlpBlock(
            mlp_dim, dropout_rate=dropout_rate, activation=activation,
            salt=f"{name}/mlp", name="MlpBlock_3")
        self.drop_paths = [
            layers.Dropout(stochastic_depth, salt=f"{name}/path/{i}",
                           per_example=True) for i in (0, 1)]

    def build(self, shape):
        if self.layer_scale is not None:
            start = tf_keras.initializers.Constant(self.layer_scale)
            self.scales = [self.add_weight(f"layer_scale_{i}", shape[-1:],
                                           initializer=start) for i in (0, 1)]

    def _scaled(self, y, i):
        return y * self.scales[i] if self.scales else y

    @remat_lib.optional
    def call(self, x, training=False):
        y = self.attention(self.norm_0(x), training=training)
        y = self._scaled(self.dropout(y, training=training), 0)
        x += self.drop_paths[0](y, training=training)
        y = self._scaled(self.mlp(self.norm_2(x), training=training), 1)
        return x + self.drop_paths[1](y, training=training)

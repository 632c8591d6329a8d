"""MLP-Mixer (arXiv 2105.01601)."""

import tensorflow as tf
import tf_keras

from tfvit.models import activations
from tfvit.models import layers
from tfvit.models import remat as remat_lib
from tfvit.models import serial
from tfvit.models import vit


def mixer(*,
          num_classes,
          image_size,
          patch_size,
          width,
          depth,
          tokens_mlp_dim,
          channels_mlp_dim,
          stochastic_depth=0.0,
          head_bias=0.0,
          head_initializer="zeros",
          channels=3,
          activation="gelu_tanh",
          remat=False):
    """Builds an MLP-Mixer.

    Args:
      num_classes: C, or None for a model without head.
      image_size: pixels, an int or (height, width). The token-mixing kernels
        belong to one number of patches: a checkpoint fits its own image size.
      patch_size: pixels, int or pair.
      width: D.
      depth: number of Mixer blocks.
      tokens_mlp_dim: hidden width of the MLPs across patches.
      channels_mlp_dim: hidden width of the MLPs across channels.
      stochastic_depth: probability of dropping a residual branch in the last
        block; it grows linearly from 0 in the first. As in the original, the
        branches that are kept are not scaled up (big_vision mlp_mixer.py).
      head_bias: initial bias of the head; -6.9 for sigmoid loss on ImageNet.
      head_initializer: of the head's kernel.
      channels: of the input images.
      activation: of the MLPs, one of activations.FUNCTIONS.
      remat: see vit.

    Returns:
      A tf_keras.Model from images [B, H, W, channels] in [-1, 1] to float32
      logits [B, C], or to the pooled features [B, D] without classes.

    Raises:
      ValueError: the image is not a whole number of patches.
    """
    activations.check("mixer", activation)
    vit.check_sizes("mixer", image_size=image_size, patch_size=patch_size,
                    width=width, depth=depth, tokens_mlp_dim=tokens_mlp_dim,
                    channels_mlp_dim=channels_mlp_dim)
    size, patch = vit.pair(image_size), vit.pair(patch_size)
    if size[0] % patch[0] or size[1] % patch[1]:
        raise ValueError(f"mixer.image_size={image_size} must be a multiple of "
                         f"mixer.patch_size={patch_size}.")
    images = tf_keras.Input([*size, channels], name="images")
    x = tf_keras.layers.Conv2D(width,
                               patch,
                               strides=patch,
                               kernel_initializer="lecun_normal",
                               name="stem")(images)
    x = tf.reshape(x, [-1, x.shape[1] * x.shape[2], width])  # [B, N, D]
    for i in range(depth):
        x = MixerBlock(tokens_mlp_dim=tokens_mlp_dim,
                       channels_mlp_dim=channels_mlp_dim,
                       activation=activation,
                       stochastic_depth=stochastic_depth * i /
                       max(depth - 1, 1),
                       remat=remat,
                       name=f"MixerBlock_{i}")(x)
    # From here on it is float32, as in the original.
    x = layers.LayerNorm(name="pre_head_layer_norm", dtype="float32")(x)
    x = tf.reduce_mean(x, axis=1)
    x = vit.head(x, num_classes, head_bias, head_initializer)
    return tf_keras.Model(images, x, name="mixer")


@serial.layer
class MixerBlock(tf_keras.layers.Layer):
    """Mixes patches, then channels: [B, N, D] -> [B, N, D]."""

    def __init__(self,
                 *,
                 tokens_mlp_dim,
                 channels_mlp_dim,
                 activation="gelu_tanh",
                 stochastic_depth=0.0,
                 remat=False,
                 name,
                 **kwargs):
        super().__init__(name=name, **kwargs)
        self.remat = remat
        self.norm_0 = layers.LayerNorm(name="LayerNorm_0")
        self.token_mixing = _mlp(tokens_mlp_dim, activation, "token_mixing")
        self.norm_1 = layers.LayerNorm(name="LayerNorm_1")
        self.channel_mixing = _mlp(channels_mlp_dim, activation,
                                   "channel_mixing")
        self.drop_paths = [
            layers.Dropout(stochastic_depth,
                           salt=f"{name}/path/{i}",
                           per_example=True,
                           rescale=False) for i in range(2)
        ]

    @remat_lib.optional
    def call(self, x, training=False):
        y = tf.transpose(self.norm_0(x), [0, 2, 1])  # [B, N, D] -> [B, D, N]
        y = tf.transpose(self.token_mixing(y), [0, 2, 1])
        x += self.drop_paths[0](y, training=training)
        y = self.channel_mixing(self.norm_1(x))
        return x + self.drop_paths[1](y, training=training)


def _mlp(units, activation, name):
    # The salt is for dropout, and Mixer has none.
    return layers.MlpBlock(
        units,
        salt=name,
        activation=activation,
        kernel_initializer=tf_keras.initializers.LecunNormal(),
        bias_initializer=tf_keras.initializers.Zeros(),
        name=name)

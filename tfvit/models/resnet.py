"""Weight-standardised ResNet stem of the hybrid Vision Transformers.

This is Big Transfer's ResNet (arXiv 1912.11370): GroupNorm instead of batch
normalisation, so that training and inference compute the same thing.
"""

import functools

import tensorflow as tf
import tf_keras

from tfvit.models import serial

_GROUPS = 32


def resnet_stem(*, blocks, width_factor=1, norm_epsilon=1e-6,
                variance_epsilon=None):
    """Returns a function that builds the stem: images -> feature map.

    The function goes to `vit.vit(stem=...)`. The root reduces the image 4x and
    each stage after the first 2x; a side that does not divide is rounded up.

    Args:
      blocks: bottleneck units per stage, such as (3, 4, 9); () is the root
        alone.
      width_factor: multiplies the widths; 1 is a root of 64 channels.
      norm_epsilon: of GroupNorm; flax's default, and 1e-5 in timm.
      variance_epsilon: what is added to the variance of kernels, as timm has it
        (1e-8); None for the original, 1e-5 added to their deviation.

    Returns:
      A function from images [B, H, W, c] to features [B, h, w, C], where C is
      64 * width_factor after the root and 256 * width_factor * 2^i after stage
      i, counted from 0.

    Raises:
      ValueError: 64 * width_factor is not a multiple of the 32 groups.
    """
    epsilons = {"norm_epsilon": norm_epsilon,
                "variance_epsilon": variance_epsilon}
    width = int(64 * width_factor)
    if width != 64 * width_factor or width % _GROUPS or not width:
        raise ValueError(
            f"resnet_stem.width_factor={width_factor} makes the root "
            f"{64 * width_factor} channels wide; GroupNorm needs a multiple of "
            f"{_GROUPS}: use a multiple of {_GROUPS / 64}.")

    def stem(images):
        x = StdConv(width, 7, strides=2, variance_epsilon=variance_epsilon,
                    name="conv_root")(images)
        x = tf.nn.relu(GroupNorm(norm_epsilon=norm_epsilon, name="gn_root")(x))
        x = MaxPool(name="pool_root")(x)
        for i, units in enumerate(blocks):
            for j in range(units):
                x = ResidualUnit(width * 2**i,
                                 strides=2 if i and not j else 1,
                                 name=f"block{i + 1}/unit{j + 1}",
                                 **epsilons)(x)
        return x

    return stem


@serial.layer
class MaxPool(tf_keras.layers.Layer):
    """Largest of 3 x 3, every other pixel, of [B, H, W, C] of at least 0.

    As tf.nn.max_pool2d with "SAME", whose gradient XLA does not compile where
    op determinism is on.
    """

    def call(self, x):
        pads = []
        for size in x.shape[1:3]:
            total = 1 + size % 2
            pads.append([total // 2, total - total // 2])
        # Zeros are as good as the smallest number: nothing is below.
        x = tf.pad(x, [[0, 0], *pads, [0, 0]])
        height, width = (size - 2 for size in x.shape[1:3])
        parts = [x[:, row:row + height:2, column:column + width:2]
                 for row in range(3) for column in range(3)]
        return functools.reduce(tf.maximum, parts)


@serial.layer
class StdConv(tf_keras.layers.Layer):
    """Convolution without bias whose kernel is standardised (arXiv 1903.10520).

    Maps [B, H, W, c] to [B, h, w, filters], SAME padding. The kernel's
    statistics are float32, taken from the variable before any cast.
    """

    def __init__(self, filters, size, *, strides=1, variance_epsilon=None,
                 **kwargs):
        super().__init__(**kwargs)
        self.variance_epsilon = variance_epsilon
        self.filters = filters
        self.size = size
        self.strides = strides

    def build(self, shape):
        self.kernel = self.add_weight(
            "kernel", [self.size, self.size, shape[-1], self.filters],
            initializer="lecun_normal",
            experimental_autocast=False)

    def call(self, x):
        kernel = tf.cast(standardize(self.kernel, self.variance_epsilon),
                         x.dtype)
        return tf.nn.conv2d(x, kernel, self.strides, "SAME")


def standardize(kernel, variance_epsilon=None):
    """Kernel [H, W, I, O] with mean 0 and deviation 1 per output channel.

    `variance_epsilon`: see resnet_stem.
    """
    mean, variance = tf.nn.moments(kernel, axes=[0, 1, 2], keepdims=True)
    if variance_epsilon is not None:
        return (kernel - mean) * tf.math.rsqrt(variance + variance_epsilon)
    # The published weights were trained with the epsilon outside the root.
    return (kernel - mean) / (tf.sqrt(variance) + 1e-5)


@serial.layer
class GroupNorm(tf_keras.layers.Layer):
    """Normalises [B, H, W, C] over space and groups of channels, in float32.

    Epsilon 1e-6 is flax's default (flax/linen/normalization.py).
    """

    def __init__(self, *, scale_initializer="ones", norm_epsilon=1e-6,
                 **kwargs):
        super().__init__(**kwargs)
        self.norm_epsilon = norm_epsilon
        self.scale_initializer = scale_initializer

    def build(self, shape):
        self.scale = self.add_weight("scale",
                                     shape[-1:],
                                     initializer=self.scale_initializer,
                                     experimental_autocast=False)
        self.bias = self.add_weight("bias",
                                    shape[-1:],
                                    initializer="zeros",
                                    experimental_autocast=False)

    def call(self, x):
        _, height, width, channels = x.shape
        # [B, H, W, C] -> [B, H * W, groups, C / groups]
        y = tf.reshape(tf.cast(x, tf.float32),
                       [-1, height * width, _GROUPS, channels // _GROUPS])
        mean, variance = tf.nn.moments(y, axes=[1, 3], keepdims=True)
        y = (y - mean) * tf.math.rsqrt(variance + self.norm_epsilon)
        y = tf.reshape(y, [-1, height, width, channels])
        return tf.cast(y * self.scale + self.bias, self.compute_dtype)


@serial.layer
class ResidualUnit(tf_keras.layers.Layer):
    """Bottleneck unit: [B, H, W, c] -> [B, h, w, 4 * width].

    The input is projected where its width changes; only there, in a stage's
    first unit, is the stride ever 2.
    """

    def __init__(self, width, *, strides, norm_epsilon=1e-6,
                 variance_epsilon=None, **kwargs):
        super().__init__(**kwargs)
        self.conv = functools.partial(StdConv,
                                      variance_epsilon=variance_epsilon)
        self.norm = functools.partial(GroupNorm, norm_epsilon=norm_epsilon)
        self.width = width
        self.strides = strides

    def build(self, shape):
        out, strides = 4 * self.width, self.strides
        self.project = shape[-1] != out
        if self.project:
            self.conv_proj = self.conv(out, 1, strides=strides,
                                       name="conv_proj")
            self.gn_proj = self.norm(name="gn_proj")
        self.conv1 = self.conv(self.width, 1, name="conv1")
        self.gn1 = self.norm(name="gn1")
        self.conv2 = self.conv(self.width, 3, strides=strides, name="conv2")
        self.gn2 = self.norm(name="gn2")
        self.conv3 = self.conv(out, 1, name="conv3")
        # Starts as the identity: the residual branch begins at zero.
        self.gn3 = self.norm(scale_initializer="zeros", name="gn3")

    def call(self, x):
        y = tf.nn.relu(self.gn1(self.conv1(x)))
        y = tf.nn.relu(self.gn2(self.conv2(y)))
        y = self.gn3(self.conv3(y))
        if self.project:
            x = self.gn_proj(self.conv_proj(x))
        return tf.nn.relu(x + y)

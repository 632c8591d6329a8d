"""Vision Transformer (arXiv 2010.11929), also on top of a ResNet stem."""

import numbers as numbers_lib

import numpy as np
import tensorflow as tf
import tf_keras

from tfvit.models import activations
from tfvit.models import encoder_block
from tfvit.models import layers
from tfvit.models import map_head
from tfvit.models import tokens

CLASSIFIERS = ("token", "gap", "map", "unpooled", "token_unpooled")


def vit(*, num_classes, image_size, patch_size, width, depth, num_heads,
        mlp_dim, classifier="token", representation_size=None, stem=None,
        posemb="learn", dropout_rate=0.0, attention_dropout_rate=0.0,
        stochastic_depth=0.0, head_bias=0.0, head_initializer="zeros",
        channels=3, activation="gelu_tanh", norm_epsilon=1e-6,
        pre_norm=False, layer_scale=None, qk_norm=False, registers=0,
        norm_pooled=False, remat=False):
    """Builds a Vision Transformer.

    The arguments from `activation` to `norm_pooled` are for models of others
    (timm, CLIP, DINOv2); the papers' models have none of it.

    Args:
      num_classes: C, or None for a model without head.
      image_size: pixels, an int or (height, width).
      patch_size: pixels (feature-map cells after a stem), int or pair.
      width: D, divisible by num_heads.
      depth: number of encoder blocks.
      num_heads: attention heads.
      mlp_dim: hidden width of the MLP blocks.
      classifier: "token" (a class token), "gap" (mean over the patches),
        "map" (attention pooling, as SigLIP has it: map_head.MAPHead),
        "unpooled" (all patches) or "token_unpooled" (class token and patches).
      representation_size: width of the tanh layer `pre_logits` that the
        imagenet21k/ files have before their head, or None.
      stem: callable from images to a feature map, such as
        resnet.resnet_stem(...), or None for plain patches.
      posemb: "learn", or "sincos2d" (constant; the class token gets none).
      dropout_rate: after position embedding, attention and both MLP layers.
      attention_dropout_rate: on the attention weights.
      stochastic_depth: probability of dropping a residual branch in the last
        block; it grows linearly from 0 in the first (arXiv 2106.10270).
      head_bias: initial bias of the head; -10 for sigmoid loss on 21k classes.
      head_initializer: of the head's kernel.
      channels: of the input images.
      activation: of the MLPs, one of activations.FUNCTIONS.
      norm_epsilon: of layer normalisation.
      pre_norm: normalise what the encoder gets, too, as CLIP does.
      layer_scale: initial factor of each residual branch, which is learned
        (arXiv 2103.17239), or None for none.
      qk_norm: normalise queries and keys (arXiv 2302.05442).
      registers: number of further tokens, which the head does not see (arXiv
        2309.16588).
      norm_pooled: normalise the mean of the patches in place of each of them;
        with classifier="gap".
      remat: keep only the encoder blocks' inputs for the backward pass and
        compute the rest again: far less memory, a third more time.

    Returns:
      A tf_keras.Model from images [B, H, W, channels] in [-1, 1] to float32
      logits [B, C] ([B, N, C] unpooled), or to what stands before the head
      where num_classes is None. `model.image_grid` is the patch grid (h, w).

    Raises:
      ValueError: an unknown classifier, posemb or activation, an image smaller
        than a patch, a width that the heads do not divide,
        a size that is no whole number above 0.
    """
    if classifier not in CLASSIFIERS:
        raise ValueError(f"vit.classifier={classifier!r} is not one of "
                         f"{', '.join(CLASSIFIERS)}.")
    if posemb not in ("learn", "sincos2d"):
        raise ValueError(
            f"vit.posemb={posemb!r} is not one of learn, sincos2d.")
    if norm_pooled and classifier != "gap":
        raise ValueError("vit.norm_pooled=True needs classifier='gap', not "
                         f"{classifier!r}.")
    activations.check("vit", activation)
    check_sizes("vit", image_size=image_size, patch_size=patch_size,
                width=width, depth=depth, num_heads=num_heads, mlp_dim=mlp_dim)
    images = tf_keras.Input([*pair(image_size), channels], name="images")
    x = stem(images) if stem else images
    x, grid = _patches(x, patch_size, width, image_size)
    with_token = classifier in ("token", "token_unpooled")
    constant = sincos2d(grid, width) if posemb == "sincos2d" else None
    add_posemb = tokens.PositionEmbedding(constant=constant,
                                          name="Transformer/posembed_input")
    if constant is not None:
        x = add_posemb(x)
    if with_token:
        x = tokens.ClassToken(name="class_token")(x)
    if constant is None:
        x = add_posemb(x)
    if registers:
        x = tokens.Registers(registers, behind=int(with_token),
                             name="registers_tokens")(x)
    x = layers.Dropout(dropout_rate, salt="posembed_input")(x)
    if pre_norm:
        x = layers.LayerNorm(epsilon=norm_epsilon, name="Transformer/pre_norm")(
            x)
    for i in range(depth):
        x = encoder_block.EncoderBlock(
            num_heads=num_heads, mlp_dim=mlp_dim, dropout_rate=dropout_rate,
            attention_dropout_rate=attention_dropout_rate,
            stochastic_depth=stochastic_depth * i / max(depth - 1, 1),
            activation=activation, norm_epsilon=norm_epsilon,
            layer_scale=layer_scale, qk_norm=qk_norm,
            remat=remat, name=f"Transformer/encoderblock_{i}")(x)
    # From here on it is float32, as in the original, and not worth less.
    norm = layers.LayerNorm(epsilon=norm_epsilon, dtype="float32",
                            name="Transformer/encoder_norm")
    x = tf.cast(x, tf.float32) if norm_pooled else norm(x)
    if registers:
        patches = x[:, int(with_token) + registers:]
        x = tf.concat([x[:, :1], patches], 1) if with_token else patches
    if classifier == "token":
        x = x[:, 0]
    elif classifier == "map":
        x = map_head.MAPHead(num_heads=num_heads, mlp_dim=mlp_dim,
                             activation=activation, norm_epsilon=norm_epsilon,
                             dtype="float32", name="MAPHead_0")(x)
    elif classifier == "gap":
        x = tf.reduce_mean(x, axis=1)
        x = norm(x) if norm_pooled else x
    if representation_size:
        x = layers.Dense(representation_size, kernel_initializer="lecun_normal",
                         dtype="float32", name="pre_logits")(x)
        x = tf.tanh(x)
    x = head(x, num_classes, head_bias, head_initializer)
    model = tf_keras.Model(images, x, name="vit")
    model.image_grid = grid
    model.classifier = classifier
    return model


def pair(size):
    """An int as (size, size); a pair as it is."""
    return (size, size) if isinstance(size, int) else tuple(size)


def check_sizes(function, **sizes):
    """Raises ValueError for what is no whole number above 0 (a depth: or 0), or
    a pair of them (image_size, patch_size); names `function` and the value.
    """
    for name, value in sizes.items():
        least = int(name != "depth")
        pairs = name in ("image_size", "patch_size")
        numbers = value if pairs and isinstance(
            value, (list, tuple)) and len(value) == 2 else [value]
        if any(isinstance(n, bool) or n < least if isinstance(
                n, numbers_lib.Integral) else True for n in numbers):
            raise ValueError(f"{function}.{name}={value!r} must be a whole "
                             f"number of at least {least}"
                             f"{', or a pair of them' * pairs}.")


def sincos2d(grid, width, temperature=10_000.0):
    """Fixed 2-D sine-cosine position embeddings, float32 [1, h * w, width].

    As in "Better plain ViT baselines for ImageNet-1k" (arXiv 2205.01580): the
    quarters of a row are sin(x), cos(x), sin(y), cos(y).
    """
    if width % 4 or width < 8:
        raise ValueError(f"posemb='sincos2d' needs a width divisible by 4 and "
                         f"at least 8, not {width}.")
    y, x = np.mgrid[:grid[0], :grid[1]]
    omega = temperature**-np.linspace(0.0, 1.0, width // 4)
    x, y = np.outer(x.ravel(), omega), np.outer(y.ravel(), omega)
    table = np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)
    return table[None].astype(np.float32)


def head(x, num_classes, bias=0.0, kernel_initializer="zeros"):
    """Float32 classifier; x in float32 where num_classes is None."""
    if num_classes is None:
        return tf.cast(x, tf.float32)
    return layers.Dense(num_classes, kernel_initializer=kernel_initializer,
                        bias_initializer=tf_keras.initializers.Constant(bias),
                        dtype="float32", name="head")(x)


def _patches(x, patch_size, width, image_size):
    """Embeds patches: [B, H, W, c] -> [B, h * w, D] and (h, w)."""
    patch = pair(patch_size)
    grid = (x.shape[1] // patch[0], x.shape[2] // patch[1])
    if 0 in grid:
        raise ValueError(f"vit.image_size={image_size} is too small for "
                         f"vit.patch_size={patch_size}: there is no patch.")
    x = tf_keras.layers.Conv2D(width, patch, strides=patch,
                               kernel_initializer="lecun_normal",
                               name="embedding")(x)
    return tf.reshape(x, [-1, grid[0] * grid[1], width]), grid

"""Where a Vision Transformer looks: attention weights, brought to the image."""

import tensorflow as tf
import tf_keras

from tfvit.models import encoder_block


def blocks(model):
    """The encoder blocks of a model, first to last; none of a Mixer."""
    return [layer for layer in model.layers
            if isinstance(layer, encoder_block.EncoderBlock)]


def probe(model):
    """Returns a function from images to the weights of each block.

    The function takes images [B, H, W, c] and returns a list of float32
    [B, heads, N (queries), N (keys)], first block to last.

    Raises:
      ValueError: the model has no attention.
    """
    encoder = _encoder(model)
    inputs = tf_keras.Model(model.inputs, [block.input for block in encoder])
    return lambda images: _weights(
        encoder, tf.nest.flatten(inputs(images, training=False)))


def _encoder(model):
    if not (encoder := blocks(model)):
        raise ValueError(f"The model {model.name!r} has no attention.")
    return encoder


def _weights(encoder, inputs):
    """The weights of each block over its input [B, N, D]."""
    # float32 also where the model computes in bfloat16: outside of a layer's
    # call Keras does not cast its kernels.
    return [
        block.attention.weights_over(tf.cast(block.norm_0(x), tf.float32))
        for block, x in zip(encoder, inputs)
    ]


def maps(model):
    """Returns a function from images to what their patches get.

    The function takes images [B, H, W, c] and returns
      attention: float32 [B, blocks, heads, h, w], what the class token (or
        the mean over all tokens, where there is none) attends to;
      rollout: float32 [B, h, w], attention multiplied through all blocks with
        the residual connection as half of each, mean over heads (Abnar and
        Zuidema, arXiv 2005.00928); sums to 1 together with the class token.
    """
    weights = probe(model)
    h, w = model.image_grid

    def compute(images):
        each = weights(images)
        # [B, blocks, heads, h * w]
        rows = tf.stack([_to_patches(x, h * w) for x in each], axis=1)
        return {
            "attention": tf.reshape(
                rows, [-1, len(each), each[0].shape[1], h, w]),
            "rollout": _rollout(each, h, w),
        }

    return compute


def explained(model):
    """Returns a function from images to what the model makes of them, and why.

    The function takes images [B, H, W, c] and returns (the model's output,
    `rollout` as of `maps`), in one pass.

    Raises:
      ValueError: the model has no attention.
    """
    encoder = _encoder(model)
    both = tf_keras.Model(model.inputs, [
        model.output, *(block.input for block in encoder)])

    def compute(images):
        output, *inputs = both(images, training=False)
        return output, _rollout(_weights(encoder, inputs), *model.image_grid)

    return compute


def _rollout(each, h, w):
    """Weights [B, heads, N, N] of each block -> float32 [B, h, w]."""
    tokens = each[0].shape[-1]
    joint = tf.eye(tokens)
    for layer in each:
        step = (tf.reduce_mean(layer, axis=1) + tf.eye(tokens)) / 2
        joint = tf.matmul(step, tf.broadcast_to(joint, tf.shape(step)))
    return tf.reshape(_to_patches(joint, h * w), [-1, h, w])


def _to_patches(weights, patches):
    """What the patches get: [..., N, N] -> [..., patches]."""
    if weights.shape[-1] == patches:
        return tf.reduce_mean(weights, axis=-2)
    return weights[..., 0, -patches:]  # Registers may stand between.

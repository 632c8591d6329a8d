"""Small LiTs: those of the recordings, and a shallower one."""

import functools

import tensorflow as tf
import tf_keras

from tfvit.models import bert
from tfvit.models import layers
from tfvit.models import lit
from tfvit.models import text_tower
from tfvit.models import vit

# The towers of goldens/lit_*.npz.
IMAGE = functools.partial(vit.vit, image_size=32, patch_size=8, width=24,
                          depth=2, num_heads=3, mlp_dim=48)
SIZES = {"width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 32,
         "vocab_size": 50}
BERT = functools.partial(bert.bert, max_positions=32, **SIZES)
SMALL = functools.partial(text_tower.text_transformer, max_len=8, **SIZES)


def build(*, dropout_rate=0.0, bias_init=None):
    """Images [B, 4, 4, 3] and 3 of 50 tokens, embedded in 8 numbers.

    Two layers a tower: so shallow, it loses nothing of float32 to rounding.
    """
    return lit.lit(image=functools.partial(_image, dropout_rate=dropout_rate),
                   text=functools.partial(_text, dropout_rate=dropout_rate),
                   out_dim=8, bias_init=bias_init)


def _image(num_classes, head_initializer, dropout_rate):
    images = tf_keras.Input([4, 4, 3])
    x = tf_keras.layers.Flatten()(images)
    return tf_keras.Model(images, _tower(x, num_classes, head_initializer,
                                         dropout_rate))


def _text(num_classes, dropout_rate):
    tokens = tf_keras.Input([3], dtype=tf.int32)
    x = text_tower.TokenEmbedding(50, 8, name="tokens_embedding")(tokens)
    return tf_keras.Model(tokens, _tower(
        tf_keras.layers.Flatten()(x), num_classes, "lecun_normal",
        dropout_rate))


def _tower(x, num_classes, initializer, dropout_rate):
    x = layers.Dense(16, kernel_initializer=initializer, name="hidden")(x)
    x = layers.Dropout(dropout_rate, salt="hidden")(tf.nn.tanh(x))
    return layers.Dense(num_classes, kernel_initializer=initializer,
                        name="head")(x)

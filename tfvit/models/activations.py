"""What stands between the two layers of an MLP, by the name in a configuration.
"""

import tensorflow as tf

FUNCTIONS = {
    # flax's default, which all of the published checkpoints were trained with.
    "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    # The exact one, PyTorch's default.
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "quick_gelu": lambda x: x * tf.sigmoid(1.702 * x),  # CLIP, model.py.
}


def check(function, name):
    """Raises ValueError where `function`'s activation is none of FUNCTIONS."""
    if name not in FUNCTIONS:
        raise ValueError(f"{function}.activation={name!r} is not one of "
                         f"{', '.join(FUNCTIONS)}.")


def activate(x, name="gelu_tanh"):
    """One of FUNCTIONS of x; of float16 computed in float32.

    The gradient's x^2 and x^3 are above float16's largest number where x is
    above 256, or 40, and infinity times the slope of tanh, 0, is not a number.
    """
    if x.dtype == tf.float16:
        return tf.cast(activate(tf.cast(x, tf.float32), name), x.dtype)
    return FUNCTIONS[name](x)

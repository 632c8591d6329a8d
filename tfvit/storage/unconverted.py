"""Functions that AutoGraph leaves alone.

It makes of Python's `if` and `for` of tensors what a graph has for them. Others'
functions that a run is made of may need that; ours do not, and converting
them took a fifth of the time until a run's first step.
"""

import tensorflow as tf


def unconverted(function):
    """`function` as TensorFlow is to trace it.

    Args:
      function: anything that is called with tensors.

    Returns:
      The same, with the same arguments, of which AutoGraph converts nothing if
      it is of this package.
    """
    of = getattr(function, "func", function)  # Of a functools.partial.
    if not of.__module__.startswith("tfvit."):
        return function
    return tf.__internal__.decorator.make_decorator(  # Keeps the arguments.
        function, tf.autograph.experimental.do_not_convert(function))

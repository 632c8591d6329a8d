"""Keras saves, loads and clones our layers by the arguments they were made with.
"""

import functools
import inspect

import numpy as np
import tf_keras

from tfvit.storage import unconverted

PACKAGE = "tfvit"  # Registered names are tfvit>Dense, ...


def layer(cls):
    """Makes a layer class one that `.keras`, `.h5` and `clone_model` know.

    Its get_config adds the arguments of __init__ to what Keras has (name,
    dtype, trainable). They may be numbers, texts, arrays, initializers and
    None; initializers and arrays have to be accepted as Keras writes them.
    """
    own = vars(cls).get("__init__")
    signature = inspect.signature(cls.__init__)

    @functools.wraps(cls.__init__)
    def __init__(self, *args, **kwargs):
        # Keras changes the classes above, by whether there is a tf.Graph.
        init = functools.partial(own, self) if own else super(
            cls, self).__init__
        init(*args, **kwargs)
        made_with = signature.bind(self, *args, **kwargs).arguments
        # Past Keras, which would track what is inside as its own.
        vars(self)["_made_with"] = {
            name: value for name, value in made_with.items()
            if signature.parameters[name].kind != inspect.Parameter.VAR_KEYWORD
            and name not in ("self", "name")}

    def get_config(self):
        return {**super(cls, self).get_config(),
                **{name: _plain(value)
                   for name, value in vars(self)["_made_with"].items()}}

    cls.__init__, cls.get_config = __init__, get_config
    if "call" in vars(cls):
        cls.call = unconverted.unconverted(cls.call)
    # What is loaded is built when its model calls it: else Keras would build it
    # twice, and first outside of the scopes that name its variables.
    cls.get_build_config = lambda self: None
    return tf_keras.saving.register_keras_serializable(PACKAGE)(cls)


def _plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tf_keras.initializers.Initializer):
        return tf_keras.initializers.serialize(value)
    return value

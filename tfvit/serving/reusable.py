"""What makes a SavedModel one that others can build on, and train on.

The interface is that of https://www.tensorflow.org/hub/reusable_saved_models,
with the conventions of https://www.tensorflow.org/hub/common_saved_model_apis/images:
images come in [0, 1], and a model of classes gives logits, any other one
features. hub.KerasLayer(path, trainable=True) and tf.saved_model.load(path) take
it.
"""

import tensorflow as tf


class Reusable(tf.__internal__.tracking.AutoTrackable):
    """A callable with the variables of a model.

    Args:
      model: has `variables` and `trainable_variables`.
      call: (images [B, H, W, C] in [-1, 1], training) -> float32 [B, n].
      shape: (H, W, C).
      gives: what the numbers are, "logits" or "features".
    """

    def __init__(self, *, model, call, shape, gives):
        self.gives = gives
        # The variables, not the model: Keras objects would bring along traces
        # of every layer and need tf_keras to load.
        self.variables = list(model.variables)
        self.trainable_variables = list(model.trainable_variables)
        self.regularization_losses = []  # Weight decay is the optimizer's.

        def reused(images, training=False):
            return tf.cast(call(images * 2.0 - 1.0, training), tf.float32)

        self._reused = tf.function(reused, autograph=False)
        self._spec = tf.TensorSpec([None, *shape], tf.float32, "images")

    def make_callable(self):
        """Traces `__call__`, for the SavedModel."""
        for training in (False, True):
            self._reused.get_concrete_function(self._spec, training=training)
        self.__call__ = self._reused

    def __call__(self, images, training=False):
        return self._reused(images, training)

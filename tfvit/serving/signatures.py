"""The functions of a SavedModel: from the bytes of image files to classes.

Everything runs in TensorFlow's standard ops, so a server needs neither tfvit
nor Python. A file that cannot be read costs its own row, never the batch.
"""

import tensorflow as tf
import tf_keras

from tfvit.models import attention
from tfvit.serving import images as images_lib


class Server(tf.Module):
    """Serves one image model.

    Functions that take images preprocess each as evaluation does, then resize
    it where its size is not the model's. They return `error`, string [B]: ""
    or why an image was left out; its other outputs are 0, -1 or "".

    Args:
      model: tf_keras.Model, images [B, H, W, 3] in [-1, 1] -> logits [B, C].
      ops: preprocessing, from an encoded image to [H, W, 3] in [-1, 1].
      class_names: C names.
      top_k: how many of the classes to name.
      link: "softmax" or "sigmoid", what makes probabilities of logits.
      max_pixels: larger images are not decoded.
      jit: compile the model with XLA, once for each batch size it meets.

    Raises:
      ValueError: the model is not of images, the names are not as many as its
        classes, or an op is random.
    """

    def __init__(self, *, model, ops, class_names, top_k=5, link="softmax",
                 max_pixels=50_000_000, jit=False):
        super().__init__(name="tfvit")
        if len(model.inputs) != 1 or len(model.input_shape) != 4:
            raise ValueError(f"The model {model.name!r} takes "
                             f"{model.input_shape}, not one batch of images.")
        # The variables, not the model: Keras objects would bring along traces
        # of every layer and need tf_keras to load.
        self.params = list(model.variables)
        self.image_shape = tuple(model.input_shape[1:])
        self.has_attention = bool(attention.blocks(model))
        self.num_classes = _num_classes(model)
        self._read = images_lib.Reader(ops, self.image_shape, max_pixels)
        self._forward = _forward(model, jit)
        if self.has_attention:
            self._maps = attention.maps(model)
        if self.num_classes is None:
            return
        if len(class_names) != self.num_classes:
            raise ValueError(f"There are {len(class_names)} class names for "
                             f"{self.num_classes} classes.")
        self._class_names = tf.constant([*class_names, ""])
        self._top_k = min(top_k, self.num_classes)
        self._link = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}[link]

    def signatures(self, make=images_lib.signature):
        """{name: concrete function} of what this model can do.

        `make` is images_lib.late for functions that are traced when called.
        """
        encoded = tf.TensorSpec([None], tf.string, "image_bytes")
        images = tf.TensorSpec([None, *self.image_shape], tf.float32, "images")
        pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, "images")
        found = {"features": (self.features, encoded)}
        if self.has_attention:
            found["attention"] = (self.attention, encoded)
        if self.num_classes is not None:
            found["serving_default"] = (self.classify, encoded)
            found["uint8_images"] = (self.classify_pixels, pixels)
            found["images"] = (self.logits, images)
        return {name: make(function, spec)
                for name, (function, spec) in found.items()}

    def warmup_requests(self, size):
        """(signature, inputs) pairs that serve batches of `size` first."""
        encoded = {"image_bytes": [images_lib.grey(self.image_shape)] * size}
        if self.num_classes is None:
            return [("features", encoded)]
        # One number that stands for all: big batches stay small.
        zeros = tf.make_tensor_proto(0.0, shape=[size, *self.image_shape])
        return [("serving_default", encoded), ("images", {"images": zeros})]

    def classify(self, image_bytes):
        """Encoded images [B] -> probabilities and classes (see _answer)."""
        return self._answer(*self.preprocess(image_bytes))

    def classify_pixels(self, images):
        """uint8 images [B, H, W, 3] of any one size -> as classify."""
        return self._answer(*self.preprocess(images))

    def logits(self, images):
        """float32 images [B, H, W, 3] in [-1, 1] -> logits [B, C]."""
        return {"logits": self._forward(images)[1]}

    def features(self, image_bytes):
        """Encoded images [B] -> features [B, D], which the head sees."""
        images, error = self.preprocess(image_bytes)
        return {"features": images_lib.masked(self._forward(images)[0], error),
                "error": error}

    def attention(self, image_bytes):
        """Encoded images [B] -> attention [B, blocks, heads, h, w], rollout."""
        images, error = self.preprocess(image_bytes)
        values = self._maps(images)
        return {**{k: images_lib.masked(v, error) for k, v in values.items()},
                "error": error}

    def _answer(self, images, error):
        """probabilities [B, C]; top k: class_ids, classes, scores [B, k]."""
        probabilities = self._link(self._forward(images)[1])
        scores, ids = tf.math.top_k(probabilities, self._top_k)
        ids = tf.where(images_lib.good(error, 2), ids, -1)
        return {
            "probabilities": images_lib.masked(probabilities, error),
            "scores": images_lib.masked(scores, error),
            "class_ids": ids,
            "classes": tf.gather(self._class_names, ids % (
                self.num_classes + 1)),
            "error": error,
        }

    def preprocess(self, images):
        """See images.Reader."""
        return self._read(images)


def _num_classes(model):
    """C of a model with one row of logits for each image, else None."""
    has_head = any(layer.name == "head" for layer in model.layers)
    return model.output_shape[-1] if (has_head and
                                      len(model.output_shape) == 2) else None


def _forward(model, jit):
    """images -> (what stands before the head, logits), both float32."""
    heads = [layer.input for layer in model.layers if layer.name == "head"]
    both = tf_keras.Model(model.inputs, [*heads, model.output][:1] +
                          [model.output])

    @tf.function(autograph=False, jit_compile=jit)
    def forward(images):
        features, logits = both(images, training=False)
        return tf.cast(features, tf.float32), tf.cast(logits, tf.float32)

    return forward

"""The functions of a SavedModel: from the bytes of image files to classes.

Everything runs in TensorFlow's standard ops, so a server needs neither tfvit
nor Python. A file that cannot be read costs its own row, never the batch.
"""

import tensorflow as tf
import tf_keras

from tfvit.models import attention
from tfvit.serving import convert
from tfvit.serving import formats
from tfvit.serving import images as images_lib
from tfvit.serving import reusable


class Server(reusable.Reusable):
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
      only: names of the signatures to have; none for the usual ones.
      reuse: "logits" or "features", what the SavedModel's call returns. A
        model without classes has features only.

    Raises:
      ValueError: the model is not of images, the names are not as many as its
        classes, or an op is random.
    """

    def __init__(self, *, model, ops, class_names, top_k=5, link="softmax",
                 max_pixels=formats.MAX_PIXELS, jit=False, only=(),
                 reuse="logits"):
        if len(model.inputs) != 1 or len(model.input_shape) != 4:
            raise ValueError(f"The model {model.name!r} takes "
                             f"{model.input_shape}, not one batch of images.")
        self.image_shape = tuple(model.input_shape[1:])
        self.has_attention = bool(attention.blocks(model))
        self.num_classes = _num_classes(model)
        self._read = images_lib.Reader(ops, self.image_shape, max_pixels)
        both = _both(model)
        self._forward = _forward(both, jit)
        self._only = tuple(only)
        which = {"features": 0, "logits": 1}[reuse]
        super().__init__(
            model=model, shape=self.image_shape,
            gives=reuse if self.num_classes else "features",
            call=lambda images, training: both(images, training=training)[
                which])
        if self.has_attention:
            self._maps = attention.maps(model)
            self._explained = lambda: attention.explained(model)
        if self.num_classes is None:
            return
        if len(class_names) != self.num_classes:
            raise ValueError(f"There are {len(class_names)} class names for "
                             f"{self.num_classes} classes.")
        self._class_names = tf.constant([*class_names, ""])
        self._top_k = min(top_k, self.num_classes)
        self.link = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}[link]

    def signatures(self, make=images_lib.signature):
        """{name: concrete function} of what this model can do.

        `examples` and `base64` are there if they are asked for; `make` is
        images_lib.late for functions that are traced when they are called.
        """
        encoded = tf.TensorSpec([None], tf.string, "image_bytes")
        images = tf.TensorSpec([None, *self.image_shape], tf.float32, "images")
        pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, "images")
        examples = tf.TensorSpec([None], tf.string, "examples")
        base64 = tf.TensorSpec([None], tf.string, "image_base64")
        found = {"features": (self.features, encoded)}
        if self.has_attention:
            found["attention"] = (self.attention, encoded)
        if self.num_classes is not None:
            found["serving_default"] = (self.classify, encoded)
            found["top_k"] = (self.top_k, encoded)
            found["uint8_images"] = (self.classify_pixels, pixels)
            found["images"] = (self.logits, images)
        usual = self._only or tuple(found)
        if self.num_classes is not None:
            found["examples"] = (self.classify_examples, examples)
            found["base64"] = (self.classify_base64, base64)
        return {name: make(function, spec)
                for name, (function, spec) in images_lib.chosen(
                    found, usual).items()}

    def parts(self, probabilities=False, rollout=False):
        """{"model": convert.Part}, images -> logits, or else features.

        Args:
          probabilities: of the classes, too, beside the logits.
          rollout: where the model looks, too: see models.attention.maps.

        Raises:
          ValueError: there are no classes to have probabilities.
        """
        classes = self.num_classes is not None
        if probabilities and not classes:
            raise ValueError("--probabilities: this model gives features, and "
                             "has no classes.")

        explained = self._explained() if rollout else None

        def call(images):
            if not classes:
                return {"features": self._forward(images)[0]}
            if rollout:
                return dict(zip(("logits", "rollout"), explained(images)))
            found = {"logits": self._forward(images)[1]}
            if probabilities:
                found["probabilities"] = self.link(found["logits"])
            return found

        return {"model": convert.Part(
            call=call, owner=self, classes=classes, spec=tf.TensorSpec(
                [None, *self.image_shape], tf.float32, "images"))}

    def warmup_requests(self, size):
        """(signature, inputs) pairs that serve batches of `size` first."""
        encoded = {"image_bytes": [images_lib.grey(self.image_shape)] * size}
        # One number that stands for all: big batches stay small.
        zeros = tf.make_tensor_proto(0.0, shape=[size, *self.image_shape])
        requests = {"features": encoded}
        if self.num_classes is not None:
            requests = {"serving_default": encoded, "images": {"images": zeros}}
        return [(name, inputs) for name, inputs in requests.items()
                if not self._only or name in self._only]

    def classify(self, image_bytes):
        """Encoded images [B] -> probabilities and classes (see _answer)."""
        return self._answer(*self.preprocess(image_bytes))

    def top_k(self, image_bytes):
        """As classify, without the probabilities of all classes."""
        found = self.classify(image_bytes)
        del found["probabilities"]
        return found

    def classify_examples(self, examples):
        """tf.train.Examples [B] with "image/encoded" -> as classify."""
        return self._answer(*self._read(examples, images_lib.of_example))

    def classify_base64(self, image_base64):
        """Encoded images [B], those in base64 -> as classify."""
        return self._answer(*self._read(image_base64, images_lib.of_base64))

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
        probabilities = self.link(self._forward(images)[1])
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


def _both(model):
    """images -> (what stands before the head, logits)."""
    heads = [layer.input for layer in model.layers if layer.name == "head"]
    return tf_keras.Model(model.inputs, [*heads, model.output][:1] +
                          [model.output])


def _forward(both, jit):
    """As `both`, in float32."""

    @tf.function(autograph=False, jit_compile=jit)
    def forward(images):
        features, logits = both(images, training=False)
        return tf.cast(features, tf.float32), tf.cast(logits, tf.float32)

    return forward

"""LiT and its like (arXiv 2111.07991): one space for images and texts."""

import contextlib
import math

import tensorflow as tf
import tf_keras

from tfvit.models import serial
from tfvit.models import vit


def lit(*, image, text, out_dim, temperature_init=10.0, bias_init=None):
    """Builds a model of two towers.

    Args:
      image: callable from num_classes= and head_initializer= to a model of
        images, such as vit.vit.
      text: callable from num_classes= to a model of tokens, such as bert.bert.
      out_dim: widths that the two towers' heads project to, (image, text), or
        one for both. None: that tower has no head.
      temperature_init: initial factor of the similarities, above 0.
      bias_init: initial value of what SigLIP's sigmoid loss (arXiv 2303.15343)
        adds to the similarities; None: the model has no bias.

    Returns:
      A LiT, whose variables have the names of the published files: `img/...`,
      `txt/...`, `t` and, with a bias, `b`.

    Raises:
      ValueError: the towers do not end in vectors of one width.
    """
    if temperature_init <= 0:
        raise ValueError(
            f"lit.temperature_init={temperature_init} must be above 0.")
    image_dim, text_dim = vit.pair(out_dim)
    with _prefix("img"):
        # A head of zeros would give all images the same, zero, embedding.
        img = image(num_classes=image_dim, head_initializer="lecun_normal")
    with _prefix("txt"):
        txt = text(num_classes=text_dim)
    shapes = [tuple(tower.output_shape[1:]) for tower in (img, txt)]
    if shapes[0] != shapes[1] or len(shapes[0]) != 1:
        raise ValueError(
            f"lit.out_dim={out_dim}: the image tower ends in {shapes[0]} and "
            f"the text tower in {shapes[1]}; both must end in one vector, of "
            "the same width.")
    return LiT(img, txt, temperature_init, bias_init)


@tf_keras.saving.register_keras_serializable(serial.PACKAGE)
class LiT(tf_keras.Model):
    """Embeds images and texts; `lit` makes it.

    Called with (images [B, H, W, channels], tokens [T, N]) it returns their
    similarities times the temperature, plus the bias: float32 [B, T], logits.

    Attributes:
      img: tf_keras.Model, images [B, H, W, channels] in [-1, 1] -> [B, D].
      txt: tf_keras.Model, int tokens [B, N] -> [B, D].
      t: logarithm of the temperature, [1].
      b: bias, [1], or None.
    """

    def __init__(self, img, txt, temperature_init, bias_init):
        super().__init__(name="lit")
        self._inits = {"temperature_init": temperature_init,
                       "bias_init": bias_init}
        self.img = img
        self.txt = txt
        constant = tf_keras.initializers.Constant
        self.t = self.add_weight("t", [1], dtype=tf.float32,
                                 initializer=constant(
                                     math.log(temperature_init)))
        self.b = None if bias_init is None else self.add_weight(
            "b", [1], dtype=tf.float32, initializer=constant(bias_init))
        self.image_grid = getattr(img, "image_grid", None)

    def call(self, inputs, training=False):
        images, tokens = inputs
        similarities = tf.matmul(self.embed_images(images, training),
                                 self.embed_texts(tokens, training),
                                 transpose_b=True)
        return self.temperature() * similarities + self.bias()

    def get_config(self):
        save = tf_keras.saving.serialize_keras_object
        return {**self._inits, "img": save(self.img), "txt": save(self.txt)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        towers = {}
        for name in ("img", "txt"):
            with _prefix(name):
                towers[name] = tf_keras.saving.deserialize_keras_object(
                    config[name], custom_objects)
        return cls(**{**config, **towers})

    def embed_images(self, images, training=False):
        """Images [B, H, W, channels] in [-1, 1] -> float32 [B, D], length 1."""
        return _normalised(self.img(images, training=training))

    def embed_texts(self, tokens, training=False):
        """Int tokens [B, N] -> float32 [B, D], length 1."""
        return _normalised(self.txt(tokens, training=training))

    def temperature(self):
        """What similarities are multiplied by, float32 []."""
        return tf.exp(self.t[0])

    def bias(self):
        """What is added to them then, float32 []; 0 without bias."""
        return tf.constant(0.0) if self.b is None else tf.identity(self.b[0])


def _normalised(x):
    return x / (tf.norm(x, axis=-1, keepdims=True) + 1e-8)


@contextlib.contextmanager
def _prefix(prefix):
    """Variables made inside get `prefix`/ before their whole name."""

    def create(next_creator, **kwargs):
        scope = f"{tf.get_current_name_scope()}/".removeprefix(f"{prefix}/")
        # The slash at the end makes it the whole scope.
        with tf.name_scope(f"{prefix}/{scope.lstrip('/')}"):
            return next_creator(**kwargs)

    # In a tf.Graph layers inherit the scope, and the towers' heads would get
    # one name without it; eagerly they do not.
    with tf.name_scope(f"{prefix}/"), tf.variable_creator_scope(create):
        yield

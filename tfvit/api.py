"""Models for Python programs and notebooks: load, build, what to do with them.

No flags, no files of gin, and nothing global: several models, made in several
threads, do not know of each other.
"""

from collections.abc import Iterable
import os

import numpy as np
import tensorflow as tf
import tf_keras

from tfvit import config
from tfvit import experiment
from tfvit.data import prompts as prompts_lib
from tfvit.data.images import decoding
from tfvit.inference import finished
from tfvit.inference import image_files
from tfvit.models import lit
from tfvit.serving import images as serving_images
from tfvit.weights import load as load_lib

_PROMPTS = prompts_lib.clip_best


class Model:
    """A finished model with its preprocessing and its class names.

    Wherever methods take `images` they take one image or a list of images, each
    a path, the bytes of a file, a PIL image or an array uint8 [H, W, 3] (also
    [B, H, W, 3] for all), of any sizes. What cannot be read is a ValueError
    that says which and why.

    Attributes:
      keras: tf_keras.Model, float32 images [B, H, W, 3] in [-1, 1] -> logits
        [B, C]; or a models.lit.LiT.
      class_names: of the C classes; [] of a LiT.
      card: {"name", "parameters", "input_size": (H, W), "step", "precision",
        "preprocessing", ...} of the model.
    """

    def __init__(self, trained):
        self.keras = trained.model
        self.class_names = list(trained.class_names)
        image_model = getattr(trained.model, "img", trained.model)
        self.card = {
            **trained.record(), "name": trained.name,
            "parameters": int(sum(np.prod(v.shape)
                                  for v in trained.model.weights)),
            "input_size": tuple(image_model.input_shape[1:3]),
        }
        # Traced now: later the configuration may be another model's.
        server = trained.server(top_k=max(len(self.class_names), 1))
        self._signatures = server.signatures()
        self._preprocess = serving_images.signature(
            server.preprocess, tf.TensorSpec([None], tf.string))

    def preprocess(self, images):
        """Returns what `keras` takes: float32 [B, H, W, 3] in [-1, 1]."""
        files, names = _files(images)
        pixels, error = self._preprocess(tf.constant(files))
        _check(error.numpy(), names)
        return pixels.numpy()

    def predict(self, images, top_k=5):
        """[[(class name, score), ...], ...]: the best of each image first.

        Scores are probabilities, of a softmax or, where the model was trained
        so, of a sigmoid for each class.

        Raises:
          ValueError: the model has no classes (see zeroshot).
        """
        out = self._call("serving_default", images)
        return [[(name.decode(), float(score)) for name, score in
                 zip(names[:top_k], scores[:top_k])]
                for names, scores in zip(out["classes"], out["scores"])]

    def features(self, images):
        """What the head sees, or a LiT's embeddings: float32 [B, D]."""
        if "embed_images" in self._signatures:
            return self._call("embed_images", images)["embeddings"]
        return self._call("features", images)["features"]

    def attention(self, images):
        """{"attention": [B, blocks, heads, h, w], "rollout": [B, h, w]}.

        See models.attention.maps.
        """
        out = self._call("attention", images)
        return {name: out[name] for name in ("attention", "rollout")}

    def zeroshot(self, images, texts, prompts=_PROMPTS):
        """Probabilities of class names given as texts, float32 [B, T].

        Args:
          images: see the class.
          texts: T names of classes.
          prompts: templates for them, such as ["a photo of a {}"]; see
            data.prompts, which has CLIP's.

        Raises:
          ValueError: the model knows no texts.
        """
        if not isinstance(self.keras, lit.LiT):
            raise ValueError(f"{self.card['name']} knows no texts, only its "
                             "classes: use predict.")
        classify = finished.zeroshot(self._signatures, list(texts),
                                     prompts=prompts)
        files, names = _files(images)
        out = classify(image_bytes=tf.constant(files))
        _check(out["error"].numpy(), names)
        return out["probabilities"].numpy()

    def _call(self, name, images):
        if name not in self._signatures:
            raise ValueError(f"{self.card['name']} has no {name}, only: "
                             f"{', '.join(sorted(self._signatures))}.")
        files, names = _files(images)
        out = self._signatures[name](image_bytes=tf.constant(files))
        _check(out["error"].numpy(), names)
        return {key: value.numpy() for key, value in out.items()}


def load(name, *, checkpoint="last", labels=None, precision=None, bindings=()):
    """Loads a finished model.

    Args:
      name: directory of a run, path or URL of an .npz file, or a name of the
        catalogue, such as "imagenet21k+imagenet2012/ViT-B_16-224".
      checkpoint: "last", "best" or a step, of a run.
      labels: file of class names, "imagenet2012" or "imagenet21k"; None for
        those that belong to the model.
      precision: "float32", "mixed_bfloat16", ...; None for the run's.
      bindings: gin bindings that change the model's configuration.

    Returns:
      A Model.

    Raises:
      ValueError, OSError: it cannot be loaded; says why, and the way out.
    """
    with config.isolated():
        return Model(finished.load(
            os.fspath(name), checkpoint=checkpoint, labels=labels,
            precision=precision, overrides=((), bindings)))


def build(name, *, num_classes, image_size=224, weights=None, **settings):
    """Builds the Keras model of a file in gin/models.

    Args:
      name: such as "b16", "r50_l32", "mixer_b16" (`tfvit models`).
      num_classes: C; the head starts at zero.
      image_size: pixels, an int or (height, width).
      weights: what load.from_npz takes, loaded for fine-tuning: without its
        head, position embeddings fitted to the image size. Or "augreg", the
        recommended file of that architecture. None: at random.
      **settings: other arguments of the model's function, such as
        dropout_rate=0.1.

    Returns:
      A tf_keras.Model, images [B, H, W, 3] in [-1, 1] -> logits [B, C].
    """
    file = f"gin/models/{name}.gin"
    macros = {"NUM_CLASSES": num_classes, "IMAGE_SIZE": image_size}
    with config.isolated():
        config.parse([file], [f"{key} = {value!r}"
                              for key, value in macros.items()])
        make = config.bound("experiment.Experiment.model")
        model = make(**settings)
    if weights is not None:
        if weights == "augreg":
            weights = f"augreg/{architecture(name)}"
        load_lib.from_npz(model, path=weights)
    return model

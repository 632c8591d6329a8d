"""Models for Python programs: find them, build them, load them, use them."""

import fnmatch

import numpy as np
import tensorflow as tf

from tfvit import config
from tfvit.api import pictures
from tfvit.api import words
from tfvit.data import prompts as prompts_lib
from tfvit.engine import checkpoint as checkpoint_lib
from tfvit.finetuning import start
from tfvit.inference import finished
from tfvit.reproduction import ledger
from tfvit.serving import images as images_lib
from tfvit.weights import catalogue
from tfvit.weights import fetch
from tfvit.weights import hub
from tfvit.weights import load as load_lib

_BATCH = 32  # Images at a time.
_FOLDER = "gin/models"
_LACKS = {  # Signatures, and what to say where a model has none.
    "serving_default": "has no classes of its own: use features(images), or, "
                       "of a LiT, zeroshot(images, texts).",
    "embed_texts": "knows no texts: zero-shot needs a LiT, such as "
                   "lit/LiT-B16B.",
    "attention": "has no attention of one query for each patch to show."}


class Model:
    """A finished model with its preprocessing and its class names.

    Wherever methods take `images` they take one or a list of: a path, the bytes
    of a file, a PIL image, an array uint8 [H, W, 3] (or one [B, H, W, 3]), of
    any sizes. What cannot be read is a ValueError that says which and why.

    Attributes:
      keras: tf_keras.Model, float32 images [B, H, W, 3] in [-1, 1] -> logits
        [B, C]; or a models.lit.LiT.
      class_names: of the C classes; [] of a LiT.
      config: the gin config of the model, as text.
      card: {"name", "source", "parameters", "input_size": (H, W), "step",
        "precision", "link", "preprocessing", ...}; of a file of the catalogue
        also "licence", "paper" and "published": what it was measured to reach,
        on what, by whom.
    """

    def __init__(self, trained, own):
        """Made by load.

        Args:
          trained: an inference.finished.Trained.
          own: see config.isolated.
        """
        self.keras = trained.model
        self.class_names = list(trained.class_names)
        self.config = trained.config
        image_model = getattr(trained.model, "img", trained.model)
        record = trained.record()
        self.card = {
            "name": record.pop("model"), **record,
            "parameters": int(sum(np.prod(v.shape)
                                  for v in trained.model.weights)),
            "input_size": tuple(image_model.input_shape[1:3]),
        }
        self._trained, self._own = trained, own
        options = {} if trained.tokenizer else {
            "top_k": max(len(self.class_names), 1)}
        self._server = trained.server(**options)
        self._signatures = self._server.signatures(images_lib.late)

    def __repr__(self):
        return (f"<tfvit.Model {self.card['name']}: "
                f"{self.card['parameters']:,} parameters>")

    @words.of_python()
    def preprocess(self, images):
        """Returns what `keras` takes: float32 [B, H, W, 3] in [-1, 1]."""
        def prepare(image_bytes):
            pixels, error = self._server.preprocess(image_bytes)
            return {"pixels": pixels, "error": error}

        return self._map(prepare, images)["pixels"]

    @words.of_python()
    def predict(self, images, top_k=5):
        """[[(class name, score), ...], ...]: each image's best (None: all).

        Scores are probabilities, of a softmax or, where the model was trained
        so, of a sigmoid for each class.

        Raises:
          ValueError: the model has no classes (see zeroshot).
        """
        top_k = words.count("top_k", top_k) or len(self.class_names)
        found = self._map(self._signature("serving_default"), images)
        return [[(name.decode(), float(score)) for name, score in
                 zip(names[:top_k], scores[:top_k])]
                for names, scores in zip(found["classes"], found["scores"])]

    @words.of_python()
    def features(self, images):
        """What the head sees, or a LiT's embeddings: float32 [B, D]."""
        if "embed_images" in self._signatures:
            return self._map(self._signature("embed_images"),
                             images)["embeddings"]
        return self._map(self._signature("features"), images)["features"]

    @words.of_python()
    def attention(self, images):
        """{"attention": [B, blocks, heads, h, w], "rollout": [B, h, w]}.

        See models.attention.maps.
        """
        found = self._map(self._signature("attention"), images)
        return {name: found[name] for name in ("attention", "rollout")}

    @words.of_python()
    def embed_texts(self, texts):
        """Embeddings of texts by a LiT, float32 [T, D], of length 1."""
        embed = self._signature("embed_texts")
        with config.isolated(self._own):
            return embed(texts=tf.constant(words.texts("texts", texts, 1)))[
                "embeddings"].numpy()

    @words.of_python()
    def zeroshot(self, images, texts, prompts=None):
        """Probabilities of class names given as texts, float32 [B, T].

        Args:
          images: see the class.
          texts: T names of classes.
          prompts: templates for them, such as ["a photo of a {}"]; None for
            CLIP's best, data.prompts.clip_best.

        Raises:
          ValueError: the model knows no texts.
        """
        self._signature("embed_texts")
        with config.isolated(self._own):
            classify = finished.zeroshot(
                self._signatures, words.texts("texts", texts, 1),
                prompts=words.texts("prompts", prompts_lib.clip_best if
                                    prompts is None else prompts))
        return self._map(classify, images)["probabilities"]

    @words.of_python()
    def export(self, out, **options):
        """Writes OUT/VERSION/, a SavedModel for TensorFlow Serving.

        Args:
          out: folder of the versions.
          **options: see inference.finished.Trained.export.

        Returns:
          The version's folder.
        """
        with config.isolated(self._own):
            return self._trained.export(words.path("out", out), **options)[0]

    def _signature(self, name):
        if name not in self._signatures:
            raise ValueError(f"{self.card['name']} {_LACKS[name]}")
        return self._signatures[name]

    def _map(self, function, images):
        """{name: array [B, ...]} of a function of image_bytes, on images."""
        found = pictures.encoded(images)
        if not found:
            raise ValueError("There are no images.")
        parts = []
        for begin in range(0, len(found), _BATCH):
            names, contents = zip(*found[begin:begin + _BATCH])
            with config.isolated(self._own):
                values = function(image_bytes=tf.constant(contents))
            values = {name: value.numpy() for name, value in values.items()}
            for name, error in zip(names, values.pop("error")):
                if error:
                    raise ValueError(f"{name}: {error.decode()}")
            parts.append(values)
        return {name: np.concatenate([part[name] for part in parts])
                for name in parts[0]}


@words.of_python()
def load(name, *, checkpoint="last", labels=None, precision=None, bindings=(),
         trust=False):
    """Loads a finished model.

    Args:
      name: directory of a run, path or URL of an .npz file, or one of
        list_checkpoints(), such as "imagenet21k+imagenet2012/ViT-B_16-224".
      checkpoint: "last", "best" or a step, of a run.
      labels: file of class names, "imagenet2012" or "imagenet21k"; None for
        those that belong to the model.
      precision: "float32", "mixed_bfloat16", ...; None for the run's.
      bindings: gin bindings that change the model's configuration, such as
        "IMAGE_SIZE = 384".
      trust: whether a run's config may name what is not tfvit's own.

    Returns:
      A Model.

    Raises:
      ValueError, OSError: it cannot be loaded; says why, and the way out.
    """
    name = words.path("name", name)
    labels = labels and words.path("labels", labels)
    own = {}
    with config.isolated(own):
        model = Model(finished.load(
            name, checkpoint=checkpoint, labels=labels, precision=precision,
            overrides=((), words.texts("bindings", bindings)), trust=trust),
            own)
    model.card |= ledger.card(name)
    model.card["source"] = fetch.catalogue_url(name) or name
    return model


@words.of_python(model="name")
def build(name, *, num_classes, image_size=224, weights=None, reset_head=True,
          **settings):
    """Builds the Keras model of a file in gin/models.

    Args:
      name: one of list_models(), such as "b16", "r50_l32", "mixer_b16"; also as
        papers write them: "B/16", "R50_L_32".
      num_classes: C; the head starts at zero. None for what stands before it.
      image_size: pixels, an int or (height, width).
      weights: what to start from: a collection of list_checkpoints(), such as
        "augreg" (of which this takes the recommended file of the architecture)
        or "imagenet21k"; the name of one of its checkpoints; the path or URL of
        an .npz file; or the directory of a run. Position embeddings are fitted
        to the image size. None: at random.
      reset_head: whether the head stays as it is initialised.
      **settings: other arguments of the model's function, such as
        dropout_rate=0.1 (models.vit.vit, models.mixer.mixer).

    Returns:
      A tf_keras.Model, images [B, H, W, 3] in [-1, 1] -> logits [B, C].

    Raises:
      ValueError, OSError: there is no such model, or the weights cannot be
        loaded; says why, and the way out.
    """
    num_classes = words.count("num_classes", num_classes)
    stem = start.stem_of(words.path("name", name))
    # Before the model, which takes memory, is made.
    path = weights and published(stem, words.path("weights", weights))
    with config.isolated():
        config.parse([f"{_FOLDER}/{stem}.gin"],
                     [f"NUM_CLASSES = {num_classes}",
                      f"IMAGE_SIZE = {_number(image_size)!r}"])
        try:
            model = config.bound("experiment.Experiment.model"
                                 ).scoped_configurable_fn(**settings)
        except TypeError as error:
            raise ValueError(f"tfvit.build({name!r}): "
                             f"{str(error).splitlines()[0]}") from error
    if path:
        is_run = tf.io.gfile.isdir(path) and not hub.is_folder(path)
        assign = checkpoint_lib.from_run if is_run else load_lib.from_npz
        assign(model, path=path, reset_head=reset_head)
    return model


def list_models(pattern="*"):
    """Names that build takes, "b16" ...; `pattern` as of a shell: "r*"."""
    return fnmatch.filter(start.stems(), pattern)


def list_checkpoints(pattern="*"):
    """Names of published files that load and build take, "augreg/B_16" ..."""
    return fnmatch.filter(catalogue.names(), pattern)


def published(stem, weights):
    """The name of a collection's file for a model; else `weights` as it is."""
    if weights not in catalogue.FILES:
        return weights
    fitting = [name for name in list_checkpoints(f"{weights}/*")
               if catalogue.model(name) == stem]
    if not fitting:
        there = dict.fromkeys(name.split("/")[0] for name in list_checkpoints()
                              if catalogue.model(name) == stem)
        raise ValueError(f"weights={weights!r} has no {stem}; " + (
            f"there is one in {', '.join(there)}." if there else
            "there are no published weights of it."))
    return fitting[0]


def _number(value):
    """Without NumPy's kinds of numbers, and lists, which gin cannot have."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_number, value))
    return value.item() if isinstance(value, np.generic) else value

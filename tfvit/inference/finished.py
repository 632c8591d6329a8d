"""A finished model, from a run's directory or a published checkpoint's name."""

from collections.abc import Callable
import dataclasses
import functools
import os
import re

from absl import logging
import numpy as np
import tensorflow as tf
import tf_keras

from tfvit import config as config_lib
from tfvit import experiment
from tfvit.data import class_names as class_names_lib
from tfvit.data import prompts as prompts_lib
from tfvit.data import tokenizers  # noqa: F401, loads exported ones' ops.
from tfvit.data.images import decoding
from tfvit.engine import build
from tfvit.engine import checkpoint as checkpoint_lib
from tfvit.inference import naming
from tfvit.inference import preprocessing
from tfvit.inference import published_run
from tfvit.models import lit
from tfvit.serving import images as images_lib
from tfvit.serving import lit_signatures as lit_server
from tfvit.serving import saved
from tfvit.serving import signatures as signatures_lib
from tfvit.storage import files
from tfvit.weights import hub
from tfvit.weights import sidecar

_TEXTS = 256  # Embedded at a time.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What is needed to use a model.

    Attributes:
      name: of the directory or checkpoint.
      model: tf_keras.Model, images [B, H, W, 3] in [-1, 1] -> logits [B, C];
        or a models.lit.LiT.
      step: of the checkpoint; 0 of published ones.
      ops: evaluation's preprocessing, from an encoded image to [H, W, 3].
      class_names: of the C classes; [] of a LiT.
      link: "softmax" or "sigmoid", as the loss has it.
      config: the gin config as text.
      precision: of the computations.
      tokenizer: of a LiT, one of data.tokenizers; else None.
      evaluations: settings of its evaluators, see config.settings.
    """
    name: str
    model: tf_keras.Model
    step: int
    ops: list
    class_names: list
    link: str
    config: str
    precision: str
    tokenizer: Callable | None = None
    evaluations: tuple = ()

    def server(self, *, top_k=5, reuse="logits", **options):
        """A signatures.Server or lit_signatures.Server, which have options."""
        if self.tokenizer:
            return lit_server.Server(model=self.model, ops=self.ops,
                                     tokenizer=self.tokenizer, **options)
        return signatures_lib.Server(model=self.model, ops=self.ops, top_k=top_k,
                            class_names=self.class_names, link=self.link,
                            reuse=reuse, **options)

    def export(self, out, *, name=None, warmup=(1, 2, 4, 8), **options):
        """Writes OUT/VERSION/, a SavedModel for TensorFlow Serving.

        Args:
          out: folder of the versions; may be gs://.
          name: the model's on the server; None for that of `out`.
          warmup: batch sizes that a server is to warm up.
          **options: of signatures.Server, as `server` takes them.

        Returns:
          (the version's folder, the model's name on the server).
        """
        # TensorFlow Serving finds the files by it, and takes it for a pattern.
        name = re.sub(r"[^\w.-]", "_", name or os.path.basename(
            os.path.abspath(out)))
        made = {option: options[option] for option in ("jit", "max_pixels")
                if option in options}
        return saved.write(
            self.server(**options), out=out, step=self.step,
            class_names=self.class_names, config=self.config,
            record={**self.record(), **made}, model_name=name,
            warmup_batches=warmup), name

    def record(self):
        """What an export notes about its model, for JSON."""
        return {
            "model": self.name,
            "step": self.step,
            "precision": self.precision,
            "link": self.link,
            **preprocessing.record(self.ops),
        }


def load(where, *, checkpoint="last", labels=None, precision=None,
         overrides=((), ()), trust=False):
    """Builds a model and loads its weights.

    Args:
      where: a run's directory, or anything that load.from_npz takes, such as
        imagenet21k+imagenet2012/ViT-B_16-224 or hf:google/vit-base-patch16-224.
      checkpoint: "last", "best" or a step; of a run.
      labels: file of class names, or "imagenet2012" or "imagenet21k". None:
        the run's labels.txt, those beside an .npz (weights.sidecar), those of
        the catalogue's files, else numbers.
      precision: see experiment.Experiment; None for the run's.
      overrides: (gin files, bindings) that change its config.
      trust: whether a run's config may name what is not tfvit's own.

    Raises:
      ValueError, OSError: it cannot be loaded, says why.
    """
    where = os.path.expanduser(where)
    is_run = tf.io.gfile.isdir(where) and not hub.is_folder(where)
    if is_run:
        exp, config = experiment.of_run(where, overrides, trust=trust)
    else:
        exp, config = published_run.experiment_of(where, overrides)
    if precision:
        exp = dataclasses.replace(exp, precision=precision)
    run = build.build(exp, strategy=tf.distribute.get_strategy(),
                      training=False)
    model = run.model
    if is_run:
        step = checkpoint_lib.restore_for_inference(where, run.weights,
                                                    checkpoint)
    else:
        exp.init(model)
        step = 0
    common = {
        "name": os.path.basename(os.path.normpath(where)), "model": model,
        "step": step, "config": config, "precision": exp.precision,
        "evaluations": tuple(map(config_lib.settings, exp.evaluators.values())),
    }
    if isinstance(model, lit.LiT):
        evaluator = preprocessing.evaluator(exp, model)
        return Trained(
            **common, ops=evaluator.ops, class_names=[],
            tokenizer=evaluator.tokenizer,
            link="softmax" if model.b is None else "sigmoid")
    num_classes = model.output_shape[-1]
    return Trained(
        **common, ops=preprocessing.ops(exp, model),
        class_names=naming.class_names(where, is_run, labels, num_classes),
        link=naming.link(exp))


def facts(exp, model, workdir):
    """What weights.sidecar says of the model of a run."""
    image_model = getattr(model, "img", model)
    known = {"image_size": image_model.input_shape[1:3],
             "patch_grid": getattr(image_model, "image_grid", None)}
    if image_model is model:
        known["link"] = naming.link(exp)
        known["architecture"] = _architecture(exp)
        path = os.path.join(workdir, "labels.txt")
        if tf.io.gfile.exists(path):
            known["class_names"] = class_names_lib.read(path)
    try:
        ops = preprocessing.evaluator(exp, model).ops
    except ValueError as error:  # It is not needed for the weights.
        logging.warning("The preprocessing is not noted: %s", error)
    else:
        known["preprocessing"] = [decoding.op_name(op) for op in ops]
        for op in ops:
            if decoding.op_name(op) == "decode":
                known["upright"] = config_lib.settings(op).get("upright", False)
        known["value_range"] = preprocessing.value_range(ops)
    return {name: value for name, value in known.items()
            if value not in (None, [])}


def _architecture(exp):
    """{gin name: value} of the model, or None where it is not of plain values.
    """
    last = decoding.op_name(exp.model)
    function = next((name for name in sidecar.ARCHITECTURES
                     if name.endswith(f".{last}")), None)
    settings = config_lib.settings(exp.model)
    if function is None or not all(map(sidecar.is_plain, settings.values())):
        return None
    return {f"{function}.{name}": value
            for name, value in sorted(settings.items())}


def signatures(where, **options):
    """{name: function of the signature} of a model.

    A model of images and texts has "features", too: the images' embeddings.

    Args:
      where: a SavedModel, a folder of versions (the newest counts), or what
        load takes.
      **options: for load; of no effect on a SavedModel.
    """
    found = _signatures(where, options)
    if embed := found.get("embed_images"):
        def features(image_bytes):
            values = embed(image_bytes=image_bytes)
            return {"features": values["embeddings"], "error": values["error"]}

        found["features"] = features
    return found


def _signatures(where, options):
    where = os.path.expanduser(where)
    for folder in [where, *(os.path.join(where, str(version))
                            for version in reversed(saved.versions(where)))]:
        if tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
            logging.info("Loading %s.", folder)
            with files.plain(folder) as readable:
                model = tf.saved_model.load(readable)
            # Through the model, without which the functions lose its variables.
            return {name: functools.partial(_call, model, name)
                    for name in model.signatures}
    return load(where, **options).server().signatures(images_lib.late)


def _call(model, name, **inputs):
    return model.signatures[name](**inputs)


def zeroshot(functions, class_names, *, prompts, top_k=5):
    """Makes a classifier out of a model of images and texts.

    A class is the mean of its prompts' embeddings, scaled to length 1.

    Args:
      functions: signatures of such a model.
      class_names: what the images may show.
      prompts: templates, such as those of data.prompts.
      top_k: how many of the classes to name.

    Returns:
      A function that takes image_bytes, as the signature serving_default of a
      classifier does, and returns the same.

    Raises:
      ValueError: the model has no texts, or see prompts.texts.
    """
    if "embed_texts" not in functions:
        raise ValueError("The model has no texts, only fixed classes: zero-"
                         "shot classification needs a LiT, such as "
                         "lit/LiT-B16B.")
    texts = prompts_lib.texts(class_names, prompts)
    flat = sum(texts, [])
    z = np.concatenate([
        functions["embed_texts"](texts=tf.constant(
            flat[begin:begin + _TEXTS]))["embeddings"].numpy()
        for begin in range(0, len(flat), _TEXTS)])
    z = z.reshape(len(texts), len(prompts), -1).mean(axis=1)
    z = tf.constant(z / (np.linalg.norm(z, axis=1, keepdims=True) + 1e-8))
    names = np.array([name.encode() for name in class_names])

    def classify(image_bytes):
        found = functions["zeroshot_embedded"](image_bytes=image_bytes,
                                               text_embeddings=z)
        scores, ids = tf.math.top_k(found["probabilities"],
                                    min(top_k, len(names)))
        return {**found, "scores": scores, "class_ids": ids,
                "classes": tf.gather(names, ids)}

    return classify

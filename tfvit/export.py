"""Exports a run, or a published checkpoint, for serving:

    python -m tfvit.export --workdir=runs/b16_cifar10 --out=exports/b16
    python -m tfvit.export --npz=imagenet21k+imagenet2012/ViT-B_16-224 \
        --out=exports/b16

writes exports/b16/VERSION/, a SavedModel for TensorFlow Serving, and prints how
to serve it. VERSION is the checkpoint's step, or the next free number. With
--format=tflite, tflite_float16, tflite_int8 or onnx it is the model alone, from
preprocessed images to logits, compared with the original on --samples.

Photos are turned by their EXIF orientation where the run's evaluation does it
(ops.decode.upright); those for a published checkpoint are, but for
--gin_bindings="ops.decode.upright = False".

    python -m tfvit.export --npz=lit/LiT-B16B --out=exports/lit

A model of images and texts embeds both, and says which text goes with an image.
"""

import functools
import json
import os

from absl import app
from absl import flags
import numpy as np
import tensorflow as tf

from tfvit import experiment
from tfvit import launch
from tfvit.inference import finished
from tfvit.inference import image_files
from tfvit.serving import convert
from tfvit.serving import saved

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best or a step.")
_NPZ = flags.DEFINE_string(
    "npz", None, "Instead of --workdir: path, URL or catalogue name of a file.")
_OUT = flags.DEFINE_string("out", None, "Folder of the versions; may be gs://.")
_NAME = flags.DEFINE_string(
    "name", None, "The model's name on the server (default: that of --out).")
_TOP_K = flags.DEFINE_integer("top_k", 5, "How many classes to name.",
                              lower_bound=1)
_LABELS = flags.DEFINE_string(
    "labels", None, "File of class names, imagenet2012 or imagenet21k.")
_WARMUP = flags.DEFINE_multi_integer(
    "warmup", [1, 8], "Batch size to warm up; repeat for more; 0 for none.",
    lower_bound=0)
_PRECISION = flags.DEFINE_enum(
    "precision", None, experiment.PRECISIONS, "Default: that of the run.")
_JIT = flags.DEFINE_bool(
    "jit", False, "Compile with XLA, anew for each batch size.")
_FORMAT = flags.DEFINE_enum(
    "format", "savedmodel", ("savedmodel", *convert.FORMATS), "What to write.")
_SAMPLES = flags.DEFINE_multi_string(
    "samples", [], "Images, folders or patterns: to compare other formats on, "
    "and to find the ranges of tflite_int8, which needs about 100.")
_MAX_SAMPLES = 200


def main(words):
    if words:
        raise app.UsageError(f"Unexpected arguments: {words}")
    where = _NPZ.value or launch.workdir()
    load = functools.partial(finished.load, where, labels=_LABELS.value,
                             checkpoint=_CHECKPOINT.value,
                             overrides=launch.overrides())
    if _FORMAT.value == "savedmodel":
        _export_saved_model(load(precision=_PRECISION.value))
    else:
        _export_file(load(precision="float32"))


def _export_file(trained):
    if trained.tokenizer:
        raise ValueError(f"--format={_FORMAT.value} is for models of images "
                         "alone: export this one, of images and texts, as "
                         "--format=savedmodel.")
    server = trained.server()
    data, report = convert.convert(server, _FORMAT.value, _samples(server))
    path = saved.write_file(
        data, kind=_FORMAT.value, out=_OUT.value, step=trained.step,
        class_names=trained.class_names, config=trained.config,
        record={**trained.record(), _FORMAT.value: report})
    print(f"Wrote {path}\nAgainst the original: {json.dumps(report)}")


def _samples(server):
    """Images of --samples, or else noise: float32 [N, H, W, 3] in [-1, 1]."""
    if not _SAMPLES.value:
        if _FORMAT.value == "tflite_int8":
            raise ValueError("--format=tflite_int8 needs --samples=FOLDER with "
                             "about 100 images as the model will see.")
        rng = np.random.default_rng(0)
        return rng.uniform(-1, 1, [4, *server.image_shape]).astype(np.float32)
    files = image_files.find(_SAMPLES.value)[:_MAX_SAMPLES]
    images, error = server.preprocess(
        tf.stack([tf.io.read_file(file) for file in files]))
    return images.numpy()[error.numpy() == b""]


def _export_saved_model(trained):
    name = _NAME.value or os.path.basename(os.path.normpath(_OUT.value))
    batches = [size for size in _WARMUP.value if size]
    path = saved.write(
        trained.server(top_k=_TOP_K.value, jit=_JIT.value), out=_OUT.value,
        step=trained.step, class_names=trained.class_names,
        config=trained.config, record={**trained.record(), "jit": _JIT.value},
        model_name=name, warmup_batches=batches)
    print(f"Wrote {path}\n\n"
          f"{saved.serving_help(_OUT.value, name, batches or [8])}")


if __name__ == "__main__":
    flags.mark_flag_as_required("out")
    launch.run_words(main)

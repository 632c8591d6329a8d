"""Exports a run, or a published checkpoint, for serving:

    python -m tfvit.export --workdir=runs/b16_cifar10 --out=exports/b16
    python -m tfvit.export --npz=imagenet21k+imagenet2012/ViT-B_16-224 \
        --out=exports/b16

writes exports/b16/VERSION/, a SavedModel for TensorFlow Serving, and prints how
to serve it. VERSION is the checkpoint's step, or the first number above all that
are there. With --format=tflite, tflite_float16, tflite_int8 or onnx it is the
model alone, from preprocessed images to logits, in exports/b16/FORMAT/VERSION/,
compared with the original on --samples: nothing is written where they differ too
much.

Photos are turned by their EXIF orientation where the run's evaluation does it
(ops.decode.upright); those for a published checkpoint are, but for
--gin_bindings="ops.decode.upright = False".

    python -m tfvit.export --npz=lit/LiT-B16B --out=exports/lit

A model of images and texts embeds both, and says which text goes with an image.
In other formats its towers are files of their own, image.tflite and text.tflite.

    python -m tfvit.export --workdir=runs/b16_cifar10 --out=exports/b16 \
        --format=safetensors --layout=timm

writes exports/b16/safetensors_timm/VERSION/, a folder that timm's own loader
reads ("local-dir:..."), or that of transformers with --layout=hf.

    python -m tfvit.export --npz=lit/LiT-B16B --out=demo --format=browser

writes a page that runs the model in a browser: the folder demo/, for any static
host. See `tfvit demo`.
"""

import functools
import json
import os

from absl import app
from absl import flags
from absl import logging

from tfvit import launch
from tfvit import page_flags
from tfvit.serving import formats

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best or a step.")
_NPZ = flags.DEFINE_string(
    "npz", None, "Instead of --workdir: path, URL or catalogue name of a file.")
_OUT = flags.DEFINE_string("out", None, "Folder of the versions; may be gs://.")
_NAME = flags.DEFINE_string(
    "name", None, "The model's name on the server (default: that of --out), or "
    "on the page in the browser (default: its own).")
_TOP_K = flags.DEFINE_integer("top_k", 5, "How many classes to name.",
                              lower_bound=1)
_SIGNATURES = flags.DEFINE_list(
    "signatures", [], "Only these, also examples and base64, which are not there "
    "else (default: all others).")
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", formats.MAX_PIXELS, "Larger images are refused, and those "
    "that take as much to decode.", lower_bound=1)
_CALL = flags.DEFINE_enum(
    "call", "logits", ("logits", "features"), "What the loaded SavedModel gives "
    "when it is called, as hub.KerasLayer does.")
_PROBABILITIES = flags.DEFINE_bool(
    "probabilities", False, "Other formats give them, too, beside the logits.")
_LABELS = flags.DEFINE_string(
    "labels", None, "File of class names, imagenet2012 or imagenet21k.")
_WARMUP = flags.DEFINE_multi_integer(
    "warmup", [1, 2, 4, 8],
    "Batch size to warm up; repeat for more; 0 for none.",
    lower_bound=0)
_PRECISION = flags.DEFINE_string(
    "precision", None, "float32, mixed_bfloat16 or mixed_float16 (default: "
    "that of the run).")
_JIT = flags.DEFINE_bool(
    "jit", False, "Compile with XLA, anew for each batch size; what is printed "
    "says what the server needs.")
_FORMAT = flags.DEFINE_enum(
    "format", "savedmodel", ("savedmodel", *formats.FILES, "browser",
                             "safetensors"), "What to write.")
_LAYOUT = flags.DEFINE_enum(
    "layout", "timm", ("timm", "hf"), "Whose names --format=safetensors has: "
    "timm's, or those of Hugging Face's transformers.")
_SAMPLES = flags.DEFINE_multi_string(
    "samples", [], "Images, folders or patterns: to compare other formats on, "
    "and, half of them, to find the ranges of tflite_int8, which needs 100 or "
    "more, of all classes. As many are drawn from each folder as can be.")
_MIN_SAME_CLASS = flags.DEFINE_float(
    "min_same_class", 0.9, "Share of --samples that must get the same class "
    "from the file as from the original.", lower_bound=0.0, upper_bound=1.0)

_PAGE = page_flags.define()
_MAX_IMAGE_MB = flags.DEFINE_float(
    "max_image_mb", formats.MAX_IMAGE_MB, "With larger weights of images the "
    "page has the presets alone.", lower_bound=0.0)

launch.start(__name__, "existing run", required=("out",))

import numpy as np
import tensorflow as tf

from tfvit.inference import browser
from tfvit.inference import finished
from tfvit.inference import image_files
from tfvit.serving import convert
from tfvit.serving import howto
from tfvit.serving import saved
from tfvit.weights import torch_export

_MAX_SAMPLES = 200  # For each of the two uses.
_MIN_SAMPLES = 10
_ONE_CLASS = 0.9  # Share of the model's answers, which are not all right.
_BATCH = 64


def main(words):
    if words:
        raise app.UsageError(f"Unexpected arguments: {words}")
    where = _NPZ.value or launch.workdir()
    load = functools.partial(finished.load, where, labels=_LABELS.value,
                             checkpoint=_CHECKPOINT.value,
                             overrides=launch.overrides(), trust=launch.trust())
    if _FORMAT.value == "savedmodel":
        _export_saved_model(load(precision=_PRECISION.value))
    elif _FORMAT.value == "browser":
        _export_page(load(precision="float32"))
    elif _FORMAT.value == "safetensors":
        _export_folder(load(precision="float32"))
    else:
        _export_files(load(precision="float32"))


def _export_page(trained):
    path, _ = browser.export(
        trained, _OUT.value, precisions=_PAGE.precisions.value,
        images=_PAGE.presets.value, texts=_PAGE.texts.value, name=_NAME.value,
        max_image_mb=_MAX_IMAGE_MB.value, max_pixels=_MAX_PIXELS.value)
    print(f"Wrote {path}\nLook at it: tfvit demo {_OUT.value}\nOr put "
          f"all of {_OUT.value} on any host of static files.")


def _export_folder(trained):
    record = trained.record()
    path = saved.write_folder(torch_export.files(
        trained.model, layout=_LAYOUT.value, class_names=trained.class_names,
        ops=list(zip(record["preprocessing"], record["settings"])),
        tokenizer=trained.tokenizer),
        out=_OUT.value, kind=f"safetensors_{_LAYOUT.value}", step=trained.step)
    kind = "" if trained.tokenizer else "ForImageClassification"
    print(f"Wrote {path}\nLoad it: " + (
        f"timm.create_model('local-dir:{path}', pretrained=True)"
        if _LAYOUT.value == "timm" else
        f"transformers.AutoModel{kind}.from_pretrained('{path}')"))


def _export_files(trained):
    server = trained.server(max_pixels=_MAX_PIXELS.value)
    parts = server.parts(probabilities=_PROBABILITIES.value)
    images = _samples(server, trained.class_names)
    data, reports = {}, {}
    try:
        for name, part in parts.items():
            inputs, kind = images, _FORMAT.value
            if name == "text":
                inputs = {"inputs": browser.tokens(trained.tokenizer)}
                # Ranges of activations would need texts as there will be.
                kind = {"tflite_int8": "tflite_int8_weights"}.get(kind, kind)
            data[name], reports[name] = convert.convert(part, kind, **inputs)
    except ValueError as error:
        raise ValueError(
            f"{error} Nothing is written. --format=tflite_float16 is nearer to "
            "the original than tflite_int8, whose --samples should be 100 or "
            "more, of all classes; --min_same_class, now "
            f"{_MIN_SAME_CLASS.value}, says what is near enough.") from error
    report = reports.get("model", reports)
    path = saved.write_files(
        data, server=server, kind=_FORMAT.value, out=_OUT.value, step=trained.step,
        class_names=trained.class_names, config=trained.config,
        record={**trained.record(), _FORMAT.value: report})
    print(f"Wrote {path}\nAgainst the original: {json.dumps(report)}")


def _samples(server, class_names):
    """Arguments of convert.convert: what to compare on, and how near.

    Images are those of --samples, or else noise.
    """
    int8 = _FORMAT.value == "tflite_int8"
    if not _SAMPLES.value:
        if int8:
            raise ValueError("--format=tflite_int8 needs --samples=FOLDER with "
                             "about 100 images as the model will see.")
        rng = np.random.default_rng(0)
        return {"inputs": rng.uniform(
            -1, 1, [4, *server.image_shape]).astype(np.float32)}
    files = image_files.find(_SAMPLES.value)
    ranges, held_out = image_files.halves(files, _MAX_SAMPLES, class_names)
    if not int8:  # Nothing is to be held out.
        held_out = (held_out + ranges)[:_MAX_SAMPLES]
    found = dict(zip(("inputs", "labels"), _read(
        server, held_out, class_names, files, "to compare on")))
    if int8:
        found["calibration"], _ = _read(server, ranges, class_names, files,
                                        "to find the ranges of tflite_int8")
        _check_classes(server, found)
    return {**found, "min_same_class": _MIN_SAME_CLASS.value}


def _read(server, chosen, class_names, files, purpose):
    """(images [N, H, W, 3], class numbers [N] or None) of the sound files.

    Raises:
      ValueError: there are not enough of them.
    """
    least = _MIN_SAMPLES if _FORMAT.value == "tflite_int8" else 1
    rows = [(file, *row) for file, row in _preprocessed(server, chosen)]
    sound = [(file, image) for file, image, error in rows if not error]
    for file, _, error in rows:
        if error:
            logging.warning("--samples: %s is left out: %s", file, error)
    folders = {os.path.dirname(file) for file, _ in sound}
    logging.info("--samples: %d of %d files, from %d folders, %s.", len(sound),
                 len(files), len(folders), purpose)
    if len(sound) < least:
        raise ValueError(
            f"--samples={','.join(_SAMPLES.value)} gives {len(sound)} of "
            f"{len(files)} files {purpose}; there must be {least} of them"
            f"{', and as many others to compare on' * (least > 1)}.")
    names = [image_files.class_of(file, class_names) for file, _ in sound]
    labels = None if None in names else np.array(
        [class_names.index(name) for name in names])
    return np.stack([image for _, image in sound]), labels


def _preprocessed(server, files):
    """Yields (file, (image, error))."""

    def read(image_bytes):
        images, error = server.preprocess(image_bytes)
        return {"image": images, "error": error}

    for file, row in image_files.run(read, files, batch_size=_BATCH):
        yield file, (row["image"], row["error"])


def _check_classes(server, found):
    """Raises ValueError where the samples are of one class, or nearly so.

    By the names of their folders, or else as the model sees them.
    """
    classes, there = found["labels"], getattr(server, "num_classes", None)
    if there is None:
        return
    if classes is None:
        images = np.concatenate([found["inputs"], found["calibration"]])
        logits = server.logits(tf.constant(images))["logits"].numpy()
        classes = logits.argmax(-1)
    counts = np.unique(classes, return_counts=True)[1]
    if there > 1 and (len(counts) == 1 or found["labels"] is None and
                      counts.max() > _ONE_CLASS * len(classes)):
        raise ValueError(
            f"--samples={','.join(_SAMPLES.value)} shows one class of {there} "
            f"({counts.max()} of {len(classes)} images). The ranges of "
            "tflite_int8 would fit that one, and nothing would show it: give "
            "images of all classes, best in a folder for each.")
    if len(counts) < min(there, len(classes)) / 2:
        logging.warning("--samples=%s shows %d of %d classes: the ranges of "
                        "tflite_int8 may not fit the others.",
                        ",".join(_SAMPLES.value), len(counts), there)


def _export_saved_model(trained):
    batches = [size for size in _WARMUP.value if size]
    path, name = trained.export(
        _OUT.value, name=_NAME.value, warmup=batches, top_k=_TOP_K.value,
        jit=_JIT.value, max_pixels=_MAX_PIXELS.value, only=_SIGNATURES.value,
        reuse=_CALL.value)
    print(f"Wrote {path}\n\n{howto.text(path, name, batches)}")


if __name__ == "__main__":
    launch.run_words(main)

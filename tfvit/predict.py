"""Names what is in images:

    python -m tfvit.predict photo.jpg --model=runs/b16_cifar10
    python -m tfvit.predict photos/ 'more/*.png' --model=exports/b16 --json
    python -m tfvit.predict photo.jpg \
        --model=imagenet21k+imagenet2012/ViT-B_16-224

The model is the directory of a run, an exported SavedModel, or the name of a
published checkpoint. Broken files get a line that says so. Photos stand upright
where the run's evaluation has ops.decode.upright; of published checkpoints they
do, but for --gin_bindings="ops.decode.upright = False". A model of images
and texts needs to be told what there may be:

    python -m tfvit.predict photo.jpg --model=lit/LiT-B16B \
        --zeroshot="a cat, a dog"
"""

import csv
import json
import os
import sys

from absl import app
from absl import flags
from absl import logging

from tfvit import launch
from tfvit.data import prompts

_MODEL = flags.DEFINE_string(
    "model", None, "Directory of a run, SavedModel, or published name.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint of a run: last, best or a step.")
_LABELS = flags.DEFINE_string(
    "labels", None, "File of class names, imagenet2012 or imagenet21k (not for "
    "a SavedModel, which has its own).")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images at a time.",
                                   lower_bound=1)
_JSON = flags.DEFINE_bool("json", False, "Print a JSON object for each image.")
_CSV = flags.DEFINE_bool("csv", False, "Print a CSV line for each class.")
_SHEET = flags.DEFINE_string("sheet", None, "PNG to draw the images into.")
_FEATURES = flags.DEFINE_string(
    "features", None, ".npy file for the embeddings, [N, D], in the order of "
    "the output; NaN for broken files.")
_ZEROSHOT = flags.DEFINE_string(
    "zeroshot", None, "What a model of images and texts is to choose from: "
    "'a cat, a dog', a file of one name a line, or imagenet2012.")
_PROMPTS = {"class_name_only": prompts.class_name_only,
            "clip_best": prompts.clip_best, "clip_paper": prompts.clip_paper}
_PROMPT = flags.DEFINE_enum(
    "prompts", "clip_best", list(_PROMPTS), "The texts that --zeroshot makes "
    "of each name: 1, 8 or 81.")

launch.start(__name__, "overrides", required=("model",))

import numpy as np
import tensorflow as tf

from tfvit.data import class_names as class_names_lib
from tfvit.data.images import ops
from tfvit.inference import figures
from tfvit.inference import finished
from tfvit.inference import image_files
from tfvit.storage import files as files_lib
from tfvit.storage import paths

_SHEET_LIMIT = 100  # Images; more would be too small to see.
_TILE = 192  # Largest side of an image on the sheet in pixels.


def main(words):
    if not words:
        raise app.UsageError("Say which images: files, folders or patterns.")
    files = image_files.find(words)
    functions = finished.signatures(
        _MODEL.value, checkpoint=_CHECKPOINT.value, labels=_LABELS.value,
        overrides=launch.overrides(), trust=launch.trust())
    if _ZEROSHOT.value:
        functions["serving_default"] = finished.zeroshot(
            functions, _zeroshot_names(), prompts=_PROMPTS[_PROMPT.value])
    elif "embed_texts" in functions and not _FEATURES.value:
        raise ValueError(f"--model={_MODEL.value} knows images and texts but "
                         "no classes: say which, --zeroshot='a cat, a dog', "
                         "or set --features=FILE.npy.")
    done = {"serving_default": [], "features": []}
    for name, wanted in [("features", _FEATURES.value),
                         ("serving_default", "serving_default" in functions)]:
        if wanted:
            show = _printer() if name == "serving_default" else lambda *_: None
            for file, row in image_files.run(functions[name], files,
                                             batch_size=_BATCH_SIZE.value):
                show(file, row)
                done[name].append(row)
    rows = done["serving_default"] or done["features"]
    if not rows:
        raise ValueError(f"--model={_MODEL.value} has no classes, only "
                         "features: set --features=FILE.npy.")
    if _FEATURES.value:
        with files_lib.replacing(_FEATURES.value) as f:
            np.save(f, image_files.stacked(done["features"], "features"))
    if _SHEET.value:
        _draw(_SHEET.value, files, rows)
    broken = sum(bool(row["error"]) for row in rows)
    if broken:
        logging.log(
            logging.ERROR if broken == len(files) else logging.WARNING,
            "%d of %d images could not be used.", broken, len(files))
    sys.exit(1 if broken == len(files) else 0)


def _zeroshot_names():
    """The class names that --zeroshot gives or whose file it names."""
    words = _ZEROSHOT.value
    if words in class_names_lib.NAMES or tf.io.gfile.exists(words):
        names = class_names_lib.read(words)
    else:
        names = [word.strip() for word in words.split(",")]
    return [name for name in names if name]


def _printer():
    """Returns the function that prints (file, row)."""
    if _JSON.value:
        return lambda file, row: print(json.dumps(_as_dict(file, row)))
    if _CSV.value:
        writer = csv.writer(sys.stdout)
        writer.writerow(["file", "rank", "class_id", "class", "score", "error"])
        return lambda file, row: writer.writerows(_lines(file, row))
    return _print_table


def _as_dict(file, row):
    if row["error"]:
        return {"file": file, "error": row["error"]}
    return {"file": file, "classes": [
        {"id": number, "class": name, "score": score}
        for number, name, score in image_files.top(row)]}


def _lines(file, row):
    if row["error"]:
        return [[file, "", "", "", "", row["error"]]]
    return [[file, rank, number, name, f"{score:.6g}", ""]
            for rank, (number, name, score)
            in enumerate(image_files.top(row), 1)]


def _print_table(file, row):
    print(file)
    if row["error"]:
        print(f"    {row['error']}")
        return
    for _, name, score in image_files.top(row):
        print(f"  {100 * score:5.1f} %  {name}")


def _draw(path, files, rows):
    if len(files) > _SHEET_LIMIT:
        logging.warning("%s shows the first %d of %d images.", path,
                        _SHEET_LIMIT, len(files))
    images, captions = [], []
    for file, row in zip(files[:_SHEET_LIMIT], rows):
        caption = paths.shown(os.path.basename(file))
        if row["error"]:
            images.append(None)
            caption += f"\n{row['error']}"
        else:
            pixels = ops.decode(image_files.contents(file), upright=True)
            images.append(figures.thumbnail(pixels, _TILE))
            if "classes" in row:
                _, name, score = image_files.top(row)[0]
                caption += f"\n{100 * score:.0f} % {name}"
        captions.append(caption)
    figures.sheet(path, images, captions)


if __name__ == "__main__":
    launch.run_words(main)

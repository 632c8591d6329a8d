"""Prepares images once, to train on fast: python -m tfvit.prepare /data/photos.

SOURCE is what `tfvit finetune` takes: a folder, a table, a name of TFDS, or a gin
file that names data, captions too. What is written to OUT is read in any order:

  python -m tfvit.prepare /data/photos --short_side=512 --out=/data/photos_512
  python -m tfvit.finetune /data/photos_512 --out=runs/photos
  python -m tfvit.train --gin_file=gin/recipes/augreg.gin \\
    --gin_file=/data/photos_512/data.gin --gin_bindings="AUGREG = 'S_16'"

Larger images are shrunk to --short_side by the mean of the pixels that each new
one covers; what EXIF says to lie on its side stands up, CMYK becomes RGB. All
else is copied byte by byte, arrays become PNG. Files that cannot be read or
decoded are left out, and listed in OUT/{split}.left_out.txt. OUT/{split}.index.json
counts, and has the checksum of each file. The same command goes on where it was
stopped.
"""

import json
import os

from absl import flags
from absl import logging

from tfvit import launch

_OUT = flags.DEFINE_string("out", None, "Folder to write; of TFRecords it may "
                           "be gs://.")
_FORMAT = flags.DEFINE_enum(
    "format", None, ["array_record", "tfrecord"],
    "Of the files. Default: array_record, as Grain and TFDS use it, where that "
    "package is there and OUT is on this machine; else tfrecord, which can be "
    "streamed and goes through decode workers.")
_SHORT_SIDE = flags.DEFINE_integer(
    "short_side", None, "Pixels of the smaller side of larger images, such as "
    "512. Default: images keep their sizes.", lower_bound=1)
_QUALITY = flags.DEFINE_integer("quality", 95, "Of the JPEG files that are "
                                "made anew.", 1, 100)
_SPLITS = flags.DEFINE_multi_string(
    "split", [], "Which splits; repeat for more. Default: all.")
_VAL_SHARE = flags.DEFINE_float(
    "val_share", None, "Share of the images of each class that is for "
    "validation, where there is no split for that. Default: 0.1.")
_SHARDS = flags.DEFINE_integer(
    "shards", None, "Files of each split; default: one for 1,000 images, but "
    "no more than 256.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", None, "Images that are decoded at "
                                "once. Default: the number of cores.",
                                lower_bound=1)

launch.start(__name__, "data", required=("out",), words=(
    "Say what to prepare, such as /data/photos: one word, and no flag."))

import tensorflow as tf

from tfvit import config
from tfvit.data.datasets import array_records
from tfvit.data.datasets import sampling
from tfvit.data.preparation import data_gin
from tfvit.data.preparation import index
from tfvit.data.preparation import photos
from tfvit.data.preparation import shards
from tfvit.finetuning import dataset
from tfvit.storage import paths


def main(words):
    (data,) = words
    print(make(data, _OUT.value, kind=_FORMAT.value, splits=_SPLITS.value,
               short_side=_SHORT_SIDE.value, quality=_QUALITY.value,
               num_shards=_SHARDS.value, threads=_THREADS.value,
               val_share=_VAL_SHARE.value, overrides=launch.overrides()))


def make(data, out, *, kind=None, splits=(), short_side=None, quality=95,
         num_shards=None, threads=None, val_share=None, overrides=((), ())):
    """Does what the flags of these names say; returns how to read it."""
    out = paths.home(out)
    if paths.is_local(out):
        out = os.path.abspath(out)
        source = os.path.abspath(paths.home(data))
        if os.path.isdir(source) and f"{out}/".startswith(f"{source}/"):
            raise ValueError(f"--out={out} lies in {data}, which is to stay as "
                             "it is: write beside it.")
    kind = _kind(out, kind)
    makers, text = dataset.makers(data, val_share=val_share,
                                  overrides=overrides)
    if unknown := set(splits) - set(makers):
        raise ValueError(f"--split={', '.join(sorted(unknown))} is none of "
                         f"{', '.join(makers)}.")
    keep = data_gin.settings(config)
    sources = {split.replace("/", "_"): sampling.unsampled(makers[split]())
               for split in splits or makers}
    names = {tuple(source.class_names) for source in sources.values()}
    if len(names) > 1:
        raise ValueError(f"The splits {', '.join(sources)} have different "
                         "classes: write them to different folders by --split.")
    (class_names,) = names
    tf.io.gfile.makedirs(out)
    _claim(out, {"data": text, "format": kind, "short_side": short_side,
                 "quality": quality, "class_names": class_names,
                 "shards": num_shards, "layout": shards.LAYOUT})
    plan = shards.Plan(out=out, kind=kind, num_shards=num_shards,
                       make=photos.maker(short_side, quality),
                       threads=threads or os.cpu_count() or 1)
    for split, source in sources.items():
        _say(out, split, shards.write(plan, split, source))
    path = os.path.join(out, "data.gin")
    index.write(path, data_gin.text(out, index.splits(out), class_names,
                                    keep).encode())
    return f"{path} reads it: --gin_file={path}" + (
        f", or tfvit finetune {out}" if class_names else "")


def _kind(out, wanted):
    """The format: what the flag says, or what can be here."""
    local = paths.is_local(out)
    if wanted == "array_record":
        array_records.check("--format=array_record")
        if not local:
            raise ValueError(f"--format=array_record writes to this machine's "
                             f"disks, not to --out={out}: write there "
                             "--format=tfrecord.")
    if wanted:
        return wanted
    if local and array_records.is_there():
        return "array_record"
    logging.info("Writing TFRecords: %s.", "ArrayRecord files lie on disks of "
                 "this machine" if not local else "the package array_record is "
                 "not there")
    return "tfrecord"


def _claim(out, said):
    """Notes in OUT/prepare.json what is written, or checks that it is that.

    Raises:
      ValueError: it is something else.
    """
    path = os.path.join(out, "prepare.json")
    said = json.loads(json.dumps(said))
    if not tf.io.gfile.exists(path):
        index.write_json(path, said)
        return
    before = index.read_json(path)
    differing = [key for key in said if before.get(key) != said[key]]
    if differing:
        (first, *_) = differing
        raise ValueError(
            f"--out={out} holds another preparation: its {first} " + (
                "is other" if first in ("data", "class_names") else
                f"was {before.get(first)}, not {said[first]}") +
            ". Choose another --out, or remove that.")


def _say(out, split, found):
    """One line, or two, on what a split has become."""
    numbers = found["statistics"]
    logging.info(
        "%s: %s images, %s of them copied as they were, %.1f MB instead of %.1f "
        "MB, in %d files.", split, f"{found['examples']:,}",
        f"{numbers['copied']:,}", numbers["image_bytes"] / 1e6,
        numbers["image_bytes_before"] / 1e6, len(found["files"]))
    if found["left_out"]:
        logging.warning("%s: %d images cannot be read or decoded and are left "
                        "out: %s.", split, found["left_out"],
                        os.path.join(out, f"{split}.left_out.txt"))


if __name__ == "__main__":
    launch.run_words(main)

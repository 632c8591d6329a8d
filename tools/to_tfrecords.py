"""Copies a dataset into TFRecord files, which stream well from any disk:

    python -m tools.to_tfrecords --gin_file=gin/data/folder.gin \
      --gin_bindings="FOLDER = '/data/flowers'" --records=/data/flowers_records
    python -m tfvit.train --gin_file=gin/recipes/augreg.gin \
      --gin_file=/data/flowers_records/data.gin --gin_bindings="AUGREG = 'S_16'"

Takes any gin file that names data. Image files are copied byte by byte, arrays
of pixels become PNG. Each record file is shuffled and holds examples from all
over the split. It appears under its name once it is complete, so the same
command goes on where it was stopped. Beside them lie class_names.txt, data.gin,
which reads all of it, and config.gin, which says what was copied.
"""

import os
import re
import time

from absl import flags
from absl import logging

from tfvit import launch

_RECORDS = flags.DEFINE_string("records", None,
                               "Folder to write; may be gs://.")
_SHARDS = flags.DEFINE_integer(
    "shards", None, "Files of each split; default: one for 1,000 images, but "
    "no more than 1,024.", lower_bound=1)
_SPLITS = flags.DEFINE_multi_string(
    "split", [], "Which splits; repeat for more. Default: all.")

launch.start(__name__, "config", required=("gin_file", "records"))

import tensorflow as tf

from tfvit import config as config_lib
from tfvit.data.images import ops
from tfvit.storage import files
from tfvit.storage import paths

_UNFINISHED = ".unfinished"
_DATA = """# Written by tools.to_tfrecords.
from __gin__ import dynamic_registration
from tfvit import experiment
from tfvit.data.datasets import sources
from tfvit.evaluators import classification

NUM_CLASSES = {num_classes}

sources.tfrecords.class_names_file = {names!r}
"""
_IMPORT = "from tfvit.data.datasets import sources\n"
_IMPORT_PIPELINE = "from tfvit.data import pipeline\n" + _IMPORT
_BYTES = "{split}/sources.tfrecords.num_bytes = {num_bytes}\n"
_KEEP = "pipeline.train.keep = {keep!r}\n"
_AREA = """from tfvit.data.images import ops
ops.decode_and_inception_crop.area_min = {area_min}
"""
_UPRIGHT = """from tfvit.data.images import ops

ops.decode.upright = True
ops.decode_and_inception_crop.upright = True
"""
_SPLIT = """{split}/sources.tfrecords.pattern = {pattern!r}
{split}/sources.tfrecords.num_examples = {num_examples}
"""
_TRAIN = "experiment.Experiment.train_source = @train/sources.tfrecords\n"
_EVALUATION = ("{split}/classification.Classification.source = "
               "@{split}/sources.tfrecords\n")


def shard_path(out, split, index, num_shards):
    """OUT/train-00000-of-00008.tfrecord."""
    return os.path.join(out,
                        f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord")


def example(record):
    """The bytes of a tf.train.Example of a record of a source."""
    image = record["image"]
    if image.dtype != tf.string:
        image = tf.io.encode_png(image)

    def feature(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    label = tf.train.Int64List(value=[int(record["label"])])
    return tf.train.Example(features=tf.train.Features(feature={
        "image/encoded": feature(image.numpy()),
        "image/class/label": tf.train.Feature(int64_list=label),
        "image/filename": feature(record["name"].numpy()),
    })).SerializeToString()


def write_shard(path, records, size):
    """Writes records; `path` is there only when all of them are.

    Raises:
      ValueError: there are not `size` of them.
    """
    count = 0
    with tf.io.TFRecordWriter(path + _UNFINISHED) as writer:
        for record in records:
            writer.write(example(record))
            count += 1
    if count != size:
        raise ValueError(f"{path}: the source gave {count} examples instead of "
                         f"{size}.")
    tf.io.gfile.rename(path + _UNFINISHED, path, overwrite=True)


def convert(split, source, out, num_shards=None):
    """Writes those shards of a split that are not there yet.

    Raises:
      ValueError: the folder holds another number of shards of this split, or
        a label is not one class.
    """
    total = source.num_examples
    num_shards = num_shards or min(max(total // 1_000, 1), 1_024)
    paths = [shard_path(out, split, i, num_shards) for i in range(num_shards)]
    others = {os.path.join(out, name) for name in files.named(
        out, rf"{re.escape(split)}-\d+-of-\d+\.tfrecord")}
    if others - set(paths):
        raise ValueError(
            f"{out} holds other files of {split}, such as "
            f"{min(others - set(paths))}: remove them, or set --shards as "
            "then.")
    done, spoke, copied, started = 0, 0.0, 0, time.monotonic()
    for index, path in enumerate(paths):
        size = source.shard_size(index, num_shards)
        if path not in others:
            records = source.examples(seed=0, shard_index=index,
                                      num_shards=num_shards)
            if records.element_spec["label"].shape.rank:
                raise ValueError(f"{split} has several labels an image, which "
                                 "sources.tfrecords does not read.")
            write_shard(path, records, size)
            copied += size
        done += size
        if time.monotonic() - spoke > 10 or done == total:
            spoke = time.monotonic()
            logging.info("%s: %d/%d files, %d/%d images, %d%%, %.0f/s", split,
                         index + 1, num_shards, done, total,
                         100 * done // total, copied / (spoke - started))


def data_file(out, sizes, num_classes, keep=None, upright=False, area_min=None):
    """The text of OUT/data.gin, which reads what is written.

    Args:
      out: folder of the records.
      sizes: {split: number of examples}.
      num_classes: how many.
      keep: pipeline.train.keep of the data, and
      area_min: of the crop that goes with it.
      upright: see ops.decode.
    """
    if "://" not in out:
        out = os.path.abspath(out)
    lines = [_DATA.format(num_classes=num_classes,
                          names=os.path.join(out, "class_names.txt"))]
    if upright:
        lines.append(_UPRIGHT)
    for split, size in sizes.items():
        lines.append(_SPLIT.format(
            split=split, num_examples=size,
            pattern=os.path.join(out, f"{split}-*.tfrecord")))
    if keep is not None:
        lines[0] = lines[0].replace(_IMPORT, _IMPORT_PIPELINE)
        lines.append("\n" + _KEEP.format(keep=keep))
        if area_min is not None:
            lines.append(_AREA.format(area_min=area_min))
    evaluations = [split for split in sizes if split != "train"]
    lines.append("\n" + _TRAIN * ("train" in sizes))
    lines += [_EVALUATION.format(split=split) for split in evaluations]
    entries = "".join(f"    {split!r}: @{split}/classification.Classification,"
                      "\n" for split in evaluations)
    lines.append(f"experiment.Experiment.evaluators = {{\n{entries}}}\n")
    return "".join(lines)


def write_once(path, text):
    """Writes a text file, or checks that it says the same.

    Raises:
      ValueError: it says something else.
    """
    if tf.io.gfile.exists(path):
        with tf.io.gfile.GFile(path) as f:
            # The sizes of the files are added at the end.
            if re.sub(r"(?m)^.*num_bytes = \d+\n", "", f.read()) != text:
                raise ValueError(f"{path} belongs to another dataset, or to "
                                 "what this one was: choose a new --records.")
        return
    _write(path, text)


def _write(path, text):
    with tf.io.gfile.GFile(path + _UNFINISHED, "w") as f:
        f.write(text)
    tf.io.gfile.rename(path + _UNFINISHED, path, overwrite=True)


def note_sizes(path, splits):
    """Adds to data.gin how large the files of each split are."""
    with tf.io.gfile.GFile(path) as f:
        lines = f.readlines()
    for split in splits:
        folder = os.path.dirname(path)
        names = files.named(folder, rf"{re.escape(split)}-.*\.tfrecord")
        new = _BYTES.format(split=split, num_bytes=sum(
            tf.io.gfile.stat(os.path.join(folder, name)).length
            for name in names))
        knob = new.split("=")[0]
        (was,) = [line for line in lines if line.startswith(knob)] or [new]
        if was != new:
            raise ValueError(
                f"{path} says {was.strip()}, and now the files have "
                f"{new.split('= ')[1].strip()} bytes: some were cut short or "
                f"changed since. Remove {split}-*.tfrecord there, and the same "
                "command writes them again.")
        lines = [line for line in lines if not line.startswith(knob)]
        at = next(i for i, line in enumerate(lines) if line.startswith(
            f"{split}/sources.tfrecords.num_examples"))
        lines.insert(at + 1, new)
    _write(path, "".join(lines))


def main():
    out = paths.home(_RECORDS.value)
    makers, config = launch.sources_from_flags()
    wanted = _SPLITS.value or list(makers)
    if unknown := set(wanted) - set(makers):
        raise ValueError(f"--split={', '.join(sorted(unknown))} is none of "
                         f"{', '.join(makers)}.")
    sources = {split.replace("/", "_"): makers[split]() for split in wanted}
    names = {split: s.class_names for split, s in sources.items()}
    if len(set(names.values())) > 1:
        raise ValueError(f"The splits {', '.join(names)} have different "
                         "classes: write them to different folders by --split.")
    (class_names,) = set(names.values())
    sizes = {split: s.num_examples for split, s in sources.items()}
    keep = config_lib.bound("pipeline.train.keep")
    tf.io.gfile.makedirs(out)
    for file, text in {
            "config.gin": config,
            "class_names.txt": "".join(f"{name}\n" for name in class_names),
            "data.gin": data_file(
                out, sizes, len(class_names),
                keep,
                area_min=config_lib.settings(
                    ops.decode_and_inception_crop).get("area_min")
                if keep else None,
                # Files are copied with their EXIF.
                upright=config_lib.settings(ops.decode).get("upright")),
    }.items():
        write_once(os.path.join(out, file), text)
    for split, source in sources.items():
        convert(split, source, out, _SHARDS.value)
    note_sizes(os.path.join(out, "data.gin"), sources)
    print(f"{out}/data.gin reads it: --gin_file={out}/data.gin")


if __name__ == "__main__":
    launch.run_alone(main)

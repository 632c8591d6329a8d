"""What kind of data somebody points at, told by its name and what is there."""

import difflib
import os
import re

import tensorflow as tf

from tfvit import config
from tfvit.data.datasets import tables
from tfvit.data.datasets import walking
from tfvit.storage import files
from tfvit.storage import paths

# Files of many images: their suffix, and the file of gin/data that reads them.
SHARDS = {".tar": "webdataset", ".parquet": "parquet", ".arrow": "arrow"}
_NEED_MACROS = ("captions", "class_tars", "folder", "manifest", "vtab",
                "webdataset_captions",
                *SHARDS.values())  # Of gin/data.
_MOST_SPLITS = 10
_SYNSET = re.compile(r"n\d{8}\.tar")
_ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
CAPTIONS = ("has captions, not classes: train images and texts together by "
            "tfvit train --gin_file=gin/lit_captions.gin "
            "--gin_bindings=\"CAPTIONS = '...'\".")
_RECORDS = (".tfrecord", ".array_record")
_NO_DATA_GIN = ("has records without the data.gin that tfvit prepare writes "
                "beside them once all are there. Let it write the rest; or, for "
                "TFRecords of another origin, write one as gin/data has them, "
                "with sources.tfrecords, and give that file.")


def of(data):
    """"folder", "manifest", "gin", "tfds" or one of SHARDS; else raises.

    Raises:
      ValueError: says what `data` is instead, and what to do.
    """
    path = paths.home(data)
    suffix = os.path.splitext(path.lower())[1]
    if tf.io.gfile.isdir(path):
        return _kind_of_folder(data, path)
    if suffix in SHARDS and (tf.io.gfile.exists(path) or
                             re.search(r"[*?{]", data)):
        return SHARDS[suffix]
    if not tf.io.gfile.exists(path):
        if known(data):
            return "gin"
        if re.fullmatch(r"\w(?!.*://)[\w.:/*-]*", data) and suffix not in (
                *tables.SUFFIXES, *walking.SUFFIXES, *_ARCHIVES, *SHARDS,
                ".gin"):
            return "tfds"
        near = difflib.get_close_matches(
            os.path.basename(path.rstrip("/")),
            files.named(os.path.dirname(path.rstrip("/")) or ".", r"[^.].*"), 1)
        raise ValueError(f"DATA={data} does not exist." +
                         (f" Did you mean {near[0]!r}?" if near else ""))
    if suffix in tables.SUFFIXES:
        return "manifest"
    if suffix == ".gin":
        return "gin"
    if suffix in walking.SUFFIXES + walking.FOREIGN:
        reason = ("is one image. Give the folder of all of them, with one "
                  "folder for each class in it.")
    elif suffix in _ARCHIVES:
        reason = "is an archive: unpack it, and give the folder."
    elif suffix == ".npz":
        reason = ("is no data. To start from these weights: --from=" + data)
    elif any(kind in path.lower() for kind in _RECORDS):
        reason = _NO_DATA_GIN
    else:
        reason = ("is neither a folder of images nor a table of them, "
                  f"{', '.join(tables.SUFFIXES)}.")
    raise ValueError(f"DATA={data} {reason}")


def _kind_of_folder(data, path):
    if tf.io.gfile.exists(os.path.join(path, "data.gin")):
        return "gin"
    names = files.named(path, r"[^.].*")
    if not names:
        raise ValueError(f"DATA={data} is an empty folder.")
    if any(kind in name for name in names for kind in _RECORDS):
        raise ValueError(f"DATA={data} {_NO_DATA_GIN}")
    if "config.gin" in names:
        raise ValueError(f"DATA={data} is the directory of a run. To start "
                         f"from its weights: --from={data}")
    if kind := _shards(data, path, names):
        return kind
    folders = [name for name in names
               if tf.io.gfile.isdir(os.path.join(path, name))]
    if not folders:
        _complain_of_loose(data, names)
    return "folder"


def _shards(data, path, names):
    """Which of SHARDS lie in a folder or its folders; None for none."""
    if any(map(_SYNSET.fullmatch, names)):
        raise ValueError(
            f"DATA={data} has a tar file for each class. Prepare it, with the "
            "classes that you want: tfvit prepare gin/data/class_tars.gin "
            f"--gin_bindings=\"TARS = {data!r}\" --out=...")
    # One level deeper: train/0000.parquet, or data/train-00000-of-00005.parquet.
    inside = [name for folder in names
              for name in files.named(os.path.join(path, folder), r"[^.].*")
              ] if len(names) <= _MOST_SPLITS else []
    suffixes = {os.path.splitext(name.lower())[1] for name in names + inside}
    found = [kind for suffix, kind in SHARDS.items() if suffix in suffixes]
    if suffixes & {*walking.SUFFIXES} and not any(
            name.lower().endswith(tuple(SHARDS)) for name in names):
        return None  # A folder of images, among whose classes an archive lies.
    return found[0] if found else None


def _complain_of_loose(data, names):
    """Raises ValueError: there are files, but no folders."""
    stems = {os.path.splitext(name)[0] for name in names
             if name.lower().endswith(walking.SUFFIXES)}
    listed = [name for name in names if name.lower().endswith(tables.SUFFIXES)]
    if any(name.endswith(".txt") and name[:-4] in stems for name in names):
        raise ValueError(f"DATA={data} {CAPTIONS}")
    if listed:
        table = os.path.join(data, listed[0])
        raise ValueError(f"DATA={data} has no folders of classes. If "
                         f"{listed[0]} names the class of each image, give "
                         f"that: {table}")
    raise ValueError(
        f"DATA={data} has {len(stems)} images and no folders. Sort them into "
        "one folder for each class, or list them in a table, CSV, with the "
        "columns image and label.")


def known(name):
    """The file of gin/data that reads the dataset of this name, or None."""
    file = f"gin/data/{name}.gin"
    if name not in _NEED_MACROS and os.path.exists(
            os.path.join(config.ROOT, file)):
        return file
    return None

"""Reads tar files of one class each, as ImageNet-21k comes.

Such as n02084071.tar, whose members are the images of dogs; or all of these in
one tar file, as it is downloaded. Nothing is unpacked.
"""
import os

from absl import logging
import numpy as np

from tfvit.data import class_names as class_names_lib
from tfvit.data.datasets import named_labels
from tfvit.data.datasets import shard_files
from tfvit.data.datasets import spans
from tfvit.data.datasets import tars
from tfvit.data.datasets import walking
from tfvit.storage import paths

SUFFIXES = (".tar",)
_SHOWN = 3


def images(*,
           path: str,
           split: str | None = None,
           class_names_file: str | None = None) -> spans.Spans:
    """Reads images of tar files that are called like their classes.

    The members are listed once, which is kept in $TFVIT_CACHE/indices; it takes
    about 60 bytes of memory for each image.

    Args:
      path: folder of the tar files, a pattern, or one tar file of them.
      split: a slice, such as "train[:99%]" and "train[99%:]", of each class by
        hashes of the images' names (see sources.folder). None for all.
      class_names_file: text file with one class a line, whose first word is the
        name of its tar file, in the order of the logits; "imagenet21k" and
        "imagenet2012" are those of the published checkpoints. Classes without a
        tar file keep their logits; tar files of no class are left out. None
        takes the tar files' names, sorted.

    Raises:
      ValueError: there are no such files, or none of a class.
    """
    knob = "class_tars.images.path"
    splits = shard_files.find(path, SUFFIXES, knob)
    files = [file for part in splits.values() for file in part]
    if split is None:
        low, high = 0, 100
    else:  # The numbers of classes tell no splits.
        _, low, high = shard_files.select({"": files}, split,
                                     "class_tars.images.split")
    table = spans.kept(files, "class tars", _count, path)
    notes, found = [], np.unique(table["label"]).tolist()
    found = [paths.shown(name) for name in found]
    if class_names_file:
        names = class_names_lib.read(class_names_file)
        order = {name.split()[0]: i for i, name in enumerate(names)
                 if name.strip()}
    else:
        names = found
        order = {name: i for i, name in enumerate(names)}
    if len(set(found) & set(order)) < 2:
        raise ValueError(
            f"{knob} = {path!r} has tar files of {len(set(found) & set(order))} "
            f"of the {len(names)} classes of {class_names_file or 'it'}; it has "
            f"{', '.join(found[:_SHOWN])}. At least two are needed.")
    if without := sorted(set(found) - set(order)):
        notes.append(f"Ignored {len(without)} tar files of {path} that are no "
                     f"class of {class_names_file}, such as {without[0]}.tar.")
    if missing := [name for name in order if name not in set(found)]:
        notes.append(f"{len(missing)} of {len(names)} classes of "
                     f"{class_names_file} have no images in {path}, such as "
                     f"{missing[0]}.")
    labels = np.array([order.get(name, -1) for name in found])[np.unique(
        table.pop("label"), return_inverse=True)[1].reshape(-1)]
    rows = named_labels.share(
        np.flatnonzero(labels >= 0), labels, low, high,
        lambda row: paths.shown(table["key"][row]))
    logging.info("%s of %s: %d images of %d classes.", split or "All", path,
                 len(rows), len(names))
    for note in notes:
        logging.warning("%s", note)
    return spans.Spans(files=files,
                       table={k: v[rows] for k, v in table.items()},
                       class_names=names, labels=labels[rows], notes=notes)


def _count(file):
    """Lists the images of a file; see spans.kept."""
    rows = {"key": [], "label": [], "begin": [], "size": []}

    def add(label, members):
        for name, begin, size in members:
            if name.lower().endswith(SUFFIXES):
                add(_stem(name), tars.members(opened.read, begin + size,
                                              f"{file}: {name}", begin))
            elif name.lower().endswith(walking.SUFFIXES):
                for column, value in zip(rows.values(), (
                        paths.encoded(name), paths.encoded(label), begin,
                        size)):
                    column.append(value)

    with spans.Reader(file) as opened:
        add(_stem(file), tars.members(opened.read, opened.size, file))
    return {name: np.array(values, "S" if name in ("key", "label") else
                           np.int64) for name, values in rows.items()}


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]

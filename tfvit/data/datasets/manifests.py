"""Reads tables of images: CSV, tabs, or JSON objects line by line.

An image belongs to one slice: however often a table names it (to show it more
often, or with several labels or captions), and in whatever spelling.
"""
from collections.abc import Sequence
import os

from absl import logging
import tensorflow as tf

from tfvit.data.datasets import downloads
from tfvit.data.datasets import listing
from tfvit.data.datasets import named_labels
from tfvit.data.datasets import tables
from tfvit.data.datasets import walking
from tfvit.storage import paths


def read(path: str, *, split: str | None, class_names: Sequence[str] | None,
         root: str | None, columns: tuple[str, str, str],
         delimiter: str | None, unreachable: str) -> tuple[list[str], list[str], list[int],
                                         list[str]]:
    """Lists class names, image files and their labels; see sources.manifest.

    Args:
      columns: names of the columns of the image, the label and the split.
      unreachable: see downloads.bring.

    Returns:
      And sentences on what was left out or is doubtful.

    Raises:
      ValueError: see sources.manifest.
    """
    path, notes = paths.home(path), []
    rows = list(_rows(path, columns, delimiter, notes))
    if not rows:
        raise ValueError(f"{path} lists no images.")
    class_names = _classes(path, rows, split, class_names)
    number = {name: i for i, name in enumerate(class_names)}
    for line, _, label, _ in rows:
        if label not in number:
            raise named_labels.unknown(f"{path}, line {line}", label,
                                       class_names)
    root = root_of(path, root)
    rows = select(path, rows, split, root, columns[2], "sources.manifest",
                  notes)
    rows, files = locate(path, rows, root, "sources.manifest", "manifest",
                         unreachable, notes)
    logging.info("%s of %s: %d images of %d classes.", split or "All", path,
                 len(rows), len(class_names))
    for note in notes:
        logging.warning("%s", note)
    return class_names, files, [number[row[2]] for row in rows], notes


def splits(path: str, column: str, delimiter: str | None) -> list[str]:
    """The values of a table's column of splits; [] where there is no such.

    Raises:
      ValueError: it is no table.
    """
    rows = tables.records(paths.home(path), delimiter, "sources.manifest", [])
    return sorted({str(row[column]) for _, row in rows
                   if row.get(column) not in (None, "")})


def locate(path: str, rows: Sequence[tuple], root: str, user: str, what: str,
           unreachable: str, notes: list[str]) -> tuple[list, list[str]]:
    """The rows whose images are there, and the files of these.

    Images behind https:// are fetched; those of buckets are read there.

    Args:
      path: of the table.
      rows: of (line, image, ...).
      root: see root_of.
      user: function whose `root` it is, for errors.
      what: to call the table there.
      unreachable: see downloads.bring.
      notes: what is left out is added to it.

    Raises:
      ValueError: they are of formats that are not read, or not there.
    """
    files = [place(root, row[1]) for row in rows]
    web = [i for i, file in enumerate(files) if file.startswith(downloads.WEB)]
    if web:
        found, said = downloads.bring(
            path, [rows[i][0] for i in web], [files[i] for i in web],
            unreachable=unreachable, user=user)
        notes += said
        for i, file in zip(web, found):
            files[i] = file
        rows = [row for row, file in zip(rows, files) if file]
        files = [file for file in files if file]
    if problem := walking.left_out(files):
        raise ValueError(f"{path} lists {problem}")
    if not tf.io.gfile.exists(files[0]):
        raise ValueError(
            f"{path} lists {files[0]}, which is not there. Relative names "
            f"start at {user}.root, or else where the {what} lies.")
    return rows, files


def place(root: str, image: str) -> str:
    """Where an image of a table lies: below root, or at a URL of its own."""
    return image if "://" in image else os.path.join(root, image)


def root_of(path: str, root: str | None) -> str:
    """The folder at which a table's names of images start."""
    return os.path.dirname(path) if root is None else paths.home(root)


def _rows(path, columns, delimiter, notes):
    """Yields (line, image, label, split or None)."""
    names = dict(zip((f"sources.manifest.{name}_column" for name in (
        "image", "label", "split")), columns))
    for line, row in tables.records(path, delimiter, "sources.manifest", notes):
        tables.check_columns(path, row, names)
        image, label, split = (row.get(column) for column in columns)
        for column, value in zip(columns[:2], (image, label)):
            if value is None or value == "":
                raise ValueError(
                    f"{path}, line {line}: no {column!r}; there are "
                    f"{sorted(map(str, row))}. The columns are set by "
                    "sources.manifest.image_column and label_column."
                    f"{tables.hint(row, 'sources.manifest')}")
        if isinstance(image, str) and isinstance(label, (str, int)):
            yield line, image, str(label), split
        else:
            raise ValueError(f"{path}, line {line}: the image {image!r} must "
                             f"be a text, the label {label!r} a text or a "
                             "whole number.")


def _classes(path, rows, split, class_names):
    """The class names: those given, or the labels of the whole manifest."""
    if class_names is None:
        if split is None:
            raise ValueError(
                f"Set sources.manifest.class_names_file for {path}: labels "
                "must not depend on which classes this one file has. Where it "
                "lists all splits, set sources.manifest.split instead.")
        first = {}
        for line, _, label, _ in rows:
            first.setdefault(label, line)
        for group in listing.alike(first):
            lines = ", ".join(f"{label!r} (line {first[label]})"
                              for label in group)
            raise ValueError(
                f"{path} has labels that differ in case or blanks alone: "
                f"{lines}. Write them alike; or, if they are several classes, "
                "name all in sources.manifest.class_names_file.")
        numbers = all(label.isdecimal() for label in first)
        class_names = sorted(first, key=int if numbers else None)
    if len(set(class_names)) < max(len(class_names), 2):
        raise ValueError(f"{path} needs two or more classes, each named once, "
                         f"not {list(class_names)[:10]}.")
    return list(class_names)


def select(path: str, rows: Sequence[tuple], split: str | None, root: str,
           column: str, user: str, notes: list[str]) -> list[tuple]:
    """The rows of a split, or of a slice of it, in their order.

    Args:
      path: of the table.
      rows: of (line, image, stratum, value of the column of splits or None); a
        slice takes a share of the images of each stratum.
      split: see sources.manifest.
      root: see root_of.
      column: name of the column of splits.
      user: function whose `split` it is, for errors.
      notes: what is doubtful is added to it.

    Raises:
      ValueError: there is no such split, or nothing in it.
    """
    names, images = _images(path, rows, root, notes)
    if split is None:
        return list(rows)
    knob = f"{user}.split = {split!r}"
    splits = sorted({str(row[3]) for row in rows if row[3] is not None})
    base, low, high = listing.parse(split, knob, splits)
    if splits:
        _check_splits(path, rows, images, column, notes)
        rows = [row for row in rows if str(row[3]) == base]
        if not rows:
            raise ValueError(f"{knob} is none of the values of the column "
                             f"{column!r} of {path}: {splits}.")
    elif "[" not in split:
        raise ValueError(f"{knob}, but {path} has no column {column!r}: add "
                         "one, or set a slice such as 'train[:90%]'.")
    stratum = {}  # Of each image one, or it would be on both sides.
    for row in rows:
        key = images[row[1]]
        stratum[key] = min(row[2], stratum.get(key, row[2]))
    strata = {}
    for key, value in stratum.items():
        strata.setdefault(value, []).append(names[key])
    chosen = {name for images in strata.values()
              for name in listing.share(images, low, high)}
    rows = [row for row in rows if names[images[row[1]]] in chosen]
    if not rows:
        raise ValueError(f"{knob} of {path} has no images.")
    return rows


def _images(path, rows, root, notes):
    """({identity: name}, {name as the table has it: identity}) of images.

    An image's name is the first of its spellings, by the alphabet.
    """
    images = {}
    for row in rows:
        if (image := row[1]) not in images:
            images[image] = paths.identity(place(root, image))
    names = {}
    for image, key in images.items():
        names[key] = min(image, names.get(key, image))
    if several := [image for image, key in images.items()
                   if image != names[key]]:
        notes.append(f"{path} lists {len(several)} images in two spellings, "
                     f"such as {several[0]} and {names[images[several[0]]]}.")
    return names, images


def _check_splits(path, rows, images, column, notes):
    """Notes images that are in no split or several.

    Raises:
      ValueError: two splits have almost the same name.
    """
    found, without = {}, 0
    for row in rows:
        without += row[3] in (None, "")
        found.setdefault(images[row[1]], set()).add(str(row[3]))
    if wrong := listing.alike(sorted(set().union(*found.values()))):
        raise ValueError(f"The column {column!r} of {path} has {wrong[0]}, "
                         "which differ in case or blanks alone: write them "
                         "alike.")
    if without:
        notes.append(f"{without} rows of {path} are in no split: their column "
                     f"{column!r} is empty.")
    several = [image for image, splits in found.items() if len(splits) > 1]
    if several:
        notes.append(
            f"{path} has {len(several)} images in two splits or more, such as "
            f"{several[0]} in {', '.join(sorted(found[several[0]]))}.")

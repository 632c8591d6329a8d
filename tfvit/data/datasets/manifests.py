"""Reads tables of images and labels: CSV, or JSON objects line by line."""
from collections.abc import Iterator, Sequence
import csv
import difflib
import io
import json
import os

from absl import logging
import tensorflow as tf

from tfvit.data.datasets import listing

SUFFIXES = (".csv", ".jsonl")


def read(path: str, *, split: str | None, class_names: Sequence[str] | None,
         root: str | None, columns: tuple[str, str, str],
         delimiter: str) -> tuple[list[str], list[str], list[int]]:
    """Lists class names, image files and their labels; see sources.manifest.

    Args:
      columns: names of the columns of the image, the label and the split.

    Raises:
      ValueError: see sources.manifest.
    """
    rows = list(_rows(path, columns, delimiter))
    if not rows:
        raise ValueError(f"{path} lists no images.")
    class_names = _classes(path, rows, split, class_names)
    number = {name: i for i, name in enumerate(class_names)}
    for line, _, label, _ in rows:
        if label not in number:
            close = difflib.get_close_matches(label, class_names)
            raise ValueError(
                f"{path}, line {line}: {label!r} is none of the "
                f"{len(class_names)} classes. Closest: "
                f"{', '.join(close) or 'none'}.")
    root = os.path.dirname(path) if root is None else root
    rows = [(os.path.join(root, image), label)
            for _, image, label in _select(path, rows, split, columns[2])]
    if problem := listing.left_out([file for file, _ in rows]):
        raise ValueError(f"{path} lists {problem}")
    if not tf.io.gfile.exists(rows[0][0]):
        raise ValueError(
            f"{path} lists {rows[0][0]}, which is not there. Relative names "
            "start at sources.manifest.root, or else where the manifest lies.")
    logging.info("%s of %s: %d images of %d classes.", split or "All", path,
                 len(rows), len(class_names))
    files, labels = zip(*rows)
    return class_names, list(files), [number[label] for label in labels]


def _rows(path, columns, delimiter):
    """Yields (line, image, label, split or None)."""
    for line, row in records(path, delimiter, "sources.manifest"):
        image, label, split = (row.get(column) for column in columns)
        for column, value in zip(columns[:2], (image, label)):
            if value is None or value == "":
                raise ValueError(
                    f"{path}, line {line}: no {column!r}; there are "
                    f"{sorted(map(str, row))}. The columns are set by "
                    "sources.manifest.image_column and label_column.")
        if isinstance(image, str) and isinstance(label, (str, int)):
            yield line, image, str(label), split
        else:
            raise ValueError(f"{path}, line {line}: the image {image!r} must "
                             f"be a text, the label {label!r} a text or a "
                             "whole number.")


def records(path: str, delimiter: str,
            user: str) -> Iterator[tuple[int, dict]]:
    """Yields (line, {column: value}) of a table; see `read`.

    Args:
      path: .csv or .jsonl.
      delimiter: between the values of a .csv file.
      user: function whose `path` it is, for errors.

    Raises:
      ValueError: there is no such file, or it is none of these formats.
    """
    if not path.lower().endswith(SUFFIXES):
        raise ValueError(f"{user}.path = {path!r} is none of "
                         f"{', '.join(SUFFIXES)}.")
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{user}.path = {path!r} does not exist.")
    with tf.io.gfile.GFile(path, "rb") as f:
        contents = f.read()
    try:
        text = contents.decode("utf-8-sig")  # Excel begins with a mark.
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    if path.lower().endswith(".csv"):
        return _csv(path, text, delimiter)
    return _jsonl(path, text)


def _csv(path, text, delimiter):
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter,
                            skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"{path}, line {reader.line_num}: not as many values as "
                    f"the header names columns ({len(reader.fieldnames)}).")
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(
            f"{path}, near line {reader.line_num}: {error}.") from error


def _jsonl(path, text):
    for line, record in enumerate(text.split("\n"), 1):
        if not record.strip():
            continue
        try:
            row = json.loads(record)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {line}: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {line}: {record[:40]!r} is no JSON "
                             "object such as {\"image\": ..., \"label\": ...}.")
        yield line, row


def _classes(path, rows, split, class_names):
    """The class names: those given, or the labels of the whole manifest."""
    if class_names is None:
        if split is None:
            raise ValueError(
                f"Set sources.manifest.class_names_file for {path}: labels "
                "must not depend on which classes this one file has. Where it "
                "lists all splits, set sources.manifest.split instead.")
        labels = {label for _, _, label, _ in rows}
        numbers = all(label.isdecimal() for label in labels)
        class_names = sorted(labels, key=int if numbers else None)
    if len(set(class_names)) < max(len(class_names), 2):
        raise ValueError(f"{path} needs two or more classes, each named once, "
                         f"not {list(class_names)[:10]}.")
    return list(class_names)


def _select(path, rows, split, column):
    """Yields the rows of a split, or of a slice of it, in their order."""
    if split is None:
        return [row[:3] for row in rows]
    knob = f"sources.manifest.split = {split!r}"
    base, low, high = listing.parse(split, knob)
    splits = sorted({str(row[3]) for row in rows if row[3] is not None})
    if splits:
        rows = [row for row in rows if str(row[3]) == base]
        if not rows:
            raise ValueError(f"{knob} is none of the values of the column "
                             f"{column!r} of {path}: {splits}.")
    elif "[" not in split:
        raise ValueError(f"{knob}, but {path} has no column {column!r}: add "
                         "one, or set a slice such as 'train[:90%]'.")
    by_class = {}
    for _, image, label, _ in rows:
        by_class.setdefault(label, []).append(image)
    chosen = {(label, image) for label, images in by_class.items()
              for image in listing.share(images, low, high)}
    rows = [row[:3] for row in rows if (row[2], row[1]) in chosen]
    if not rows:
        raise ValueError(f"{knob} of {path} has no images.")
    return rows

"""Which columns of a table of Hugging Face's are what, and which rows to read.

Its datasets say so in their schema's metadata: {"huggingface": {"info":
{"features": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel",
"names": [...]}}}}}. Tables of other programs are told by their types.
"""
from collections.abc import Sequence
import dataclasses
import json
import os

from absl import logging
import numpy as np

from tfvit.data.datasets import named_labels
from tfvit.storage import spelling

_STRUCT = "struct<bytes: "  # As Hugging Face's Image is kept.
_BINARY = ("binary", "large_binary")


@dataclasses.dataclass(frozen=True)
class Columns:
    """What is what.

    Attributes:
      image: name of the column of images, whose bytes are,
      nested: whether, in the field "bytes" of a struct.
      text: name of the column of labels, or of captions.
      class_names: of labels that are numbers, where the metadata has them.
      captions: whether `text` has captions.
    """
    image: str
    nested: bool
    text: str
    class_names: tuple[str, ...] | None
    captions: bool


def of(schema, *, image: str | None, label: str | None, caption: str | None,
       user: str, where: str) -> Columns:
    """Finds the columns; names that are given come first.

    Args:
      schema: a pyarrow.Schema.
      image, label, caption: names of columns, or None; of a caption, for none.
      user: function whose knobs image_column and so on are, for errors.
      where: the data lies, for errors.

    Raises:
      ValueError: a column is not there, or it is not certain which is meant.
    """
    types = {name: str(schema.field(name).type) for name in schema.names}
    features = _features(schema)
    for knob, name in (("image", image), ("label", label),
                       ("caption", caption)):
        if name is not None and name not in types:
            raise ValueError(
                f"{user}.{knob}_column = {name!r} is none of the columns of "
                f"{where}: {', '.join(types)}."
                f"{spelling.did_you_mean(name, types)}")
    image = image or _only(
        [name for name in types
         if features.get(name, {}).get("_type") == "Image"] or
        [name for name, kind in types.items()
         if kind.startswith(_STRUCT) or kind in _BINARY],
        "image", types, user, where)
    nested = types[image].startswith(_STRUCT)
    if not nested and types[image] not in _BINARY:
        raise ValueError(
            f"The column {image!r} of {where} is {types[image]}, not the bytes "
            "of image files (binary, or Hugging Face's struct of bytes and "
            f"path). Set {user}.image_column.")
    if caption:
        return Columns(image, nested, caption, None, True)
    label = label or _only(
        [name for name in types
         if features.get(name, {}).get("_type") == "ClassLabel"] or
        [name for name in types if name in ("label", "labels")],
        "label", types, user, where)
    kind = types[label]
    if not kind.startswith(("int", "uint", "string", "large_string",
                            "dictionary")):
        raise ValueError(f"The column {label!r} of {where} is {kind}: a label "
                         "must be a whole number or a text. Set "
                         f"{user}.label_column.")
    names = features.get(label, {}).get("names")
    return Columns(image, nested, label, names and tuple(map(str, names)),
                   False)


def classes(columns: Columns, values: Sequence, class_names_file: str | None,
            user: str, where: str, name):
    """(class names, class numbers [N]); see named_labels.find."""
    if columns.class_names and class_names_file is None:
        wrong = [i for i, value in enumerate(values)
                 if value is None or not 0 <= int(value) <
                 len(columns.class_names)]
        if wrong:
            raise ValueError(
                f"{name(wrong[0])}: the label {values[wrong[0]]!r} is none of "
                f"the {len(columns.class_names)} classes. (-1 is what Hugging "
                "Face has for no label: leave that split out.)")
        return list(columns.class_names), values
    empty = [i for i, value in enumerate(values) if value in (None, "")]
    if empty:
        raise ValueError(f"{name(empty[0])}: no label in the column "
                         f"{columns.text!r}.")
    return named_labels.find([str(value) for value in values],
                             class_names_file, user, where, name)


def choose(columns, values, splits, chosen, low, high, sizes,
           class_names_file, user, path, split):
    """What is read of the rows of all files.

    Returns:
      {"rows": their numbers int64 [N], "class_names": of all, "labels": int64
      [N] or None, "captions": [N] lists or None}.

    Raises:
      ValueError: a label or caption is missing or wrong, or nothing is left.
    """
    files = [file for part in splits.values() for file in part]
    which = np.repeat(np.arange(len(files)), sizes)
    first = np.cumsum(sizes) - sizes

    def name(row):
        return f"{files[which[row]]}, row {row - first[which[row]]}"

    rows = np.flatnonzero(np.isin(which, [i for i, file in enumerate(files)
                                          if file in chosen]))
    labels, class_names, captions = None, (), None
    if columns.captions:
        captions = [[v] if isinstance(v, str) else v for v in values]
        for row in rows:
            if not captions[row] or not all(
                    isinstance(t, str) and t.strip() for t in captions[row]):
                raise ValueError(f"{name(row)}: no caption, or an empty one, "
                                 f"in the column {columns.text!r}.")
    else:
        # A test split without labels must not stop training.
        known = rows if columns.class_names else np.arange(len(values))
        class_names, found = classes(
            columns, [values[i] for i in known], class_names_file, user, path,
            lambda i: name(known[i]))
        labels = np.full(len(values), -1, np.int64)
        labels[known] = found
    rows = named_labels.share(
        rows, labels, low, high, lambda row: "{}:{}".format(
            os.path.basename(files[which[row]]), row - first[which[row]]))
    if not len(rows):
        raise ValueError(f"{user}.split = {split!r} of {path} has no images.")
    logging.info("%s of %s: %d images of %s.", split or "All", path, len(rows),
                 f"{len(class_names)} classes" if class_names else "captions")
    return {"rows": rows, "class_names": class_names,
            "labels": None if labels is None else labels[rows],
            "captions": captions and [captions[row] for row in rows]}


def _features(schema):
    """{column: what Hugging Face says of it}; {} for other programs' tables."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        found = json.loads(text)["info"]["features"] if text else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return {k: v for k, v in (found or {}).items() if isinstance(v, dict)}


def _only(names, what, types, user, where):
    if len(names) != 1:
        raise ValueError(
            f"{where} has {len(names) or 'no'} columns that may be the {what} "
            f"({', '.join(names) or 'of ' + ', '.join(types)}): set "
            f"{user}.{what}_column to the right one.")
    return names[0]

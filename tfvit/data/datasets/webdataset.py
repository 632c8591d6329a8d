"""Reads the tar files of WebDataset: samples of files of one name.

`a/0001.jpg`, `a/0001.cls` and `a/0001.json` in a row are one sample, as the
package of that name has it: the key is what comes before the first dot of a
file's name. Other than there, any sample can be read alone.
"""
from collections.abc import Sequence
import functools
import json
import os
import re

from absl import logging
import numpy as np

from tfvit.data.datasets import named_labels
from tfvit.data.datasets import shard_files
from tfvit.data.datasets import spans
from tfvit.data.datasets import tars
from tfvit.data.datasets import walking
from tfvit.storage import paths

SUFFIXES = (".tar",)
_SAMPLE = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_META = re.compile(r"__[^/]*__($|/)")


def shards(*,
           path: str,
           split: str | None = None,
           image_key: str | None = None,
           label_key: str = "cls",
           caption_key: str | None = None,
           class_names_file: str | None = None) -> spans.Spans:
    """Reads tar files as WebDataset writes them.

    The members are listed once, which is kept in $TFVIT_CACHE/indices; from
    then on every sample is read alone, in any order. Compressed tar files
    cannot be.

    Args:
      path: folder of .tar files, one of them, or a pattern, such as
        "/data/train-*.tar" or "gs://bucket/train-{000000..000146}.tar".
      split: "train", "val" or "test" where the files' names tell their split,
        such as imagenet1k-train-0000.tar or train/0000.tar; or a slice, such as
        "train[:90%]", of these or of all (see sources.folder). None for all.
      image_key: which of a sample's files is the image, such as "jpg"; None for
        the one that is an image by its name.
      label_key: which has the class, a number or a name, such as "cls"; or
        "json/label" for the field `label` of the file `json`.
      caption_key: which has the caption instead, such as "txt"; or "json/text",
        a text or a list of them. The source then has no classes.
      class_names_file: text file with one class name a line. None takes all
        labels of `path`, sorted; numbers are their own names.

    Raises:
      ValueError: there are no such files or splits, a sample has no label, or
        a label is none of the classes.
    """
    knob = "webdataset.shards.path"
    splits = shard_files.find(path, SUFFIXES, knob)
    files = [file for part in splits.values() for file in part]
    chosen, low, high = shard_files.select(splits, split,
                                          "webdataset.shards.split")
    key = caption_key or label_key
    table = spans.kept(
        files, ["webdataset", image_key, key, bool(caption_key)],
        functools.partial(_count, image_key=image_key, key=key,
                          texts=bool(caption_key)), path)
    without = table["size"] < 0
    notes = []
    if without.any():
        first = int(np.argmax(without))
        notes.append(
            f"Ignored {without.sum()} of {len(without)} samples of {path} that "
            f"have no image, such as {table['key'][first].decode()} of "
            f"{files[table['shard'][first]]}.")
    table = {name: values[~without] for name, values in table.items()}

    def where(row):
        return files[table["shard"][row]], paths.shown(table["key"][row])

    labels, class_names = None, ()
    if not caption_key:
        class_names, labels = named_labels.find(
            [text.decode("utf-8", "replace") for text in table.pop("label")],
            class_names_file, "webdataset.shards", path,
            lambda row: "{1} of {0}".format(*where(row)))
    inside = np.isin(table["shard"], [i for i, file in enumerate(files)
                                     if file in chosen])
    rows = named_labels.share(
        np.flatnonzero(inside), labels, low, high,
        lambda row: "{0}/{1}".format(os.path.basename(where(row)[0]),
                                     where(row)[1]))
    if not len(rows):
        raise ValueError(f"webdataset.shards.split = {split!r} of {path} has "
                         "no images.")
    logging.info("%s of %s: %d images of %s.", split or "All", path, len(rows),
                 f"{len(class_names)} classes" if class_names else "captions")
    for note in notes:
        logging.warning("%s", note)
    return spans.Spans(
        files=files, table={k: v[rows] for k, v in table.items()},
        class_names=class_names,
        labels=None if labels is None else labels[rows],
        texts=functools.partial(_texts, field=_field(caption_key))
        if caption_key else None,
        notes=notes)


def _count(file, *, image_key, key, texts):
    """Lists the samples of a file; see spans.kept."""
    rows = {name: [] for name in ("key", "begin", "size")}
    rows |= {"text_begin": [], "text_size": []} if texts else {"label": []}
    with spans.Reader(file) as opened:
        for name, members in _samples(tars.members(opened.read, opened.size,
                                                   file), file):
            image = _image(name, members, image_key, file)
            begin, size = members[image] if image else (-1, -1)
            values = {"key": paths.encoded(name), "begin": begin, "size": size}
            if image is not None:
                member, _, field = key.partition("/")
                if member not in members:
                    knob = "caption_key" if texts else "label_key"
                    raise ValueError(
                        f"The sample {name} of {file} has no {member!r} but "
                        f"{', '.join(members)}: set webdataset.shards.{knob} "
                        "to what holds its label or caption.")
                if texts:
                    values["text_begin"], values["text_size"] = members[member]
                else:
                    found = _texts(opened.read(*members[member]), field,
                                   f"{member} of {name} of {file}")
                    values["label"] = paths.encoded(found[0].strip())
            elif texts:
                values["text_begin"] = values["text_size"] = -1
            else:
                values["label"] = b""
            for column, value in values.items():
                rows[column].append(value)
    return {name: np.array(values, "S" if name in ("key", "label") else np.int64)
            for name, values in rows.items()}


def _samples(members, file):
    """Yields (key, {rest of the name: (first byte, size)})."""
    current, found = None, {}
    for name, begin, size in members:
        match = _SAMPLE.fullmatch(name)
        if _META.match(name) or not match:
            continue
        key, suffix = match[1], match[2].lower()
        if key != current:
            if found:
                yield current, found
            current, found = key, {}
        if suffix in found:
            raise ValueError(f"{file} has {name} twice in one sample.")
        found[suffix] = begin, size
    if found:
        yield current, found


def _image(name, members, image_key, file):
    """The key of a sample's image, or None."""
    if image_key is not None:
        return image_key if image_key in members else None
    images = [key for key in members
              if f".{key.rpartition('.')[2]}" in walking.SUFFIXES]
    if len(images) > 1:
        raise ValueError(f"The sample {name} of {file} has several images, "
                         f"{', '.join(images)}: set webdataset.shards.image_key "
                         "to the one to read.")
    return images[0] if images else None


def _field(key):
    return key.partition("/")[2]


def _texts(data: bytes, field: str, where: str = "it") -> Sequence[str]:
    """The texts of a member, or of a field of it.

    Raises:
      ValueError: it has none.
    """
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text)[field] if field else text
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError,
            TypeError) as error:
        raise ValueError(f"{where}: no field {field!r} in JSON ({error!r})"
                         if field else f"{where}: {error}") from error
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, (str, int)) for v in values):
        raise ValueError(f"{where}: {value!r} is neither a text nor a whole "
                         "number")
    return [str(v) for v in values]



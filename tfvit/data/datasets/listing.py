"""Finds the images of a folder that sorts them by class."""
import collections
from collections.abc import Sequence
import hashlib
import os
import re

from absl import logging
import tensorflow as tf

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp")
# Of images that TensorFlow does not decode.
FOREIGN = (".heic", ".heif", ".avif", ".tif", ".tiff", ".jxl", ".jp2", ".psd",
           ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw")


def find(path: str, split: str) -> tuple[list[str], list[str], list[int]]:
    """Lists class names, image files and their labels; see sources.folder.

    Raises:
      ValueError: there is no such folder or split, no image in it, or fewer
        than two classes.
    """
    base, low, high = parse(split, f"sources.folder.split = {split!r}")
    if not tf.io.gfile.isdir(path):
        raise ValueError(f"sources.folder.path = {path!r} is not a folder.")
    inside = _folders(path)
    if base in inside:
        root = os.path.join(path, base)
        # Over all splits: a class that one of them lacks must not shift the
        # labels of the others.
        class_names = sorted({
            name for other in inside
            for name in _folders(os.path.join(path, other))
        })
    elif "[" in split:
        root, class_names = path, inside
    else:
        raise ValueError(
            f"sources.folder.split = {split!r} is not in {path}, which has "
            f"{inside}. Images lie in {{path}}/{{split}}/{{class}}/; where "
            "they lie in {path}/{class}/, set a slice such as 'train[:90%]'.")
    if len(class_names) < 2:
        raise ValueError(f"{root} holds the class folders {class_names}: at "
                         "least two are needed.")
    by_class, ignored = _images_by_class(root, class_names)
    if not any(by_class.values()) and (problem := left_out(ignored)):
        raise ValueError(f"{root} has no images ({', '.join(SUFFIXES)}) but "
                         f"{problem}")
    if root == path and not any(
            os.path.dirname(file) == os.path.join(root, name)
            for name, files in by_class.items()
            for file in files):
        raise ValueError(
            f"sources.folder.split = {split!r} is not in {path}, and its "
            f"folders {class_names} hold no images themselves: they look like "
            "splits, not like classes.")
    by_class = {
        name: share(files, low, high, root) for name, files in by_class.items()
    }
    if not any(by_class.values()):
        raise ValueError(f"sources.folder.split = {split!r} of {path} has no "
                         f"images ({', '.join(SUFFIXES)}).")
    files = [file for images in by_class.values() for file in images]
    labels = [
        label for label, images in enumerate(by_class.values()) for _ in images
    ]
    empty = [name for name, images in by_class.items() if not images]
    logging.info("%s of %s: %d images of %d classes%s.", split, path,
                 len(files), len(class_names),
                 f"; none of {empty}" if empty else "")
    return class_names, files, labels


def parse(split: str, knob: str) -> tuple[str, int, int]:
    """Parses 'name' or 'name[a%:b%]' into (name, a, b).

    Raises:
      ValueError: it is neither; begins with `knob`.
    """
    match = re.fullmatch(r"([^\[\]]+)(?:\[(?:(\d+)%)?:(?:(\d+)%)?\])?", split)
    low, high = (int(match[2] or 0), int(match[3] or 100)) if match else (0, 0)
    if not 0 <= low < high <= 100:
        raise ValueError(f"{knob} is neither a name nor a slice such as "
                         "'train[:90%]'.")
    return match[1], low, high


def _images_by_class(root, class_names):
    present = set(_folders(root))
    ignored = []
    by_class = {
        name:
            sorted(_images(os.path.join(root, name), ignored))
            if name in present else [] for name in class_names
    }
    if ignored:
        logging.warning(
            "Ignored %d files in %s that are not %s, such as %s. %s",
            len(ignored), root, ", ".join(SUFFIXES), ignored[0],
            left_out(ignored))
    return by_class, ignored


def left_out(files: Sequence[str]) -> str:
    """Says which files are images of formats that are not read; else ""."""
    suffixes = (os.path.splitext(file)[1].lower() for file in files)
    counts = collections.Counter(s for s in suffixes if s in FOREIGN)
    if not counts:
        return ""
    found = ", ".join(f"{count} {suffix}" for suffix, count in
                      counts.most_common())
    return (f"{found}: images of formats that TensorFlow does not read. "
            "Convert them to JPEG or PNG.")


def share(files: list[str], low: int, high: int, root: str = "") -> list[str]:
    """Takes a percentage of one class's files, picked by their names' hashes.

    Hashes of names below `root` stay the same when the folder is moved or
    touched, and slices that share a bound share no file.
    """
    if (low, high) == (0, 100):
        return files
    names = {
        file: os.path.relpath(file, root) if root else file for file in files
    }
    ranked = sorted(
        files, key=lambda file: hashlib.md5(names[file].encode()).digest())
    begin = round(len(files) * low / 100)
    end = round(len(files) * high / 100)
    return sorted(ranked[begin:end])


def _folders(path):
    return sorted(name for name in _entries(path)
                  if tf.io.gfile.isdir(os.path.join(path, name)))


def _images(path, ignored):
    """Yields image files at any depth; appends other files to `ignored`."""
    for name in _entries(path):
        full = os.path.join(path, name)
        # Suffix first: asking a bucket what an entry is takes a request.
        if name.lower().endswith(SUFFIXES):
            yield full
        elif tf.io.gfile.isdir(full):
            yield from _images(full, ignored)
        else:
            ignored.append(full)


def _entries(path):
    """Lists visible names; buckets mark folders by a slash at the end."""
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(path))
    return [name for name in names if name and not name.startswith(".")]

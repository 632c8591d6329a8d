"""Finds the images of a folder that sorts them by class."""
from collections.abc import Sequence
import hashlib
import os
import re
import unicodedata

from absl import logging
import tensorflow as tf

from tfvit.data.datasets import walking
from tfvit.storage import paths

SUFFIXES = walking.SUFFIXES
_ROLES = {  # Words within the names of splits.
    "train": r"train(ing)?",
    "val": r"val(id|idation)?|dev|hold-?out",
    "test": r"test(ing)?|eval(uation)?",
}
_SPLITS = re.compile(rf"(?<![a-z])({'|'.join(_ROLES.values())})(?![a-z])")


def find(path: str, split: str, splits: bool | None = None) -> tuple[
        list[str], list[str], list[int], list[str]]:
    """Lists class names, image files and their labels; see sources.folder.

    Returns:
      And sentences on what was left out or is doubtful.

    Raises:
      ValueError: there is no such folder or split, no image in it, or fewer
        than two classes; or it is not certain which folders are classes.
    """
    path = paths.home(path)
    if not tf.io.gfile.isdir(path):
        raise ValueError(f"sources.folder.path = {path!r} is not a folder.")
    walk = walking.Walk()
    inside = walk.folders(path, aliases=True, loose=True)
    base, low, high = parse(split, f"sources.folder.split = {split!r}", inside)
    parts = _splits(walk, path, base, inside, base != split, splits)
    if parts:
        root = os.path.join(path, base)
        # Over all splits: a class that one of them lacks must not shift the
        # labels of the others.
        by_part = {part: walk.folders(os.path.join(path, part), loose=True)
                   for part in parts}
        class_names = sorted(set().union(*by_part.values()))
    elif base != split and not splits:
        root = path
        class_names = walk.folders(path)
        by_part = {"": class_names}
    else:
        raise ValueError(
            f"sources.folder.split = {split!r} is not in {path}, which has "
            f"{inside}. Images lie in {{path}}/{{split}}/{{class}}/; where "
            "they lie in {path}/{class}/, set a slice such as 'train[:90%]'.")
    by_class = {name: _images(walk, root, name) if name in by_part[
        base if parts else ""] else [] for name in class_names}
    if not any(by_class.values()) and (
            problem := walking.left_out(walk.left_out.get(walking.OTHER, ()))):
        raise ValueError(f"{root} has no images ({', '.join(SUFFIXES)}) but "
                         f"{problem}")
    for name in class_names:
        if not by_class[name] and _is_stray(walk, path, by_part, name):
            del by_class[name]
    class_names = list(by_class)
    if len(class_names) < 2:
        raise ValueError(f"{root} holds the class folders {class_names}: at "
                         "least two are needed.")
    _check_names(class_names)
    if root == path and splits is None and not any(
            os.path.dirname(file) == os.path.join(root, name)
            for name, files in by_class.items()
            for file in files):
        raise ValueError(
            f"sources.folder.split = {split!r} is not in {path}, and its "
            f"folders {class_names} hold no images themselves: they look like "
            "splits, not like classes. If they are classes, set "
            "sources.folder.splits = False.")
    notes = [*_alike(path, by_part, class_names), *walk.notes(path)]
    shares = {
        name: share(files, low, high, root) for name, files in by_class.items()
    }
    if not any(shares.values()):
        total = sum(map(len, by_class.values()))
        raise ValueError(
            f"sources.folder.split = {split!r} of {path} has no images "
            f"({', '.join(SUFFIXES)}); without the slice it has {total}.")
    files = [file for images in shares.values() for file in images]
    labels = [
        label for label, images in enumerate(shares.values()) for _ in images
    ]
    logging.info("%s of %s: %d images of %d classes.", split, path, len(files),
                 len(class_names))
    if empty := [name for name, images in shares.items() if not images]:
        logging.warning("%s of %s has no images of %d classes, such as %s.",
                        split, path, len(empty), empty[0])
    for note in notes:  # Hidden files are meant to be left out.
        log = logging.info if walking.HIDDEN in note else logging.warning
        log("%s", note)
    return class_names, files, labels, notes


def _splits(walk, path, base, inside, sliced, splits):
    """The folders of `path` that are splits; none where they are classes.

    Raises:
      ValueError: there may be both.
    """
    if base not in inside or splits is False:
        return []
    classes = {name: walk.folders(os.path.join(path, name)) for name in inside}
    if splits:
        return [name for name in inside if classes[name] or name == base]
    if not classes[base] and sliced and len(inside) > 1 and any(
            walk.images(os.path.join(path, base))):
        return []  # A class that is called like a split.
    ours = set(classes[base])
    strange = [name for name in inside
               if name != base and not _SPLITS.search(name.lower()) and
               2 * len(ours.intersection(classes[name])) < max(
                   min(len(ours), len(classes[name])), 1)]
    for name in strange:
        full = os.path.join(path, name)
        if any(walk.images(full)):
            raise ValueError(
                f"{path} holds the folder {base!r} with the folders "
                f"{sorted(ours)[:5]} and the folder {name!r} with others: are "
                "these splits or classes? Set sources.folder.splits = False "
                "if they are classes, or sources.folder.splits = True if they "
                f"are splits (and move {name!r} away if it is none).")
        walk.leave_out(walking.STRAY, full)
    return [name for name in inside if name not in strange]


def _is_stray(walk, path, by_part, name):
    """Whether a folder without images holds other files and is no class."""
    folders = [os.path.join(path, part, name) for part, names in by_part.items()
               if name in names]
    if any(any(walk.images(folder)) for folder in folders):
        return False  # Another split has some.
    stray = [folder for folder in folders if walk.holds_other_files(folder)]
    for folder in stray:
        walk.leave_out(walking.STRAY, folder)
    return bool(stray)


def _check_names(class_names):
    """Raises ValueError unless all names are text."""
    for name in class_names:
        if paths.shown(name) != name:
            raise ValueError(
                f"The name of the class folder {paths.shown(name)!r} is not "
                "UTF-8: rename it. (convmv -r -f latin1 -t utf8 --notest does "
                "so for all of a folder.)")


def alike(names) -> list[list[str]]:
    """Groups of names that differ in case, blanks or the like alone."""
    groups = {}
    for name in names:
        key = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        groups.setdefault(str(int(key)) if key.isdecimal() else key,
                          []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _alike(path, by_part, class_names):
    """Sentences on classes of almost the same name.

    Raises:
      ValueError: no split has more than one of them, so that they are one class
        with two names.
    """
    for group in alike(class_names):
        yield (f"{path} has classes whose names differ in case or blanks "
               f"alone: {', '.join(map(repr, group))}.")
        if max(len(set(group).intersection(names))
               for names in by_part.values()) == 1:
            raise ValueError(
                f"{path} has classes whose names differ in case or blanks "
                f"alone, {', '.join(map(repr, group))}, each in another split: "
                "rename their folders alike.")


def split_folders(path: str, splits: bool | None = None) -> list[str]:
    """The folders in `path` that `find` takes for splits; [] for classes.

    Raises:
      ValueError: as find, there may be both.
    """
    path, walk = paths.home(path), walking.Walk()
    inside = walk.folders(path, aliases=True)
    train = roles(inside, path).get("train")
    return _splits(walk, path, train, inside, True, splits) if train else []


def roles(names: Sequence[str], where: str) -> dict[str, str]:
    """{"train", "val" or "test": the one of the names of splits for it}.

    Args:
      names: such as ["training", "valid"]; without a role are left out.
      where: they are, for errors.

    Raises:
      ValueError: two have the same role.
    """
    found = {}
    for role, words in _ROLES.items():
        named = [name for name in names
                 if re.search(rf"(?<![a-z])({words})(?![a-z])", name.lower())]
        exact = [name for name in named if name.lower() == role]
        if len(exact or named) > 1:
            raise ValueError(
                f"{where} has {' and '.join(map(repr, exact or named))}: which "
                f"is for {role}? Rename or move away the others.")
        if named:
            found[role] = (exact or named)[0]
    return found


def parse(split: str, knob: str,
          existing: Sequence[str] = ()) -> tuple[str, int, int]:
    """Parses 'name' or 'name[a%:b%]' into (name, a, b).

    What is one of the `existing` names is that one, however it looks.

    Raises:
      ValueError: it is neither; begins with `knob`.
    """
    if split in existing:
        return split, 0, 100
    match = re.fullmatch(r"([^\[\]]+)(?:\[(?:(\d+)%)?:(?:(\d+)%)?\])?", split)
    low, high = (int(match[2] or 0), int(match[3] or 100)) if match else (0, 0)
    if not 0 <= low < high <= 100:
        raise ValueError(f"{knob} is neither a name nor a slice such as "
                         "'train[:90%]'.")
    return match[1], low, high


def _images(walk, root, name):
    return sorted(walk.images(os.path.join(root, name), root))


def share(files: list[str], low: int, high: int, root: str = "") -> list[str]:
    """Takes a percentage of one class's files, picked by their names' hashes.

    Hashes of names below `root` stay the same when the folder is moved or
    touched, and slices that share a bound share no file. A bound leaves at
    least one file on either side where there are two.
    """
    if (low, high) == (0, 100):
        return files
    names = {
        file: os.path.relpath(file, root) if root else file for file in files
    }
    ranked = sorted(files, key=lambda file: hashlib.md5(
        paths.encoded(names[file])).digest())
    begin, end = (_bound(len(files), percent) for percent in (low, high))
    return sorted(ranked[begin:end])


def _bound(count, percent):
    """How many of `count` files lie below a percentage.

    At least one on either side of it: 90% of four would be all of them.
    """
    bound = round(count * percent / 100)
    if 0 < percent < 100 and count > 1:
        return min(max(bound, 1), count - 1)
    return bound

"""Finds the files of a dataset that lies in many: the shards of its splits."""
from collections.abc import Mapping, Sequence
import itertools
import os
import re

import tensorflow as tf

from tfvit.data.datasets import listing
from tfvit.storage import files as files_lib
from tfvit.storage import paths

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
# train-00003-of-00008, or that and a hash; or train-0003, train_3, train.3.
_OF = re.compile(r"[-_.]?(\d+)-of-(\d+)([-_.].*)?$")
_NUMBER = re.compile(r"[-_.]?\d+$")


def braces(pattern: str) -> list[str]:
    """What a pattern of a shell stands for: a{08..10}, {train,val}; see bash.

    Numbers have as many digits as the longer of the two bounds that is written
    with zeros.
    """
    match = _RANGE.search(pattern)
    if not match:
        return [pattern]
    if match[3] is not None:
        words = match[3].split(",")
    else:
        first, last = match[1], match[2]
        padded = any(len(w) > 1 and w[0] == "0" for w in (first, last))
        width = max(len(first), len(last)) if padded else 0
        step = 1 if int(first) <= int(last) else -1
        words = [f"{i:0{width}}" for i in range(int(first), int(last) + step,
                                                step)]
    head, tail = pattern[:match.start()], braces(pattern[match.end():])
    return [head + word + rest for word, rest in itertools.product(words, tail)]


def find(path: str, suffixes: Sequence[str], knob: str) -> dict[
        str, list[str]]:
    """The files of each split, sorted, by the names of the splits.

    Args:
      path: a folder, all of whose files count, at any depth; a file; a pattern
        such as train-*.tar; or one such as train-{0000..0146}.tar, of which all
        must be there. May be gs://.
      suffixes: of the files, in lower case.
      knob: what sets `path`, for errors.

    Raises:
      ValueError: there is none, or one is missing.
    """
    path, knob = paths.home(path), f"{knob} = {path!r}"
    if tf.io.gfile.isdir(path):
        found = sorted(os.path.join(folder, name)
                       for folder, _, names in tf.io.gfile.walk(path)
                       for name in names if not name.startswith("."))
        found = [file for file in found if file.lower().endswith(suffixes)]
        if not found:
            raise ValueError(f"{knob} has no {' or '.join(suffixes)} files.")
    elif _RANGE.search(path) and not tf.io.gfile.exists(path):
        found = []
        for one in braces(path):
            matched = files_lib.matching(one)
            if not matched:
                raise ValueError(f"{knob} stands for {one}, which is not "
                                 "there.")
            found += matched
    else:
        found = files_lib.matching(path)
    if not found:
        raise ValueError(f"{knob} matches no file.")
    for file in found:
        if not file.lower().endswith(suffixes):
            raise ValueError(f"{knob}: {file} is none of "
                             f"{', '.join(suffixes)}.")
    splits = {}
    for file in found:
        splits.setdefault(_split_of(file, suffixes), []).append(file)
    for files in splits.values():
        _check_complete(files, suffixes, knob)
    return splits


def select(splits: Mapping[str, Sequence[str]], split: str | None,
           knob: str) -> tuple[set[str], int, int]:
    """(files, a, b) of a split, or of its slice from a to b percent.

    Args:
      splits: as `find` returns them.
      split: a name as the files have it, or the role that it tells, "train",
        "val" or "test"; or a slice of one, such as "train[:90%]". Where no
        file's name tells a role, any name with a slice. None for all.
      knob: what sets `split`, for errors.

    Raises:
      ValueError: there is no such split.
    """
    every = {file for files in splits.values() for file in files}
    if split is None:
        return every, 0, 100
    knob = f"{knob} = {split!r}"
    base, low, high = listing.parse(split, knob, list(splits))
    if base in splits:
        return set(splits[base]), low, high
    roles = roles_of(splits, knob)
    if base in roles:
        return set(splits[roles[base]]), low, high
    if roles or "[" not in split:
        raise ValueError(
            f"{knob} is none of the splits that the files' names tell: "
            f"{', '.join(map(repr, sorted(splits)))}. Where they are parts of "
            "one split, set a slice such as 'train[:90%]'.")
    return every, low, high


def roles_of(splits: Mapping[str, Sequence[str]], where: str) -> dict[str,
                                                                      str]:
    """{"train", "val" or "test": the split for it}; see listing.roles."""
    return listing.roles(sorted(splits), where)


def _split_of(file, suffixes):
    """train of train-00000-of-00005.parquet, train_3.tar or train/0003.tar."""
    stem = _stem(file, suffixes)
    name = _NUMBER.sub("", _OF.sub("", stem))
    if name in ("", "data"):  # As in train/data-00000-of-00005.arrow.
        name = os.path.basename(os.path.dirname(file))
    return name or stem


def _stem(file, suffixes):
    name = os.path.basename(file)
    suffix = next(s for s in suffixes if name.lower().endswith(s))
    return name[:-len(suffix)]


def _check_complete(files, suffixes, knob):
    """Raises ValueError unless all of 00000-of-00005 and so on are there."""
    found = {}
    for file in files:
        if match := _OF.search(_stem(file, suffixes)):
            found.setdefault((os.path.dirname(file), match[2]),
                             set()).add(int(match[1]))
    for (folder, count), numbers in found.items():
        first = 0 if 0 in numbers else 1  # A few programs count from 1.
        if missing := set(range(first, first + int(count))) - numbers:
            raise ValueError(
                f"{knob}: of the {count} files such as {files[0]} in {folder} "
                f"{len(missing)} are not there, such as number "
                f"{min(missing)}. Copy them, too.")

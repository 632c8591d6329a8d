"""Class numbers of labels that files hold, and shares of each class."""
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import listing
from tfvit.storage import paths
from tfvit.storage import spelling


def find(labels: Sequence[str], class_names_file: str | None, user: str,
         path: str, name: Callable[[int], str]) -> tuple[list[str], np.ndarray]:
    """(class names, class numbers [N]) of labels as texts.

    With a file of names a label is one of them, or the number of one, counted
    from 0. Without, the labels are the names: sorted, or, where all are whole
    numbers, all from 0 to the largest.

    Args:
      labels: [N], of all splits.
      class_names_file: with one name a line, or None.
      user: function that has the knob class_names_file, for errors.
      path: of the data, for errors.
      name: from a label's place to where it lies, for errors.

    Raises:
      ValueError: a label is none of the classes, or there are fewer than two.
    """
    unique, first, numbers = np.unique(np.array(labels, object), True, True)
    numeric = all(label.isdecimal() for label in unique)
    if class_names_file is not None:
        names = lines(class_names_file)
        order = {text: i for i, text in enumerate(names)}
        if numeric and not set(unique) & set(names):
            order = {str(i): i for i in range(len(names))}
            unique = [str(int(label)) for label in unique]
        knob = f" of {user}.class_names_file = {class_names_file!r}"
    elif numeric:
        unique = [str(int(label)) for label in unique]
        names = [str(i) for i in range(max(map(int, unique), default=0) + 1)]
        order = {text: i for i, text in enumerate(names)}
        if len(names) > 2 * len(unique) + 100:
            raise ValueError(
                f"{path} has labels up to {names[-1]}, but only {len(unique)} "
                f"different ones: name the classes in {user}.class_names_file.")
    else:
        names = sorted(unique)
        order = {text: i for i, text in enumerate(names)}
        for group in listing.alike(names):
            raise ValueError(
                f"{path} has labels that differ in case or blanks alone, "
                f"{', '.join(map(repr, group))}. Name all classes in "
                f"{user}.class_names_file, or write them alike.")
    table = np.empty(len(unique), np.int64)
    for place, label in enumerate(unique):
        if label not in order:
            raise unknown(name(int(first[place])), label, names, knob)
        table[place] = order[label]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"{path} needs two or more classes, each named once, "
                         f"not {names[:10]}.")
    return list(names), table[numbers.reshape(-1)]


def unknown(where: str, label: str, names: Sequence[str],
            whose: str = "") -> ValueError:
    """What to raise where a label is none of the classes.

    Args:
      where: it stands.
      label: as it stands there.
      names: of the classes.
      whose: " of ..." that these are.
    """
    return ValueError(
        f"{where}: the label {label!r} is none of the {len(names)} "
        f"classes{whose}.{spelling.did_you_mean(label, names)}")


def share(rows: np.ndarray, labels: np.ndarray | None, low: int, high: int,
          name: Callable[[int], str]) -> np.ndarray:
    """Those of `rows` between two percentages of each class; see listing.share.

    Args:
      rows: numbers of examples, ascending.
      labels: of all examples; None for one class.
      low, high: percent.
      name: from a number to what is hashed.
    """
    if (low, high) == (0, 100):
        return rows
    strata = {}
    for row in rows:
        strata.setdefault(0 if labels is None else int(labels[row]),
                          []).append(row)
    found = []
    for members in strata.values():
        by_name = {}
        for row in members:
            by_name.setdefault(name(row), []).append(row)
        for chosen in listing.share(sorted(by_name), low, high):
            found += by_name[chosen]
    return np.array(sorted(found), np.int64)


def lines(path: str) -> list[str]:
    """The lines of a text file that are not blank."""
    with tf.io.gfile.GFile(paths.home(path)) as f:
        return [line.strip() for line in f if line.strip()]

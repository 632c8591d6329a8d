"""Names of classes: those of a run, and those of the published checkpoints.

tfvit/data/labels/ holds, one class a line in the order of the logits, the
WordNet number and the words of
  imagenet2012.txt  the 1,000 classes of ImageNet-1k (ILSVRC 2012),
  imagenet21k.txt   the 21,843 classes of the imagenet21k/ and i21k files;
labels/README.md says where they come from.
"""
from collections.abc import Sequence
import os

import tensorflow as tf

_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "labels")
_PUBLISHED = {1_000: "imagenet2012", 21_843: "imagenet21k"}
NAMES = tuple(_PUBLISHED.values())  # What `read` takes beside files.


def read(path: str) -> list[str]:
    """Reads a file of one name a line.

    Args:
      path: of the file, or "imagenet2012" or "imagenet21k".
    """
    if path in NAMES:
        path = os.path.join(_FOLDER, f"{path}.txt")
    path = os.path.expanduser(path)
    with tf.io.gfile.GFile(path) as lines:
        return [line.rstrip("\n") for line in lines]


def write(names: Sequence[str], path: str) -> None:
    """Writes a file of one name a line."""
    with tf.io.gfile.GFile(path, "w") as f:
        f.write("".join(f"{name}\n" for name in names))


def published(num_classes: int) -> list[str]:
    """Names of the catalogue's files with so many classes; else numbers.

    A model of one's own may have as many: ask weights.fetch.is_published.
    """
    if num_classes in _PUBLISHED:
        return read(_PUBLISHED[num_classes])
    return numbers(num_classes)


def numbers(num_classes: int) -> list[str]:
    """What to call classes whose names nobody knows."""
    return [str(i) for i in range(num_classes)]

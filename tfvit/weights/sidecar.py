"""What an `.npz` of weights does not say itself: NAME.json beside NAME.npz.

{"class_names": [...], "link": "softmax" or "sigmoid", "value_range": [low,
high] of the pixels, "upright": ops.decode's, "image_size": [H, W],
"patch_grid": [h, w], "architecture": {"vit.vit.num_heads": 3, ...}, ...}, each
of which may be missing. Beside the file, because what else is in it would be a
parameter to those who read such files: the JAX original, timm, load.from_npz.
"""
from collections.abc import Mapping
import json
import os

import tensorflow as tf

from tfvit.weights import fetch

LINKS = ("softmax", "sigmoid")
ARCHITECTURES = ("vit.vit", "mixer.mixer")  # Whose arguments are plain values.


def path_of(npz: str) -> str:
    """NAME.json of NAME.npz."""
    return f"{os.fspath(npz).removesuffix('.npz')}.json"


def write(npz: str, values: Mapping) -> str:
    """Writes the file that belongs to an `.npz`; returns its path."""
    path = path_of(npz)
    with tf.io.gfile.GFile(path, "w") as f:
        f.write(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    return path


def read(npz: str) -> dict:
    """What lies beside an `.npz`; {} where there is nothing.

    Args:
      npz: path of a file; names and URLs of the catalogue have nothing.

    Raises:
      ValueError: it is no such file.
    """
    npz = os.path.expanduser(npz)
    path, remote = path_of(npz), "://" in npz
    if remote and (not npz.startswith("gs://") or fetch.is_published(npz)):
        return {}
    if not (tf.io.gfile.exists(npz) and tf.io.gfile.exists(path)):
        return {}
    try:
        with tf.io.gfile.GFile(path) as f:
            values = json.loads(f.read())
        wrong = not isinstance(values, dict) or [
            key for key, is_right in _RIGHT.items()
            if key in values and not is_right(values[key])]
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}. Remove it, or write it "
                         "anew by tools.export_npz.") from error
    if wrong:
        raise ValueError(f"{path} does not describe {npz} ({wrong}): remove "
                         "it, or write it anew by tools.export_npz.")
    return values


def _are(values, kind, count=None):
    return (isinstance(values, list) and len(values) == (count or len(values))
            and all(isinstance(value, kind) for value in values))


def _is_architecture(settings):
    """Whether these are arguments of one model, none of them code."""
    if not isinstance(settings, dict):
        return False
    functions = {name.rpartition(".")[0] for name in settings}
    return len(functions) == 1 and functions <= set(ARCHITECTURES) and all(
        name.rpartition(".")[2].isidentifier() and is_plain(value)
        for name, value in settings.items()) and all(
            f"{function}.{needed}" in settings for function in functions
            for needed in ("num_classes", "image_size"))


def is_plain(value: object) -> bool:
    """Whether a value is a number, a text or None, or a list of such."""
    return value is None or isinstance(value, (bool, int, float, str)) or (
        isinstance(value, (list, tuple)) and all(map(is_plain, value)))


_RIGHT = {
    "architecture": _is_architecture,
    "class_names": lambda names: _are(names, str),
    "link": lambda link: link in LINKS,
    "value_range": lambda values: _are(values, (int, float), 2),
    "image_size": lambda size: _are(size, int, 2),
    "patch_grid": lambda grid: _are(grid, int, 2),
    "upright": lambda upright: isinstance(upright, bool),
}

"""What one image of a dataset is, and whether it is sound."""

import dataclasses
import hashlib
import os

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import listing
from tfvit.data.images import decoding
from tfvit.data.images import headers
from tfvit.data.images import ops
from tfvit.inference import figures

_TILE = 128  # Largest side of a thumbnail in pixels.
_PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey+alpha", 6: "RGBA"}
_JPEG_COLOURS = {1: "grey", 3: "colour", 4: "CMYK"}


@dataclasses.dataclass
class Image:
    """An image as training sees it.

    Attributes:
      name: where it lies.
      labels: numbers of its classes.
      kind: format and channels, such as "jpeg CMYK"; and what the file's name
        says, where that is another format.
      pixels: uint8 [H, W, C], upright; None where there is a problem.
      turned: whether the EXIF orientation says that the file lies otherwise.
      digest: of the pixels.
      problem: why it cannot be used, or None.
    """
    name: str
    labels: tuple
    kind: str
    pixels: np.ndarray | None = None
    turned: bool = False
    digest: bytes = b""
    problem: str | None = None


def inspect(record, max_pixels):
    """Makes an Image of a record of a source, without raising."""
    contents = record["image"]
    label = record["label"].numpy()
    name = record["name"].numpy().decode("utf-8", "replace")
    found = Image(name=name,
                  labels=tuple(np.flatnonzero(label > 0).tolist())
                  if label.ndim else (int(label),),
                  kind=kind(contents) + _misnomer(name, contents))
    if contents.dtype != tf.string:
        found.pixels = contents.numpy()
    elif not contents.numpy():
        found.problem = "is empty (0 bytes)."
    else:
        try:
            size, pixels, orientation = _decode(contents, max_pixels)
        except tf.errors.OpError:  # Eagerly, because that says it in one line.
            found.problem = decoding.error(contents) or "does not decode."
        else:
            if size > max_pixels:
                found.problem = (f"has {int(size):,} pixels, more than "
                                 f"--max_pixels={max_pixels:,}.")
            else:
                found.pixels = pixels.numpy()
                found.turned = bool(orientation > 1)
    if not found.problem:
        digest = hashlib.blake2b(str(found.pixels.shape).encode(),
                                 digest_size=16)
        digest.update(found.pixels)
        found.digest = digest.digest()
    return found


@tf.function(input_signature=[tf.TensorSpec([], tf.string),
                              tf.TensorSpec([], tf.int64)])
def _decode(contents, max_pixels):
    """(how many pixels; [H, W, 3], or [0, 0, 3] if too many; orientation)."""
    size = headers.num_pixels(contents)
    pixels = tf.cond(size > max_pixels,
                     lambda: tf.zeros([0, 0, 3], tf.uint8),
                     lambda: ops.decode(contents, upright=True))
    return size, pixels, headers.orientation(contents)


def kind(contents):
    """Format and channels, from the first bytes; an array has channels only."""
    if contents.dtype != tf.string:
        return f"array of {contents.shape[-1]} channels"
    data = contents.numpy()
    if data.startswith(b"\x89PNG") and len(data) > 25:
        return f"png {_PNG_COLOURS.get(data[25], '?')}, {data[24]} bits"
    if data.startswith(b"\xff\xd8\xff"):
        return f"jpeg {_JPEG_COLOURS.get(_jpeg_components(data), '?')}"
    if data.startswith(b"GIF8"):
        return "gif"
    if data.startswith(b"BM") and len(data) > 29:
        return f"bmp, {int.from_bytes(data[28:30], 'little')} bits"
    if data[8:12] == b"WEBP":
        return "webp"
    return "no image"


def _misnomer(name, contents):
    suffix = os.path.splitext(name)[1].lower()
    actual = kind(contents).replace(",", "").split()[0]
    if (suffix not in listing.SUFFIXES or contents.dtype != tf.string or
            {"jpg": "jpeg", "jfif": "jpeg"}.get(suffix[1:],
                                                suffix[1:]) == actual):
        return ""
    return f" named {suffix}"


def _jpeg_components(data):
    """Number of components in a JPEG's frame header; None without one."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xff:
        marker = data[at + 1]
        if 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):
            return data[at + 9]
        # A filler byte, or a segment that says how long it is.
        at += 1 if marker == 0xff else 2 + int.from_bytes(
            data[at + 2:at + 4], "big")
    return None


def thumbnail(pixels):
    """Shrinks [H, W, C] to at most 128 pixels a side, uint8 [h, w, 3]."""
    return figures.thumbnail(ops.decode(pixels), _TILE)

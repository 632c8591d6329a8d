"""What becomes of an image before it is trained on many times."""
from collections.abc import Callable
import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvit.data.images import headers
from tfvit.data.images import ops

# Above it resize_small would cut off the ends of a panorama.
_ANY_ASPECT = 1000.
_JPEG, _JPEG_END, _TAIL = b"\xff\xd8\xff", b"\xff\xd9", 64


class Photo(NamedTuple):
    """An image as it is kept, and what it was.

    Attributes:
      contents: of the file.
      before: (height, width), upright.
      after: the same, of what is kept.
      bytes_before: of the file that it was.
      copied: whether the file is the one that it was.
    """
    contents: bytes
    before: tuple
    after: tuple
    bytes_before: int
    copied: bool


def maker(short_side: int | None, quality: int) -> Callable:
    """A function from an image, bytes or uint8 [H, W, c], to a Photo.

    What is larger than short_side is shrunk to it, by the mean of the pixels
    that each new one covers; what lies on its side stands up; CMYK becomes RGB.
    All these become JPEG, without alpha. Any other file is copied, and arrays
    become PNG.

    Args:
      short_side: pixels of the smaller side, or None to shrink nothing.
      quality: of JPEG, 1 to 100.

    The function raises tf.errors.OpError where an image cannot be decoded.
    """
    convert = _graph(short_side or 0, quality)

    def make(image):
        if isinstance(image, np.ndarray):  # Of pixels.
            image = tf.io.encode_png(image).numpy()
        elif image[:3] == _JPEG and _JPEG_END not in image[-_TAIL:] and (
                _JPEG_END not in image):
            # Of many such files libjpeg would say something to the terminal
            # that names no file, "Improper call to JPEG library" for one.
            raise tf.errors.InvalidArgumentError(None, None,
                                                 "The JPEG is cut short.")
        contents, before, after, copied = convert(image)
        return Photo(contents.numpy(), tuple(before.numpy().tolist()),
                     tuple(after.numpy().tolist()), len(image), bool(copied))

    return make


@functools.lru_cache(maxsize=None)
def _graph(short_side, quality):

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)],
                 autograph=False)
    def convert(image):
        # All of it, whatever comes of it: a broken file is to be found now.
        pixels = ops.decode(image, upright=True)
        sides = tf.shape(pixels)[:2]
        is_jpeg = headers.starts(image, b"\xff\xd8\xff")
        is_cmyk = tf.cond(
            is_jpeg, lambda: tf.image.extract_jpeg_shape(image)[2] == 4,
            lambda: False)
        is_large = (tf.reduce_min(sides) > short_side if short_side else
                    tf.constant(False))
        changes = is_large | is_cmyk | (headers.orientation(image) > 1)

        def small():
            found = ops.resize_small(pixels, smaller_size=short_side,
                                     max_aspect=_ANY_ASPECT)
            return tf.saturate_cast(tf.round(found), tf.uint8)

        def encoded():
            kept = tf.cond(is_large, small,
                           lambda: pixels) if short_side else pixels
            return tf.io.encode_jpeg(kept, "rgb", quality=quality,
                                     optimize_size=True), tf.shape(kept)[:2]

        contents, after = tf.cond(changes, encoded, lambda: (image, sides))
        return contents, sides, after, tf.logical_not(changes)

    return convert

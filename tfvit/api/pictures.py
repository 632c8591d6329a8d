"""Images as programs have them, paths, bytes, arrays, PIL, as files' bytes."""

import os

import numpy as np
import tensorflow as tf

from tfvit.serving import formats
from tfvit.storage import paths

_BYTES = (bytes, bytearray, memoryview)
_FORMS = ("the path of a file, its bytes, a PIL image or an array uint8 "
          "[H, W, 3], or a list of these")
# Of PIL, with more than 8 bits: PIL would cut off what is above 255.
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def encoded(images):
    """[(name, bytes of an image file)] of images in any form.

    Args:
      images: one or a list of: a path, the bytes of a file, a PIL image, an
        array uint8 [H, W, 3] or [H, W], an open file; or one array uint8
        [B, H, W, 3].

    Raises:
      ValueError: it is none of these, or an array is empty or too large.
      OSError: a file cannot be read.
    """
    if _is_one(images):
        images = [images]
    elif isinstance(images, dict) or not hasattr(images, "__iter__"):
        raise ValueError(f"images={images!r} must be {_FORMS}.")
    return [_encoded(image, number) for number, image in enumerate(images)]


def _is_one(images):
    return (isinstance(images, (str, *_BYTES, os.PathLike)) or
            _is_pil(images) or hasattr(images, "read") or
            _is_array(images) and len(images.shape) in (0, 2, 3))


def _is_pil(image):
    return hasattr(image, "convert") and hasattr(image, "mode")


def _is_array(image):
    """Of NumPy, TensorFlow, PyTorch, ...; no table of pandas."""
    return hasattr(image, "__array__") and hasattr(image, "shape") and (
        not hasattr(image, "columns"))


def _encoded(image, number):
    name = f"image {number}"
    if isinstance(image, _BYTES):
        return name, bytes(image)
    if isinstance(image, (str, os.PathLike)):
        path = os.path.expanduser(os.fspath(image))
        if not path or tf.io.gfile.isdir(path):
            raise ValueError(f"{name} is {path!r}, and must be an image: "
                             f"{_FORMS}.")
        try:
            with tf.io.gfile.GFile(paths.encoded(path), "rb") as f:
                return path, f.read()
        except tf.errors.OpError as error:
            kind = (FileNotFoundError if isinstance(
                error, tf.errors.NotFoundError) else OSError)
            raise kind(f"{path}: it cannot be read, or there is no such "
                       "file.") from error
    if hasattr(image, "read") and not _is_pil(image):
        return getattr(image, "name", name), image.read()
    if _is_pil(image):
        if image.mode in _DEEP:
            raise ValueError(f"{name} is a PIL image of mode {image.mode}, "
                             "and must have 8 bits: scale it to 0 to 255.")
        image = image.convert("RGB")
    elif not _is_array(image):
        raise ValueError(f"{name} is a {type(image).__name__}, and must be "
                         f"{_FORMS.partition(', or a list')[0]}.")
    return name, _png(np.asarray(image), name)


def _png(pixels, name):
    what = f"{name} is an array {pixels.dtype} {pixels.shape}, and must "
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[
            -1] not in (1, 3, 4):
        raise ValueError(
            f"{what}be uint8 [H, W, 3]: pixels from 0 to 255. What is already "
            "scaled to [-1, 1] goes to Model.keras.")
    if not pixels.size:
        raise ValueError(f"{what}have pixels.")
    if pixels.shape[0] * pixels.shape[1] > formats.MAX_PIXELS:
        raise ValueError(f"{what}have no more than {formats.MAX_PIXELS:,} "
                         "pixels.")
    # It is read again at once: speed counts, not size.
    return tf.io.encode_png(pixels, compression=1).numpy()

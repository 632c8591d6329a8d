"""Images as programs have them, paths, bytes, arrays, PIL, as files' bytes."""

import os

import numpy as np
import tensorflow as tf

from tfvit.storage import paths


def encoded(images):
    """[(name, bytes of an image file)] of images in any form.

    Args:
      images: one or a list of: a path, the bytes of a file, a PIL image, an
        array uint8 [H, W, 3] or [H, W]; or one array uint8 [B, H, W, 3].

    Raises:
      ValueError: it is none of these.
      OSError: a file cannot be read.
    """
    if isinstance(images, (str, bytes, os.PathLike)) or _is_pil(images):
        images = [images]
    elif hasattr(images, "ndim") and images.ndim < 4:
        images = [images]
    return [_encoded(image, number) for number, image in enumerate(images)]


def _is_pil(image):
    return hasattr(image, "convert") and hasattr(image, "mode")


def _encoded(image, number):
    if isinstance(image, bytes):
        return f"image {number}", image
    if isinstance(image, (str, os.PathLike)):
        path = os.path.expanduser(os.fspath(image))
        with tf.io.gfile.GFile(paths.encoded(path), "rb") as f:
            return path, f.read()
    if _is_pil(image):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[
            -1] not in (1, 3, 4):
        raise ValueError(
            f"image {number} is an array {pixels.dtype} {pixels.shape}, and "
            "must be uint8 [H, W, 3]: pixels from 0 to 255. What is already "
            "scaled to [-1, 1] goes to Model.keras.")
    return f"image {number}", tf.io.encode_png(pixels).numpy()

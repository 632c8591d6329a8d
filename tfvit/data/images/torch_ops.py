"""Image operations of torchvision, by which timm and transformers evaluate."""

import tensorflow as tf

from tfvit.data.images import ops


def resize_and_center_crop(image,
                           *,
                           size,
                           fraction: float = 1.0,
                           method: str = "bicubic",
                           keep_aspect: bool = True,
                           floor: bool = False):
    """Resizes and takes the middle, uint8 [h, w, C], as torchvision's ops do.

    That is how timm evaluates, and most of transformers: with antialiasing, to
    whole numbers.

    Args:
      image: [H, W, C], see images.ops.
      size: of the result.
      fraction: of the resized image's smaller side that is taken (crop_pct).
      method: one of tf.image.resize.
      keep_aspect: else both sides become size / fraction.
      floor: where the middle is half a pixel off, begin before it, as
        transformers does; timm begins at the even one.
    """
    height, width = ops.pair(size)
    least = [int(side / fraction) for side in (height, width)]
    if keep_aspect:
        image = ops.middle(image, ops.MAX_ASPECT)
        sides = tf.cast(tf.shape(image)[:2], tf.float64)
        if height == width:  # The longer side down to a whole number.
            scaled = tf.cast(least[0] * sides / tf.reduce_min(sides), tf.int32)
            target = tf.maximum(scaled, least[0])
        else:
            ratio = tf.reduce_min(sides / tf.constant(least, tf.float64))
            target = tf.cast(tf.round(sides / ratio), tf.int32)
    else:
        target = tf.constant(least)
    channels = image.shape[-1]
    image = tf.image.resize(image, target, method, antialias=True)
    image = ops.to_uint8(tf.ensure_shape(image, [None, None, channels]),
                         nearest=True)
    over = tf.shape(image)[:2] - [height, width]
    top, left = tf.unstack(over // 2 if floor else tf.cast(
        tf.round(over / 2), tf.int32))
    image = image[top:top + height, left:left + width]
    return tf.ensure_shape(image, [height, width, channels])


def normalize(image, *, mean, std):
    """(x / 255 - mean) / std of each channel, in float32.

    Args:
      image: [..., C], see images.ops.
      mean: C numbers, of what 0..255 is as 0..1.
      std: C numbers.
    """
    mean, std = (tf.constant(values, tf.float32) for values in (mean, std))
    return (tf.cast(image, tf.float32) / 255 - mean) / std

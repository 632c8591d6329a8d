"""Random erasing and colour jitter: ops as in ops.py, after decoding."""
import tensorflow as tf

from tfvit.data.images import batchwise
from tfvit.data.images import ops
from tfvit.data.images import pixels

_ATTEMPTS = 10


def random_erasing(image,
                   seed,
                   *,
                   probability: float = 0.5,
                   area_min: float = 2,
                   area_max: float = 33,
                   aspect_min: float = 0.3,
                   aspect_max: float = 3.3,
                   value: float | None = None) -> tf.Tensor:
    """Overwrites a rectangle somewhere in the image (arXiv 1708.04896).

    Its area is uniform and the logarithm of its aspect ratio, too. Sizes are
    drawn until one fits, ten times at most; it lies anywhere inside.

    Args:
      image: uint8 or float [H, W, C] of 0..255.
      seed: integer [2].
      probability: share of images in which this happens.
      area_min: smallest area, in percent of the image's.
      area_max: largest area, in percent.
      aspect_min: smallest width / height.
      aspect_max: largest width / height.
      value: what to write, 0..255; None for noise, uniform for every pixel and
        channel.

    Returns:
      An image of the same shape and type.
    """
    shape = tf.shape(image)
    sides = tf.cast(shape[:2], tf.float32)
    fold = tf.random.experimental.stateless_fold_in
    coin, row, column = tf.unstack(
        tf.random.stateless_uniform([3], fold(seed, 0)))
    area, aspect = tf.unstack(
        tf.random.stateless_uniform([2, _ATTEMPTS], fold(seed, 1)))
    area = (area_min + (area_max - area_min) * area) / 100
    area *= tf.reduce_prod(sides)
    low, high = tf.math.log(float(aspect_min)), tf.math.log(float(aspect_max))
    aspect = tf.exp(low + (high - low) * aspect)
    sizes = tf.round(tf.sqrt(tf.stack([area / aspect, area * aspect], 1)))
    fits = tf.reduce_all(sizes <= sides, 1)  # sizes [attempts, 2]
    size = sizes[tf.argmax(fits)]
    begin = tf.floor(tf.stack([row, column]) * (sides - size + 1))
    rows, columns = (
        _between(tf.range(sides[axis]), begin[axis], size[axis])
        for axis in range(2))
    inside = rows[:, tf.newaxis] & columns & (
        tf.reduce_any(fits) & (coin < probability))
    filler = (tf.random.stateless_uniform(shape, fold(seed, 2), 0, 256,
                                          tf.int32)
              if value is None else tf.fill(shape, value))
    return tf.where(inside[..., tf.newaxis], tf.cast(filler, image.dtype),
                    image)


@batchwise.also_of_batches
def color_jitter(image,
                 seed,
                 *,
                 brightness: float = 0.,
                 contrast: float = 0.,
                 saturation: float = 0.,
                 hue: float = 0.) -> tf.Tensor:
    """Changes colours at random, one property after the other in any order.

    Args:
      image: uint8 or float [H, W, 3], which is clipped and truncated.
      seed: integer [2].
      brightness: the factor is uniform from max(0, 1 - this) to 1 + this; 0
        leaves the property as it is.
      contrast, saturation: alike.
      hue: largest turn of the colour circle, 0 to 0.5 of it.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: a number is out of its range.
    """
    strengths = {"brightness": brightness, "contrast": contrast,
                 "saturation": saturation, "hue": hue}
    for name, strength in strengths.items():
        if not 0 <= strength <= (0.5 if name == "hue" else 100):
            raise ValueError(
                f"distort.color_jitter.{name}={strength} must be at least 0"
                f"{' and at most 0.5' if name == 'hue' else ''}.")
    image = ops.to_uint8(image)
    if batchwise.is_batch(image):
        return _jitter_batch(image, seed, strengths)
    shape = image.shape
    order, amounts = draw_jitter(seed, strengths)
    branches = [
        lambda image, op=op, name=name: op(image, amounts[name])
        for name, op in _JITTERS.items() if strengths[name]
    ]
    for position in range(len(branches)):
        image = tf.switch_case(order[position], [
            lambda image=image, branch=branch: branch(image)
            for branch in branches
        ])
    return tf.ensure_shape(image, shape)


def draw_jitter(seed, strengths) -> tuple[tf.Tensor, dict]:
    """Draws what color_jitter does to an image.

    Args:
      seed: integer [2].
      strengths: {property: how much it may change, 0 for not at all}.

    Returns:
      The order, int32 [n], of those that change; and {property: factor, or turn
      of the hue}, float32 [].
    """
    first, second = tf.unstack(
        tf.random.experimental.stateless_split(seed, 2))
    changed = [name for name, strength in strengths.items() if strength]
    order = tf.random.experimental.stateless_shuffle(
        tf.range(len(changed)), first)
    draws = tf.unstack(tf.random.stateless_uniform([len(strengths)], second))
    return order, _amounts(strengths, draws)


def _amounts(strengths, draws):
    """{property: factor, or turn of the hue} of numbers from 0 to 1."""
    amounts = {}
    for (name, strength), draw in zip(strengths.items(), draws):
        low = -strength if name == "hue" else max(0., 1. - strength)
        high = strength if name == "hue" else 1. + strength
        amounts[name] = low + (high - low) * draw
    return amounts


def _jitter_batch(images, seeds, strengths):
    """color_jitter of images [b, H, W, 3], each in an order of its own."""
    changed = [name for name, strength in strengths.items() if strength]
    draws = batchwise.uniform(seeds, len(strengths) + len(changed))
    draws = tf.reshape(tf.transpose(draws), [draws.shape[1], -1, 1, 1, 1])
    amounts = _amounts(strengths, tf.unstack(draws[:len(strengths)]))
    order = tf.argsort(draws[len(strengths):], axis=0)  # [n, b, 1, 1, 1]
    for position in range(len(changed)):
        now = images
        for number, name in enumerate(changed):
            op = _hue_batch if name == "hue" else _JITTERS[name]
            images = tf.where(order[position] == number,
                              op(now, amounts[name]), images)
    return images


def _hue_batch(images, turn):
    """tf.image.adjust_hue, which takes one turn for all images."""
    hue, saturation, value = tf.split(tf.image.rgb_to_hsv(
        tf.image.convert_image_dtype(images, tf.float32)), 3, -1)
    hue = tf.math.floormod(hue + turn, 1.)
    return tf.image.convert_image_dtype(tf.image.hsv_to_rgb(
        tf.concat([hue, saturation, value], -1)), tf.uint8, saturate=True)


_JITTERS = {
    "brightness": pixels.brightness,
    "contrast": pixels.contrast,
    "saturation": pixels.color,
    "hue": tf.image.adjust_hue,
}


def _between(numbers, begin, length):
    return (numbers >= begin) & (numbers < begin + length)

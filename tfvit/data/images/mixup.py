"""Mixing the images and labels of a replica's batch, inside the train step.

`mix(batch, seed)` is a pure function of a batch, a dict of
    images  float32 [b, H, W, c]
    labels  float32 [b, C], probabilities
    scale   float32 [b], weights in the loss; may be missing
and of an integer seed [2]. It returns a batch of the same form. Every image is
mixed with the one before it, the first with the last. One of weight 0 (see
pipeline.train.skip_corrupt) is mixed into none.
"""
from collections.abc import Callable, Sequence
import math

import tensorflow as tf


def mixup(batch, seed, *, alpha: float, per_example: bool = False) -> dict:
    """Takes l * image + (1 - l) * previous image, and labels alike.

    l is the larger of x and 1 - x, x from Beta(alpha, alpha) (arXiv 1710.09412
    and, for the larger, 1905.02249), so that the image itself prevails.

    Args:
      batch, seed: see above.
      alpha: 0 for no mixing.
      per_example: draw l for every image, instead of one for all of them, as
        big_vision does.

    Raises:
      ValueError: alpha is negative, or there is one image alone.
    """
    if not _mixes("mixup", alpha, batch):
        return batch
    share = beta(_draws(batch, per_example), seed, alpha=alpha)
    share = _own_share(batch, tf.maximum(share, 1. - share))  # [b]
    weight = share[:, tf.newaxis, tf.newaxis, tf.newaxis]
    images = batch["images"]
    images = weight * images + (1. - weight) * _previous(images)
    return {**batch, "images": images, "labels": _mix_labels(batch, share)}


def cutmix(batch, seed, *, alpha: float, per_example: bool = False) -> dict:
    """Pastes a box of the previous image, and mixes labels by its area.

    The box has the image's shape, an area of 1 - l, l from Beta(alpha, alpha),
    and its centre anywhere; what lies outside is cut off (arXiv 1905.04899).

    Args:
      batch, seed: see above.
      alpha: 0 for no mixing; the paper's is 1.
      per_example: draw a box for every image, instead of one for all of them.

    Raises:
      ValueError: see mixup.
    """
    if not _mixes("cutmix", alpha, batch):
        return batch
    count = _draws(batch, per_example)
    first, second = tf.unstack(
        tf.random.experimental.stateless_split(seed, 2))
    side = tf.sqrt(1. - beta(count, first, alpha=alpha))
    at = tf.unstack(tf.random.stateless_uniform([2, count], second))
    images = batch["images"]
    rows = _span(at[0], side, images.shape[1])
    columns = _span(at[1], side, images.shape[2])
    inside = rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :]  # [count, H, W]
    usable = _own_share(batch, tf.zeros([count])) < 1.  # [b]
    inside &= usable[:, tf.newaxis, tf.newaxis]
    images = tf.where(inside[..., tf.newaxis], _previous(images), images)
    share = 1. - tf.reduce_mean(tf.cast(inside, tf.float32), [1, 2])
    return {**batch, "images": images, "labels": _mix_labels(batch, share)}


def one_of(batch, seed, *, mixes: Sequence[Callable]) -> dict:
    """Applies one of several ways to mix, such as [mixup, cutmix], at random.

    Args:
      batch, seed: see above.
      mixes: functions of this kind, equally probable in every step.
    """
    choice, rest = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    number = tf.random.stateless_uniform([], choice, 0, len(mixes), tf.int32)
    return tf.switch_case(
        number, [lambda mix=mix: mix(batch, rest) for mix in mixes])


def beta(count: int, seed, *, alpha: float) -> tf.Tensor:
    """Draws float32 [count] from Beta(alpha, alpha), alpha above 0.

    By two uniform numbers each: of Student's t with 2 alpha degrees of freedom,
    drawn by Bailey's polar method (Math. Comp. 62, 1994), this is 1/2 +
    t / sqrt(2 alpha + t^2) / 2. (XLA has no gamma distribution.)
    """
    radius, angle = tf.unstack(tf.random.stateless_uniform([2, count], seed))
    # t^2 / (2 alpha) = (1 - z) / z * cos^2. All of it may round to 0 or 1.
    z = tf.pow(1. - radius, 1. / alpha)
    cosine = tf.cos(2. * math.pi * angle)
    return 0.5 + 0.5 * tf.sign(cosine) * tf.math.rsqrt(
        1. + z / ((1. - z) * tf.square(cosine)))


def _mixes(name, alpha, batch) -> bool:
    if alpha < 0:
        raise ValueError(f"mixup.{name}.alpha={alpha} must be at least 0.")
    if alpha and batch["images"].shape[0] < 2:
        raise ValueError(
            f"mixup.{name} mixes the images of a replica, but it has 1 alone: "
            "raise Experiment.batch_size, or set Experiment.mix = None.")
    return bool(alpha)


def _draws(batch, per_example) -> int:
    return batch["images"].shape[0] if per_example else 1


def _previous(values):
    return tf.roll(values, 1, 0)


def _own_share(batch, share):
    """Makes [b] of shares [b] or [1]: 1 where the previous has weight 0."""
    scale = batch.get("scale", tf.ones(batch["images"].shape[:1]))
    return tf.where(_previous(scale) > 0, share, 1.)


def _mix_labels(batch, share):
    share = share[:, tf.newaxis]
    return share * batch["labels"] + (1. - share) * _previous(batch["labels"])


def _span(at, length, size) -> tf.Tensor:
    """Tells the pixels, bool [count, size], of spans in a side.

    Args:
      at: their centres, float32 [count] of 0 to 1.
      length: their lengths, float32 [count] of 0 to 1.
      size: pixels of the side.
    """
    centre = tf.floor(at * size)
    half = tf.floor(tf.floor(length * size) / 2)
    pixel = tf.range(size, dtype=tf.float32)
    distance = pixel - centre[:, tf.newaxis]
    return (distance >= -half[:, tf.newaxis]) & (distance < half[:, tf.newaxis])

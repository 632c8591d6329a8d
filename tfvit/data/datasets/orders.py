"""Random numbers for orders of examples that any place can be computed of."""
import tensorflow as tf

from tfvit.data.datasets import source

_POINTS = 2**40  # Different numbers from 0 to 1.
_MIXER = 0x1E3779B97F4A7C15  # Odd, of many ones: changes all of a seed.


def other_seeds(seeds, number) -> tf.Tensor:
    """Other seeds, int64 [K, 2], for each number, int64 [] or [K]."""
    number = tf.cast(number, tf.int64) * _MIXER + tf.zeros_like(seeds[:, 0])
    return tf.bitwise.bitwise_xor(seeds, number[:, tf.newaxis])


def uniform(places, seeds, number: int) -> tf.Tensor:
    """Random numbers from 0 to below 1, float64 [K], of places and seeds.

    Args:
      places: int64 [K], below 2**40.
      seeds: int64 [K, 2].
      number: of these random numbers among others of the same seeds.
    """
    found = source.permuted(places, other_seeds(seeds, number), _POINTS)
    return tf.cast(found, tf.float64) / _POINTS

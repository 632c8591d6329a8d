"""Random numbers for the images of a batch, each with a seed of its own.

TensorFlow's stateless numbers take one seed a call, which for a batch would be a
loop over its images. Here the seeds are a tensor: Threefry-2x32 with 20 rounds
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), in plain
operations on int64 that hold 32 bits, which every device has and XLA fuses.

An op of images.ops that is `also_of_batches` takes uint8 [b, H, W, c] and seeds
[b, 2] as well, and is then of static shapes, for XLA to compile.
"""
import numpy as np
import tensorflow as tf

_ROTATIONS = np.array([(13, 15, 26, 6), (17, 29, 16, 24)], np.int64)
_PARITY = 0x1BD11BDA
_BITS = 2**32 - 1


def also_of_batches(op):
    """Marks an op that takes batches, so that it may run on the device."""
    op.of_batches = True
    return op


def takes_batches(op) -> bool:
    """Whether it is so marked; through gin's and functools' wrappers."""
    return getattr(getattr(op, "func", op), "of_batches", False)


def is_batch(image) -> bool:
    """Whether an image is several, [b, H, W, c]."""
    return len(image.shape) == 4


def seeds(seed: int, numbers) -> tf.Tensor:
    """Makes a seed for each example, int64 [b, 2], of its number [b]."""
    key = [tf.constant(word & _BITS, tf.int64) for word in (seed, seed >> 32)]
    numbers = tf.cast(numbers, tf.int64)
    return tf.stack(threefry(key, [
        numbers & _BITS, tf.bitwise.right_shift(numbers, 32) & _BITS]), -1)


def fold_in(seeds, number: int) -> tf.Tensor:
    """Makes other seeds [b, 2] of seeds and a small number."""
    first = tf.fill(tf.shape(seeds)[:1], tf.constant(number, tf.int64))
    return tf.stack(threefry(tf.unstack(seeds, axis=-1),
                             [first, tf.ones_like(first)]), -1)


def uniform(seeds, count: int) -> tf.Tensor:
    """Draws float32 [b, count] of 0 <= x < 1."""
    key = [word[:, tf.newaxis] for word in tf.unstack(seeds, axis=-1)]
    numbers = tf.range(count, dtype=tf.int64)[tf.newaxis] + 0 * key[0]
    bits, _ = threefry(key, [numbers, tf.zeros_like(numbers)])
    return tf.cast(tf.bitwise.right_shift(bits, 8), tf.float32) * 2.0**-24


def threefry(key, counter) -> list[tf.Tensor]:
    """Encrypts pairs of 32 bits, held by int64, with pairs of 32 bits."""
    keys = tf.stack([*key, tf.bitwise.bitwise_xor(
        tf.bitwise.bitwise_xor(key[0], key[1]), tf.constant(_PARITY, tf.int64))])

    # A loop, which XLA does not fuse with what uses the numbers: else they would
    # be computed again for every pixel.
    def four_rounds(group, first, second):
        for bits in tf.unstack(tf.gather(_ROTATIONS, group % 2)):
            first = _add(first, second)
            second = tf.bitwise.bitwise_xor(first, _rotated(second, bits))
        first = _add(first, tf.gather(keys, (group + 1) % 3))
        second = _add(second, tf.gather(keys, (group + 2) % 3) + group + 1)
        return group + 1, first, second

    _, first, second = tf.while_loop(
        lambda group, *_: group < 5, four_rounds,
        [tf.constant(0, tf.int64), _add(counter[0], key[0]),
         _add(counter[1], key[1])])
    return [first, second]


def _add(a, b):
    return tf.bitwise.bitwise_and(a + b, tf.constant(_BITS, tf.int64))


def _rotated(word, bits):
    left = tf.bitwise.left_shift(word, bits)
    right = tf.bitwise.right_shift(word, 32 - bits)
    return tf.bitwise.bitwise_and(tf.bitwise.bitwise_or(left, right),
                                  tf.constant(_BITS, tf.int64))

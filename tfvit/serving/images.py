"""From the bytes of image files to batches, as evaluation makes them."""

import functools

import tensorflow as tf

from tfvit.data.images import decoding
from tfvit.data.images import headers
from tfvit.data.images import ops as ops_lib

UNREADABLE = "Not an image that can be decoded, or cut short."
TOO_LARGE = "The image has more than {:,} pixels."
FOREIGN = "It is {}. " + headers.ADVICE


def signature(function, *specs):
    """The concrete function of a signature, whose inputs `specs` describe.

    Inputs of other shapes are an error. Nothing else looks at them, and some
    kernels end the whole process where they are wrong.
    """

    @functools.wraps(function)
    def checked(*inputs):
        return function(*(tf.ensure_shape(value, spec.shape)
                          for value, spec in zip(inputs, specs)))

    return tf.function(checked, autograph=False).get_concrete_function(*specs)


class Reader:
    """Preprocesses images; one that cannot be read costs only its own row.

    Args:
      ops: preprocessing, from an encoded image to [H, W, C] in [-1, 1].
      shape: (H, W, C) of the model's images.
      max_pixels: larger images are not decoded.

    Raises:
      ValueError: an op is random.
    """

    def __init__(self, ops, shape, max_pixels):
        random = [decoding.op_name(op) for op in ops if decoding.is_random(op)]
        if random:
            raise ValueError(f"Preprocessing for serving must not be random, "
                             f"but {random} take a seed.")
        self._ops = ops
        self._shape = shape
        self._max_pixels = max_pixels

    def __call__(self, images):
        """Any images [B, ...] -> ([B, H, W, 3] in [-1, 1], error [B])."""
        shape = list(self._shape)
        count = tf.shape(images, tf.int64)[0]
        # By the number of what is wrong.
        problems = ["", TOO_LARGE.format(self._max_pixels),
                    *(FOREIGN.format(name) for name in headers.FOREIGN[1:]),
                    UNREADABLE]

        def prepare(number, image):
            problem = tf.constant(0)
            if image.dtype == tf.string:
                which = headers.foreign(image)
                too_large = headers.num_pixels(image) > self._max_pixels
                problem = tf.where(which > 0, which + 1,
                                   tf.cast(too_large, tf.int32))
            image = tf.cond(problem > 0, lambda: tf.zeros(shape),
                            lambda: self._apply(image))
            return number, image, problem

        # Decoding raises, and only a dataset can leave out what did.
        examples = tf.data.Dataset.from_tensor_slices(images).enumerate()
        examples = examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        # One more, so that there is a batch even if nothing is left.
        last = tf.data.Dataset.from_tensors((count, tf.zeros(shape), 0))
        examples = examples.ignore_errors().concatenate(last)
        numbers, pixels, problem = examples.batch(
            count + 1).get_single_element()

        def spread(values):  # Back to all rows: zeros where nothing is left.
            rows = tf.concat([[count + 1], tf.shape(values, tf.int64)[1:]], 0)
            return tf.scatter_nd(numbers[:, tf.newaxis], values, rows)[:-1]

        error = tf.gather(problems, tf.where(
            spread(tf.ones_like(numbers)) > 0, spread(problem),
            len(problems) - 1))
        return tf.ensure_shape(spread(pixels), [None, *shape]), error

    def _apply(self, image):
        for op in self._ops:
            image = op(image)
        if not image.shape.is_fully_defined():
            # The run's own data had the right size without resizing.
            image = ops_lib.resize(image, size=self._shape[:2])
        return tf.ensure_shape(tf.cast(image, tf.float32), self._shape)


def good(error, rank):
    """Which rows have no error, bool [B, 1, ...] of this rank."""
    return tf.reshape(error == "", [-1] + [1] * (rank - 1))


def masked(values, error):
    """Zeros in the rows that have an error."""
    return tf.where(good(error, values.shape.rank), values,
                    tf.zeros_like(values))


def grey(shape):
    """Bytes of a grey JPEG of (H, W, C)."""
    pixels = tf.fill([*shape[:2], 3], tf.constant(127, tf.uint8))
    return tf.io.encode_jpeg(pixels).numpy()

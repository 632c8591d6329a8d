"""From the bytes of image files to batches, as evaluation makes them."""

import functools

import tensorflow as tf

from tfvit.data.images import decoding
from tfvit.data.images import effort
from tfvit.data.images import headers
from tfvit.data.images import ops as ops_lib

_UNREADABLE = 1  # See _problems.
UNREADABLE = "Not an image that can be decoded, or cut short."
TOO_LARGE = "The image has more than {:,} pixels."
TOO_MUCH = ("Decoding the image takes more than that of {:,} plain pixels. " +
            effort.ADVICE)
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


def chosen(found, names):
    """Those of {name: value} that `names` has; all for none.

    Raises:
      ValueError: a name is not there.
    """
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"--signatures={','.join(names)}: this model has no "
                         f"{', '.join(missing)}, only {', '.join(found)}.")
    return {name: found[name] for name in names or found}


def of_example(example):
    """The file in a serialized tf.train.Example, as datasets have it."""
    return tf.io.parse_single_example(example, {
        "image/encoded": tf.io.FixedLenFeature([], tf.string)})["image/encoded"]


def of_base64(text):
    """The file of base64, web-safe or not, with "=" at its end or without."""
    for usual, safe in ((r"\+", "-"), ("/", "_"), ("=+$", "")):
        text = tf.strings.regex_replace(text, usual, safe)
    return tf.io.decode_base64(text)


def late(function, *specs):
    """As `signature`, but it is traced once it is called, by name."""
    traced = functools.lru_cache(maxsize=None)(
        lambda: signature(function, *specs))
    return lambda **inputs: traced()(**inputs)


class Reader:
    """Preprocesses images; one that cannot be read costs only its own row.

    Args:
      ops: preprocessing, from an encoded image to [H, W, C] in [-1, 1].
      shape: (H, W, C) of the model's images.
      max_pixels: larger images are not decoded, nor those that take more
        memory or time than plain ones of this size (see data.images.effort).

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
        # Signatures share it.
        self._run = tf.function(self._prepared, autograph=False)

    def __call__(self, images, unpack=None):
        """Any images [B, ...] -> ([B, H, W, 3] in [-1, 1], error [B]).

        unpack(an image) makes it of what there is instead, unless that is
        broken.
        """
        return self._run(images, unpack)

    def _prepared(self, images, unpack):
        count = tf.shape(images, tf.int64)[0]
        blank = (count, tf.zeros([*self._shape]), tf.constant(_UNREADABLE))
        spec = tuple(tf.TensorSpec(part.shape, part.dtype) for part in blank)
        # Decoding raises, and only a dataset can leave out what did.
        examples = self._map(tf.data.Dataset.from_tensor_slices(
            (tf.range(count), images)), spec, unpack).ignore_errors()
        # One more, so that there is a batch even if nothing is left.
        examples = examples.concatenate(tf.data.Dataset.from_tensors(blank))
        numbers, pixels, problem = examples.batch(
            count + 1).get_single_element()

        def spread():  # Back to all rows: that of `blank` where one is left out.
            left_out = tf.fill([count], tf.size(numbers) - 1)
            rows = tf.tensor_scatter_nd_update(
                left_out, numbers[:-1, tf.newaxis],
                tf.range(tf.size(numbers) - 1))
            return tf.gather(pixels, rows), tf.gather(problem, rows)

        pixels, problem = tf.cond(
            tf.size(numbers, tf.int64) > count,
            lambda: (pixels[:-1], problem[:-1]), spread)
        return (tf.ensure_shape(pixels, [None, *self._shape]),
                tf.gather(self._problems(), problem))

    def _map(self, examples, spec, unpack):
        """Prepares each example; as Dataset.map, but that costs 4 ms a request.

        It would lay out the function for several devices, anew each time. The
        attribute says that it is for one.
        """

        @functools.partial(
            tf.function, autograph=False, input_signature=[
                tf.TensorSpec(spec.shape, spec.dtype)
                for spec in examples.element_spec],
            experimental_attributes={"experimental_ints_on_device": True})
        def prepare(number, image):
            if unpack is not None:
                image = unpack(image)
            problem = tf.constant(0)
            if image.dtype == tf.string:
                problem = self._problem(image)
            pixels = tf.cond(problem > 0, lambda: tf.zeros([*self._shape]),
                             lambda: self._apply(image))
            return number, pixels, problem

        common = dict(
            input_dataset=tf.data.experimental.to_variant(examples),
            other_arguments=[], f=prepare.get_concrete_function(),
            output_types=[part.dtype for part in spec],
            output_shapes=[part.shape for part in spec],
            use_inter_op_parallelism=True, preserve_cardinality=True,
            metadata="")
        # Threads are not worth it for one.
        variant = tf.cond(
            examples.cardinality() > 1,
            lambda: tf.raw_ops.ParallelMapDatasetV2(
                num_parallel_calls=tf.constant(tf.data.AUTOTUNE, tf.int64),
                deterministic="true", **common),
            lambda: tf.raw_ops.MapDataset(**common))
        return tf.data.experimental.from_variant(variant, spec)

    def _problems(self):
        """What is wrong, by its number."""
        return ["", UNREADABLE, TOO_LARGE.format(self._max_pixels),
                TOO_MUCH.format(self._max_pixels),
                *(FOREIGN.format(name) for name in headers.FOREIGN[1:])]

    def _problem(self, image):
        """The number of what is wrong with a file, as far as is seen."""
        pixels = headers.num_pixels(image)

        def closely():
            takes = effort.effort(image, pixels)
            return tf.where(pixels > self._max_pixels, 2, tf.where(
                takes > self._max_pixels, 3, 0))

        def foreign():
            number = headers.foreign(image)
            return tf.where(number > 0, number + 3, 0)

        return tf.cond(
            effort.most(image, pixels) > self._max_pixels, closely,
            lambda: tf.cond(pixels > 0, lambda: tf.constant(0), foreign))

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

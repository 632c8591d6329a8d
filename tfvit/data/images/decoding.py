"""From encoded records to images, with a seed for each, corrupt ones or not."""
from collections.abc import Callable, Mapping, Sequence
import inspect
import sys

import numpy as np
import tensorflow as tf

from tfvit.data.images import batchwise
from tfvit.data.images import ops as ops_lib
from tfvit.storage import errors
from tfvit.storage import unconverted


def labels(record, seed):
    """The usual annotation of an example: its label."""
    del seed
    return {"labels": record["label"]}


def decode(records: tf.data.Dataset,
           *,
           ops: Sequence[Callable],
           fields: Mapping[str, str],
           seed: int,
           skip_corrupt: bool,
           annotate: Callable = labels,
           keep_uint8: bool = False) -> tf.data.Dataset:
    """Applies `ops` to records, in their order.

    Args:
      records: pairs of a number, which makes the seeds of random ops, and an
        example of a source.
      ops: see pipeline.train.
      fields: {key of a result: "images", "valid" or "corrupt"}; images are
        float32 [H, W, 3] (see keep_uint8), the others float32 [].
      seed: of random ops.
      skip_corrupt: make zeros of records that fail, with "corrupt" 1, and print
        their names (unless the record says "again").
      annotate: (record, seed) -> what else to say of an example; the record has
        its "number", too.
      keep_uint8: leave images as uint8 where ops end in it.

    Raises:
      ValueError: ops do not end in images of one size.
    """
    seeds = np.array([seed, 1], np.int64)

    def good(number, record):
        seed = fold_in(seeds, number)
        image = _to_fixed_size(ops, record["image"], seed)
        if image.dtype != tf.uint8 or not keep_uint8:
            image = tf.cast(image, tf.float32)
        # Of its own: no op has this number.
        return {"images": image, "valid": 1., "corrupt": 0.}, annotate(
            {**record, "number": number}, fold_in(seed, len(ops)))

    def select(values, annotation):
        return {**{key: values[field] for key, field in fields.items()},
                **annotation}

    in_order = dict(num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if not skip_corrupt:
        return records.map(lambda *pair: select(*good(*pair)), **in_order)

    filler = zeros(records.map(good).element_spec)

    def bad(_, record):
        is_new = tf.logical_not(record.get("again", False))
        values, annotation = filler
        return ({**values, "corrupt": 1.}, annotation), record["name"], is_new

    def one(*pair):
        # A corrupt record keeps its place, so that the order of the others
        # does not depend on it. (from_tensors would do instead of slices, but
        # op determinism does not run it in parallel.)
        pair = tf.data.Dataset.from_tensor_slices(
            tf.nest.map_structure(lambda t: t[tf.newaxis], pair))
        decoded = pair.map(lambda *pair: (good(*pair), "", False))
        return decoded.ignore_errors().concatenate(pair.map(bad)).take(1)

    def report(values, name, is_new):
        tf.cond(
            is_new, lambda: tf.print("Skipped",
                                     name,
                                     "which cannot be decoded.",
                                     output_stream=sys.stderr), tf.no_op)
        return select(*values)

    # Not with the decoding: op determinism runs prints one after the other.
    return records.interleave(one, **in_order).map(report)


def on_device(ops: Sequence[Callable], images, *, seed: int = 0,
              first=0) -> tf.Tensor:
    """Applies ops to images [b, H, W, c]; returns float32, as models take it.

    Args:
      ops: of images.ops; random ones must be `also_of_batches`.
      images: uint8 or float32.
      seed: of the random ones.
      first: number of the first image of the batch, of all of the run.
    """
    if any(map(is_random, ops)):
        numbers = first + tf.range(images.shape[0], dtype=tf.int64)
        seeds = batchwise.seeds(seed, numbers)
    for position, op in enumerate(ops):
        if is_random(op):
            # Compiled in any case: else each of its operations would write all
            # of the images.
            images = tf.function(op, jit_compile=True, autograph=False)(
                images, batchwise.fold_in(seeds, position))
        else:
            images = op(images)
    return tf.cast(images, tf.float32)


def error(image) -> str | None:
    """Returns the decoder's complaint about an encoded image, if any."""
    try:
        with tf.device("CPU:0"):
            ops_lib.decode(image)  # Eagerly, which says it in one line.
        return None
    except tf.errors.OpError as complaint:
        return errors.reason(complaint)


def check_images(model, element_spec, whose: str):
    """Checks that images of batches are what a model takes.

    Args:
      model: tf_keras.Model, or a models.lit.LiT.
      element_spec: of a dataset of batches with "images".
      whose: ops they are, for the error.

    Raises:
      ValueError: they have another size or number of channels.
    """
    wanted = getattr(model, "img", model).input_shape[1:]
    (spec, *_) = tf.nest.flatten(element_spec["images"],
                                 expand_composites=True)  # Of a replica.
    if not spec.shape[1:].is_compatible_with(wanted):
        raise ValueError(
            f"The images of {whose} are {tuple(spec.shape[1:])}, the model "
            f"takes {tuple(wanted)}: height, width, channels. Set the ops' "
            "size and channels (ops.decode.channels, "
            "ops.decode_and_inception_crop.channels), or the model's.")


def is_random(op: Callable) -> bool:
    """Tells ops that take a seed."""
    return "seed" in inspect.signature(op).parameters


def op_name(op: Callable) -> str:
    """Returns what to call an op in an error."""
    op = getattr(op, "func", op)  # Of a functools.partial.
    return getattr(op, "__name__", type(op).__name__)


def fold_in(seed, number) -> tf.Tensor:
    """Makes another int64 [2] seed of a seed and an integer."""
    number = tf.cast(number, tf.int64)
    return tf.random.experimental.stateless_fold_in(seed, number)


def zeros(spec):
    """Makes an element of zeros for a dataset's element_spec."""
    with tf.device("CPU:0"):
        return tf.nest.map_structure(lambda s: tf.zeros(s.shape, s.dtype), spec)


def apply(ops: Sequence[Callable], image, seed) -> tf.Tensor:
    """Applies ops in order, each random one with a seed of its own."""
    for position, op in enumerate(ops):
        seeds = [fold_in(seed, position)] if is_random(op) else []
        image = unconverted.unconverted(op)(image, *seeds)
    return image


def _to_fixed_size(ops, image, seed):
    image = apply(ops, image, seed)
    if image.shape.rank != 3 or not image.shape.is_fully_defined():
        raise ValueError(
            f"The ops {[op_name(op) for op in ops]} end in images of shape "
            f"{image.shape}: they must decode and end in a fixed size, for "
            "example by ops.resize.")
    return image

"""What each stage of an input pipeline costs, in CPU time per image.

The pipeline is cut after each stage and run to its end; what a stage adds is its
own. CPU time, of all threads, says what a core can do whatever else a machine is
busy with; all is measured in turns, and medians over the rounds are taken. What it
takes to start a pipeline, as much as 300 photos of 500x375, does not count.
"""
from collections.abc import Callable, Sequence
import functools
import math
import os
import time

import numpy as np
import tensorflow as tf

from tfvit.data import order
from tfvit.data.datasets import source as source_lib
from tfvit.data.images import decoding
from tfvit.data.images import ops as ops_lib

_CROP = "decode_and_inception_crop"
_BASES = 20  # Photos that are drawn; the others are these, moved and mirrored.
PREPARED = 512  # Short side of prepared files in pixels; their quality is 95.
_LEAST = 1e-6  # Seconds: nothing is free, where the clock shows nothing.


def report(source, ops: Sequence[Callable], *, batch_size: int, count: int,
           rounds: int, rate: float) -> dict[str, float | int | str]:
    """What the input costs, and what a device takes that is so fast.

    Args:
      source, ops, count, rounds: see stages.
      batch_size: of the run.
      rate: images/s of the devices.
    """
    batch_size, cores = min(batch_size, count), os.cpu_count()
    own = stages(source, ops, batch_size=batch_size, count=count, rounds=rounds)
    seconds = sum(own.values())
    spec = _augmented(_records(source, 1, 1), ops).element_spec
    result = {"images": count, "cores here": cores}
    for name, spent in own.items():
        result[f"{name}: CPU ms per image"] = 1e3 * spent
    result |= {
        "all: CPU ms per image": 1e3 * seconds,
        "all: img/s per core": 1 / seconds,
        "most is spent in": max(own, key=own.get),
        "device img/s": float(rate),
        "cores needed": math.ceil(rate * seconds),
        "decode workers like this machine": max(
            math.ceil(rate * seconds / cores) - 1, 0),
        "to copy to the device, MB/s":
            rate * spec.shape.num_elements() * spec.dtype.size / 1e6,
    }
    for name, spent in ways(source, ops, count=count, rounds=rounds).items():
        result[f"decoding {name}: img/s per core"] = 1 / spent
    return result


def stages(source, ops: Sequence[Callable], *, batch_size: int, count: int,
           rounds: int) -> dict[str, float]:
    """Seconds of CPU for an image, {stage: its own}, in their order.

    Args:
      source: of encoded images.
      ops: of pipeline.train.
      batch_size: of the batches at the end.
      count: images to take each time, from the source's shuffled beginning.
      rounds: how often.
    """
    records = _records(source, batch_size, count)
    calls = {"read": records}
    for end in range(1, len(ops) + 1):
        name = decoding.op_name(ops[end - 1])
        calls[name if name not in calls else f"{name} ({end})"] = (
            _augmented(records, ops[:end]))
    calls["batch"] = _augmented(records, ops).batch(batch_size,
                                                    drop_remainder=True)
    sums = _measured(calls, count, rounds)
    own, before = {}, 0.0
    for name, seconds in sums.items():  # Noise may make a stage negative.
        own[name], before = max(seconds - before, 0.0), max(seconds, before)
    return own


def ways(source, ops: Sequence[Callable], *, count: int,
         rounds: int) -> dict[str, float]:
    """Seconds of CPU for an image by how photos are decoded, {way: all ops}.

    "whole" decodes all of a photo before it crops, "part" the crop alone (same
    pixels), "scaled" as ops.decode_and_inception_crop.scaled_decoding; "prepared"
    is "part" of files whose short side is PREPARED. Empty where ops have no
    such crop.

    Args:
      source, ops, count, rounds: see stages.
    """
    names = [decoding.op_name(op) for op in ops]
    if names[:1] != [_CROP]:
        return {}
    kept = kept_in_memory(source, count)
    small = _prepared(kept)
    crop, rest = ops[0], list(ops[1:])
    # Of all at once, for the order of each alone costs half a millisecond.
    first = lambda read, *begin: _augmented(_records(read, count, count),
                                            [*begin, *rest])
    return _measured({
        "whole": first(kept, ops_lib.decode, crop),
        "part": first(kept, crop),
        "scaled": first(kept, functools.partial(crop, scaled_decoding=True)),
        "prepared": first(small, crop)}, count, rounds)


def kept_in_memory(source, count: int):
    """A source of `count` of the images of another, as often as it takes."""
    files = [example["image"].numpy()
             for example in source.examples(seed=0).take(count)]
    return _of_files(files, count)


def photos(width: int, height: int, count: int, *, quality: int = 90):
    """A source of JPEG photos that are drawn now."""
    files, drawn = [], []
    random = np.random.default_rng(0)
    for number in range(count):
        if number < _BASES:
            drawn.append(photo(height, width, number))
        pixels = drawn[number % _BASES]
        if number >= _BASES:
            pixels = np.roll(pixels, random.integers(height), 0)
            pixels = np.roll(pixels, random.integers(width), 1)
        files.append(tf.io.encode_jpeg(pixels, quality=quality).numpy())
    return _of_files(files, count)


def photo(height: int, width: int, seed: int) -> np.ndarray:
    """Draws uint8 [height, width, 3] with detail at all scales, and noise.

    As in photographs, every octave of wavelengths varies by the same amount.
    """
    random = np.random.default_rng(seed)
    image = np.full([height, width, 3], 128.0, np.float32)
    for octave in range(1, 9):
        rows, columns = (-(-side // 2**octave) + 1 for side in (height, width))
        waves = random.normal(0, 20, [rows, columns, 3])
        # Brightness varies more than colour.
        waves = 0.3 * waves + waves.mean(-1, keepdims=True)
        image += tf.image.resize(waves, [height, width], "bicubic").numpy()
    image += random.normal(0, 2, image.shape)  # Of the camera.
    return np.clip(image, 0, 255).astype(np.uint8)


def _prepared(source):
    """The images of a source of files with a short side of PREPARED, at most.
    """
    files = []
    for example in source.examples():
        pixels = ops_lib.decode(example["image"])
        if min(pixels.shape[:2]) > PREPARED:
            pixels = ops_lib.to_uint8(ops_lib.resize_small(
                pixels, smaller_size=PREPARED), nearest=True)
        files.append(tf.io.encode_jpeg(pixels, quality=95).numpy())
    return _of_files(files, len(files))


def _of_files(files, count):
    with tf.device("CPU:0"):
        files = tf.constant(files)
    return source_lib.Indexed(
        num_examples=count, class_names=["photo"], fetch=lambda i: {
            "image": files[i % len(files)], "label": tf.constant(0, tf.int64),
            "name": tf.strings.as_string(i)})


def _records(source, batch_size, count):
    share = order.share_of(batch_size, None)
    return order.train_records(source, 0, 0, share).take(count)


def _augmented(records, ops):
    seeds = np.array([0, 1], np.int64)

    def example(number, record):
        return decoding.apply(ops, record["image"],
                              decoding.fold_in(seeds, number))

    return records.map(example, num_parallel_calls=tf.data.AUTOTUNE,
                       deterministic=True)


def _measured(datasets, count, rounds):
    """{name: seconds of CPU for an image}, the medians."""
    options = tf.data.Options()
    options.threading.max_intra_op_parallelism = 1
    ones = {name: dataset.map(lambda *_: 1)
            for name, dataset in datasets.items()}
    sizes = {name: int(dataset.reduce(0, lambda total, one: total + one))
             for name, dataset in ones.items()}
    run = {name: dataset.batch(max(sizes[name] // 8, 1)).with_options(options)
           for name, dataset in ones.items()}
    spent = {name: [] for name in run}
    for _ in range(rounds + 1):
        for name, dataset in run.items():
            # With the first part threads start and graphs are optimized.
            parts = iter(dataset)
            rest = sizes[name] - len(next(parts))
            start = time.process_time()
            for _ in parts:
                continue
            spent[name].append((time.process_time() - start) / max(rest, 1) *
                               sizes[name] / count)
    return {name: max(float(np.median(times[1:])), _LEAST)
            for name, times in spent.items()}

"""Times the training input of JPEG photos, by the ways to decode and crop:

    python -m tools.bench_input --photos=500x375 --photos=1600x1200

In every round each way goes through all photos once, so that a busy machine
slows them alike; rates are medians over the rounds. All but "decode" are whole
pipelines as in training: shuffling, Inception crop, flip, value range, batches.

    decode   decodes the whole photo and does nothing else
    whole    decodes the whole photo, then crops: what the JAX original does
    part     decodes the crop alone; same pixels: our default
    scaled   as part, with scaled_decoding

What bounds the last two is JPEG's entropy code, which has to be read from the
top of a photo to the bottom of its crop, whatever the scale: of the 9.7 ms that
decoding all of a 1600x1200 photo takes, 7 remain at 1/8 of its size.
"""

import functools
import re
import time

from absl import app
from absl import flags

from tfvit import launch

_PHOTOS = flags.DEFINE_multi_string("photos", ["500x375"], "WIDTHxHEIGHT.")
_COUNT = flags.DEFINE_integer("count", 400, "How many photos of each size.",
                             lower_bound=1)
_QUALITY = flags.DEFINE_integer("quality", 90, "Of their JPEG files.", 1,
                               100)
_SIZES = flags.DEFINE_multi_integer("sizes", [224, 384], "Sizes of the result.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each way is timed.",
                              lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 1, "CPU threads to use.",
                               lower_bound=1)

launch.start(__name__)

import numpy as np
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.datasets import source
from tfvit.data.images import ops

_BATCH = 20


def photo(height, width, seed):
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


def photos(size):
    """A source of JPEG photos of a size such as "500x375"."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", size):
        raise app.UsageError(f"--photos={size} must be WIDTHxHEIGHT.")
    width, height = map(int, size.split("x"))
    files = []
    for seed in range(_COUNT.value):
        pixels = photo(height, width, seed)
        files.append(tf.io.encode_jpeg(pixels, quality=_QUALITY.value).numpy())
    print(f"{size}: {len(files)} photos, "
          f"{np.mean([len(f) for f in files]) / 1e3:.0f} kB on average")
    files = tf.constant(files)
    return source.Indexed(
        num_examples=_COUNT.value, class_names=["photo"],
        fetch=lambda i: {"image": files[i], "label": i, "name": ""})


def ways(read, size):
    """{name: dataset of batches} of a source of photos."""
    crop = functools.partial(ops.decode_and_inception_crop, size=size)
    decoders = {
        "whole": [ops.decode, crop],
        "part": [crop],
        "scaled": [functools.partial(crop, scaled_decoding=True)],
    }
    datasets = {
        name: pipeline.train(
            source=read, ops=[*first, ops.flip_lr, ops.value_range],
            batch_size=_BATCH, seed=0) for name, first in decoders.items()
    }
    parallel = {"num_parallel_calls": tf.data.AUTOTUNE}
    decode = lambda e: tf.shape(tf.io.decode_jpeg(e["image"], channels=3))
    datasets["decode"] = read.examples(seed=0).map(
        decode, **parallel).repeat().batch(_BATCH)
    options = tf.data.Options()
    options.threading.private_threadpool_size = _THREADS.value
    options.threading.max_intra_op_parallelism = 1
    return {k: v.with_options(options) for k, v in datasets.items()}


def measure(datasets):
    """{name: images/s, the median over the rounds}."""
    rates = {name: [] for name in datasets}
    for _ in range(_ROUNDS.value):
        for name, dataset in datasets.items():
            batches = iter(dataset)
            next(batches)  # Starts the threads.
            steps = max(_COUNT.value // _BATCH - 1, 1)
            start = time.monotonic()
            for _ in range(steps):
                next(batches)
            rates[name].append(steps * _BATCH / (time.monotonic() - start))
    return {name: float(np.median(values)) for name, values in rates.items()}


def main():
    for shape in _PHOTOS.value:
        read = photos(shape)
        for size in _SIZES.value:
            rates = measure(ways(read, size))
            for name, rate in rates.items():
                print(f"{shape} to {size}, {name:7}{rate:8.1f} images/s  "
                      f"{rate / rates['whole']:5.2f} x whole  "
                      f"{rate / rates['decode']:5.2f} x decode", flush=True)


if __name__ == "__main__":
    launch.run_alone(main)

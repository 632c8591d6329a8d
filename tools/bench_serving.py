"""Compares an export with the Keras model it came from, on the same JPEGs:

    python -m tools.bench_serving --model=runs/b16_cifar10

Both decode, preprocess and classify; batches go through the SavedModel's
serving_default, two requests at a time, as a server would call it, and through
Keras's predict over a tf.data pipeline that prefetches. Rounds alternate, so
that other load on the machine hits both; medians count.
"""

from concurrent import futures
import json
import tempfile
import time

from absl import flags

from tfvit import launch

_MODEL = flags.DEFINE_string(
    "model", None, "Directory of a run or published name.")
_IMAGES = flags.DEFINE_integer("images", 128, "How many.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images at a time.",
                                   lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of each.", lower_bound=1)

launch.start(__name__, "overrides", required=("model",))

import numpy as np
import tensorflow as tf

from tfvit.inference import finished
from tfvit.serving import saved


def files(count):
    """Different JPEG files of 480 x 640 pixels, as bytes."""
    for seed in range(count):
        coarse = tf.random.stateless_uniform([6, 8, 3], [seed, 0], maxval=255.)
        image = tf.image.resize(coarse, [480, 640], "bicubic")
        yield tf.io.encode_jpeg(
            tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8)).numpy()


def compare(served, keras, rounds):
    """Seconds of two functions, called in turn, float64 [rounds, 2]."""
    seconds = np.zeros([rounds + 1, 2])
    for row in seconds:
        for i, call in enumerate((served, keras)):
            begin = time.perf_counter()
            call()
            row[i] = time.perf_counter() - begin
    return seconds[1:]  # The first one traces.


def main(words):
    del words
    trained = finished.load(_MODEL.value, overrides=launch.overrides(),
                            trust=launch.trust())
    data, size = list(files(_IMAGES.value)), _BATCH_SIZE.value

    def prepare(image):
        for op in trained.ops:
            image = op(image)
        return image

    dataset = tf.data.Dataset.from_tensor_slices(data).map(
        prepare, tf.data.AUTOTUNE).batch(size).prefetch(tf.data.AUTOTUNE)
    with tempfile.TemporaryDirectory() as out:
        saved.write(trained.server(), out=out, step=1, config=trained.config,
                    class_names=trained.class_names, record=trained.record(),
                    model_name="bench", warmup_batches=[])
        function = finished.signatures(out)["serving_default"]

    def request(begin):
        batch = tf.constant(data[begin:begin + size])
        return function(image_bytes=batch)["probabilities"].numpy()

    def served():
        with futures.ThreadPoolExecutor(2) as pool:
            return np.concatenate(
                list(pool.map(request, range(0, len(data), size))))

    def keras():
        return trained.model.predict(dataset, verbose=0)

    seconds = compare(served, keras, _ROUNDS.value)
    logits = keras()
    agree = np.mean(served().argmax(-1) == logits.argmax(-1))
    rates = len(data) / np.median(seconds, axis=0)
    ratio = np.median(seconds[:, 1] / seconds[:, 0])
    print(json.dumps({
        "serving_default img/s": round(rates[0], 1),
        "keras predict img/s": round(rates[1], 1),
        "ratio": round(ratio, 3), "same class": agree}))


if __name__ == "__main__":
    launch.run_words(main)

"""Trains one of our models beside one of Keras' own, with the same code:

    python -m tools.beside_keras /data/flowers --model=Ti_16
    python -m tools.beside_keras /data/flowers --model=Ti_16 --pretrained --freeze

An example, to be read: what tfvit.build makes is a tf_keras.Model, and so whatever
is written for tf_keras.applications does for it as well. FOLDER has a folder of
images for each class; a fifth of them is kept to test.
"""

import time

from absl import flags
from absl import logging

from tfvit import launch

_MODEL = flags.DEFINE_string("model", None, "Ours, of tfvit.list_models(). "
                             "Default: Ti_16.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Pixels. Default: 96.")
_EPOCHS = flags.DEFINE_float("epochs", None, "How often each image is seen. "
                             "Default: 5.")
_PRETRAINED = flags.DEFINE_bool(
    "pretrained", False, "Start from AugReg's weights, and MobileNet from "
    "Keras' of ImageNet: downloads.")
_FREEZE = flags.DEFINE_bool("freeze", False, "Train the heads alone.")

launch.start(__name__, words="Say which folder: python -m tools.beside_keras "
             "/data/flowers.")

import os
import tempfile

import numpy as np
import tensorflow as tf
import tf_keras

import tfvit


def bodies(name, image_size, pretrained):
    """{name: tf_keras.Model}, images [B, H, W, 3] in [-1, 1] -> features."""
    return {
        name: tfvit.build(name, num_classes=None, image_size=image_size,
                          weights="augreg" if pretrained else None),
        "MobileNetV2": tf_keras.applications.MobileNetV2(
            input_shape=(image_size, image_size, 3), alpha=0.35,
            include_top=False, pooling="avg",
            weights="imagenet" if pretrained else None),
    }


def data(folder, image_size):
    """(training, test, class names) of a folder; both of batches of 32."""
    parts = tf_keras.utils.image_dataset_from_directory(
        folder, validation_split=0.2, subset="both", seed=0, batch_size=32,
        image_size=(image_size, image_size))
    train, test = (
        part.map(lambda images, labels: (images / 127.5 - 1, labels))
        .cache().prefetch(tf.data.AUTOTUNE) for part in parts)
    return train, test, parts[0].class_names


def train(body, train_data, test_data, num_classes, *, epochs, freeze):
    """(the model, its test accuracy, seconds): nothing here knows which it is.
    """
    body.trainable = not freeze
    logits = tf_keras.layers.Dense(num_classes, dtype="float32")(body.output)
    model = tf_keras.Model(body.input, logits)
    model.compile(
        tf_keras.optimizers.Adam(1e-3 if freeze else 3e-4),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"])
    began = time.monotonic()
    model.fit(train_data, epochs=epochs, verbose=0)
    seconds = time.monotonic() - began
    _, accuracy = model.evaluate(test_data, verbose=0)
    return model, accuracy, seconds


def reloaded(model, images):
    """The largest difference of outputs after saving and loading as .keras."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        again = tf_keras.models.load_model(path)
    return float(np.abs(again(images) - model(images)).max())


def compare(folder, *, name, image_size, epochs, pretrained=False, freeze=False):
    """[{"model", "parameters", "accuracy", "seconds", "reloaded"}, ...].

    Args:
      folder: {class}/*.
      name: of our model.
      image_size: pixels.
      epochs: how often each image is seen.
      pretrained, freeze: see the flags.

    Raises:
      ValueError: the folder has no images, or there is no such model.
    """
    train_data, test_data, names = data(folder, image_size)
    (images, _), rows = next(iter(test_data)), []
    for name, body in bodies(name, image_size, pretrained).items():
        model, accuracy, seconds = train(body, train_data, test_data, len(names),
                                         epochs=epochs, freeze=freeze)
        rows.append({"model": name, "parameters": model.count_params(),
                     "accuracy": accuracy, "seconds": seconds,
                     "reloaded": reloaded(model, images)})
    return rows


def main(words):
    given = lambda flag, usual: usual if flag.value is None else flag.value
    rows = compare(words[0], name=given(_MODEL, "Ti_16"),
                   image_size=given(_IMAGE_SIZE, 96),
                   epochs=max(round(given(_EPOCHS, 5)), 1),
                   pretrained=_PRETRAINED.value, freeze=_FREEZE.value)
    logging.info("%-12s %11s %9s %8s %9s", "", "parameters", "accuracy",
                 "seconds", "reloaded")
    for row in rows:
        logging.info("%(model)-12s %(parameters)11s %(accuracy)9.3f "
                     "%(seconds)8.1f %(reloaded)9.1g", row)


if __name__ == "__main__":
    launch.run_words(main)

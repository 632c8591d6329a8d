"""Images that a page shows at its start, and what is on them."""

import dataclasses
import os

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import shapes
from tfvit.data.datasets import source as source_lib
from tfvit.inference import image_files
from tfvit.storage import errors

COUNT = 8  # A row of thumbnails; as many images of one kind as the eye takes in.


@dataclasses.dataclass(frozen=True)
class Preset:
    """One image.

    Attributes:
      data: bytes of a file that browsers read.
      text: what is on it; "" where that is not known.
    """
    data: bytes
    text: str

    @property
    def suffix(self):
        """Of its file's name."""
        for magic, suffix in ((b"\xff\xd8", "jpg"), (b"\x89PNG", "png"),
                              (b"GIF8", "gif"), (b"BM", "bmp")):
            if self.data.startswith(magic):
                return suffix
        return "webp"


def find(words, evaluations, image_shape):
    """The presets of a page.

    Args:
      words: files, folders or patterns of images; [] for those of the run's
        first evaluation whose data is here, else drawn shapes.
      evaluations: settings of the run's evaluators.
      image_shape: (H, W, C) of the model's images.
    """
    if words:
        files = image_files.find(words)
        if len(files) > COUNT:
            logging.warning("--presets: %d of %d images are taken, evenly.",
                            COUNT, len(files))
        chosen = [files[i] for i in _spread(len(files))]
        return [Preset(image_files.contents(file).numpy(), _said(file))
                for file in chosen]
    for settings in evaluations:
        if "source" in settings:
            try:
                return _of_source(settings["source"]())
            except (OSError, ValueError, tf.errors.OpError) as error:
                logging.warning("The run's own images cannot be presets: %s",
                                errors.reason(error) if isinstance(
                                    error, tf.errors.OpError) else error)
    logging.info("The presets are drawn shapes; --presets=FOLDER takes others.")
    return _of_source(shapes.labelled(split="test", copies=1,
                                      size=min(image_shape[:2])))


def _spread(count):
    """Up to COUNT numbers below `count`, evenly."""
    return np.unique(np.linspace(0, count - 1, min(COUNT, count)).round(
        ).astype(int))


def _said(file):
    return os.path.splitext(os.path.basename(file))[0].replace("_", " ")


def _of_source(source):
    found = []
    numbers = _spread(source.num_examples) if isinstance(
        source, source_lib.Indexed) else range(min(COUNT, source.num_examples))
    for example in source_lib.pick(source, numbers):
        image = example["image"]
        if image.dtype != tf.string:
            image = tf.io.encode_png(image)
        found.append(Preset(image.numpy(), _text(example, source)))
    return found


def _text(example, source):
    """The class, the first of several, or the first caption."""
    label = example.get("label")
    if label is None:
        return ""
    label = label.numpy()
    if not source.class_names:
        return label[0].decode() if len(label) else ""
    return source.class_names[int(label if label.ndim == 0 else label.argmax())]

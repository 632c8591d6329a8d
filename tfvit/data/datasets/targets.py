"""Labels that are computed from a dataset's features, for sources.tfds.

The public functions take the features of a TFDS dataset's info and return a
Target. The tasks are those of VTAB (arXiv 1910.04867), after its
task_adaptation code.
"""
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf


class Target(NamedTuple):
    """What the label is.

    Attributes:
      features: the features to read, nested as in tfds.decode.PartialDecoding.
      class_names: of the C classes.
      label: features of one example -> int64 [], or float32 [C] for any number
        of classes, or string [K] of captions, without classes.
    """
    features: Mapping
    class_names: list[str]
    label: Callable


def class_label(key: str, class_names: list[str]) -> Target:
    """The class that a feature holds."""
    return Target({key: True}, class_names, lambda x: tf.cast(x[key], tf.int64))


def binary(image) -> tf.Tensor:
    """Decodes a PNG of pixels 0 and 1, as dSprites has them, to 0 and 255."""
    return tf.io.decode_png(image, channels=1) * tf.constant(255, tf.uint8)


def clevr_count(features) -> Target:
    """How many objects a CLEVR scene has: 3 to 10."""
    del features
    return Target({"objects": {"size": True}},
                  [f"{count} objects" for count in range(3, 11)],
                  lambda x: tf.size(x["objects"]["size"], tf.int64) - 3)


def clevr_distance(features) -> Target:
    """How near the nearest object of a CLEVR scene is, in six ranges."""
    del features
    bounds = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0)
    return Target({"objects": {"pixel_coords": True}}, _ranges(bounds),
                  lambda x: _range(
                      tf.reduce_min(x["objects"]["pixel_coords"][:, 2]), bounds))


def kitti_distance(features) -> Target:
    """How near the nearest car, van or truck is: three ranges, or none."""
    del features
    bounds = (-100.0, 8.0, 20.0, 999.0)

    def label(x):
        depth = x["objects"]["location"][:, 2]  # Metres from the camera.
        depth = tf.where(x["objects"]["type"] < 3, depth, 1000.0)
        return _range(tf.reduce_min(tf.concat([depth, [1000.0]], 0)), bounds)

    return Target({"objects": {"type": True, "location": True}},
                  ["up to 8 m", "up to 20 m", "farther", "no vehicle"], label)


def grouped(features, *, key: str, num_classes: int) -> Target:
    """A class label whose neighbours are merged into num_classes groups.

    Args:
      features: see above.
      key: of a ClassLabel, such as dSprites' "label_x_position".
      num_classes: how many groups.

    Raises:
      ValueError: there is no such label, or it has fewer classes.
    """
    available = getattr(_get(features, key), "num_classes", None) or 0
    if not 2 <= num_classes <= available:
        raise ValueError(f"targets.grouped.num_classes={num_classes} must be "
                         f"from 2 to the {available} classes of "
                         f"targets.grouped.key={key!r}.")
    return Target({key: True}, [f"{key} {i}" for i in range(num_classes)],
                  lambda x: tf.cast(x[key], tf.int64) * num_classes // available)


def several(features, *, key: str) -> Target:
    """All classes of an example, as ImageNet-ReaL and Pascal VOC have it.

    Args:
      features: see above.
      key: of a Sequence of ClassLabels; "objects/label" for one within a
        Sequence of features.

    Raises:
      ValueError: there is no such feature.
    """
    feature, decoding, value = _inside(features, key)
    if not hasattr(feature, "num_classes"):
        raise ValueError(f"targets.several.key={key!r} is no Sequence of class "
                         f"labels among the features {list(features)}.")
    num_classes = feature.num_classes

    def label(x):
        return tf.reduce_max(tf.concat(
            [tf.one_hot(value(x), num_classes), tf.zeros([1, num_classes])], 0),
                             axis=0)

    return Target(decoding,
                  list(feature.names or map(str, range(num_classes))), label)


def captions(features, *, key: str = "captions/text") -> Target:
    """All captions of an image, as COCO Captions has them: string [K].

    Args:
      features: see above.
      key: of a Sequence of texts; "captions/text" for one within a Sequence of
        features.

    Raises:
      ValueError: there is no such feature.
    """
    feature, decoding, value = _inside(features, key)
    if getattr(feature, "tf_dtype", None) != tf.string or feature.shape:
        raise ValueError(f"targets.captions.key={key!r} is no Sequence of texts "
                         f"among the features {list(features)}.")
    return Target(decoding, [], value)


def _inside(features, key):
    """The Sequence "outer" or, in one of features, "outer/inner".

    Returns:
      (the feature that it is a sequence of or None, what decodes it, example ->
      its values)
    """
    outer, _, inner = key.partition("/")
    feature = getattr(_get(features, outer), "feature", None)
    if not inner:
        return feature, {outer: True}, lambda x: x[outer]
    return _get(feature, inner), {outer: {inner: True}}, \
        lambda x: x[outer][inner]


def _get(features, key):
    """The feature of that name, or None."""
    return features[key] if key in (features or ()) else None


def _range(value, bounds):
    """The number of the last bound that a value exceeds."""
    return tf.reduce_sum(tf.cast(value > tf.constant(bounds), tf.int64)) - 1


def _ranges(bounds):
    return [f"from {low:g}" for low in bounds]

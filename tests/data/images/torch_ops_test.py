"""Pixels are those of timm's and transformers' own processors, as recorded."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from tests import torch_judges
from tfvit.data.images import ops
from tfvit.data.images import torch_ops
from tfvit.weights import torch_pixels

NAMES = ("timm_crop", "timm_imagenet", "timm_squash", "hf_vit", "hf_siglip",
         "hf_clip", "hf_dinov2")
SIZE = 24


@pytest.fixture(scope="module")
def recorded():
    with np.load(torch_judges.RECORDED) as file:
        return dict(file)


def chain(settings):
    """The ops that gin makes of settings."""
    home = {"ops": ops, "torch_ops": torch_ops}
    for name in settings["ops"]:
        module, function = name.split(".")
        yield functools.partial(getattr(home[module], function), **{
            key.removeprefix(f"{name}."): SIZE if value == "%IMAGE_SIZE" else
            value for key, value in settings.items()
            if key.startswith(f"{name}.")})


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_theirs(name, recorded):
    kind, config = json.loads(str(recorded[f"pixels/{name}/about"]))
    settings, size = (torch_pixels.of_timm(config) if kind == "timm" else
                      torch_pixels.of_transformers(kind, config))
    assert tuple(size) == (SIZE, SIZE)
    image = tf.constant(torch_judges.photo())
    for op in chain(settings):
        image = op(image)
    theirs = recorded[f"pixels/{name}"]
    # They round after the rows and again after the columns, to 1 / 255.
    step = 1 / 255 / min(settings.get("torch_ops.normalize.std", (0.5,)))
    off = np.abs(image.numpy() - theirs) / step
    assert off.max() < 1.05 and np.mean(off > 0.05) < 0.15


def test_sides_that_differ_keep_the_aspect():
    image = tf.constant(torch_judges.photo())
    found = torch_ops.resize_and_center_crop(image, size=(20, 30),
                                             fraction=0.8)
    assert found.shape == (20, 30, 3) and found.dtype == tf.uint8


def test_normalize_is_by_channel():
    found = torch_ops.normalize(tf.constant([[[255, 51, 0]]], tf.uint8),
                                mean=(0.5, 0.1, 0.0), std=(0.5, 0.1, 2.0))
    np.testing.assert_allclose(found[0, 0], [1.0, 1.0, 0.0], atol=1e-6)

"""What AutoGraph is to leave alone, and what not."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.datasets import sources
from tfvit.data.images import ops
from tfvit.storage import unconverted


def brighter(image, least=0.5):
    """As people write ops of their own."""
    if tf.reduce_mean(image) < least:
        image = image + 1.0
    return image


@pytest.mark.parametrize("bind", [lambda f: f, functools.partial])
def test_what_others_wrote_is_converted_and_what_is_ours_not(bind, monkeypatch):
    run = lambda value: tf.function(lambda x: unconverted.unconverted(
        bind(brighter))(x))(tf.constant(value))
    assert run(0.0) == 1.0 and run(0.6) == np.float32(0.6)
    monkeypatch.setattr(brighter, "__module__", "tfvit.anywhere")
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        run(0.0)


def test_an_op_of_ones_own_may_say_if_of_an_image():
    source = sources.arrays(images=np.array(
        [np.zeros([4, 4, 3]), np.full([4, 4, 3], 255)], np.uint8),
        labels=[0, 1], class_names=["dark", "light"])
    batches = pipeline.train(
        source=source, batch_size=2, seed=0, ops=[
            ops.value_range, functools.partial(brighter, least=0.0)])
    images = next(iter(batches))["images"]
    assert sorted(images[:, 0, 0, 0].numpy()) == [0.0, 1.0]  # Of -1 and 1.

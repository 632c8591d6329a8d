"""Every evaluator names an image that does not decode, or counts it."""

import functools

import pytest
import tensorflow as tf
import tf_keras

from tfvit.data.datasets import source as source_lib
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.evaluators import classification
from tfvit.evaluators import fewshot
from tfvit.evaluators import multilabel
from tfvit.optimize import losses


def source(bad=3, count=6):
    """A source whose image number `bad` is no image."""
    good = tf.io.encode_png(tf.zeros([8, 8, 3], tf.uint8))
    images = tf.stack([b"no image" if i == bad else good for i in range(count)])
    return source_lib.Indexed(
        num_examples=count, class_names=[str(i) for i in range(7)],
        fetch=lambda i: {
            "image": images[i], "label": i % 7,
            "name": tf.strings.format("file{}.png", i)
        })


EVALUATORS = {
    "classification": functools.partial(
        classification.Classification, source=source,
        loss=losses.softmax_xent),
    "multilabel": functools.partial(
        multilabel.MultiLabel, source=source, loss=losses.sigmoid_xent),
    "fewshot, train": functools.partial(
        fewshot.FewShot, train_source=source,
        test_source=functools.partial(source, bad=None), shots=(1,)),
    "fewshot, test": functools.partial(
        fewshot.FewShot, train_source=functools.partial(source, bad=None),
        test_source=source, shots=(1,)),
}


@pytest.fixture(scope="module", params=[strategies.one_device,
                                        strategies.logical_cpus])
def common(request):
    """Arguments of all evaluators."""
    strategy = request.param()
    with strategy.scope():
        inputs = tf_keras.Input([8, 8, 3])
        x = tf_keras.layers.Flatten()(inputs)
        model = tf_keras.Model(inputs, tf_keras.layers.Dense(7, name="head")(x))
    resize = functools.partial(ops.resize, size=8)
    return dict(name="test", model=model, strategy=strategy, jit=False,
                ops=[ops.decode, resize, ops.value_range], batch_size=4)


@pytest.mark.parametrize("kind", EVALUATORS)
def test_a_corrupt_image_is_named(common, kind):
    evaluator = EVALUATORS[kind](**common)
    with pytest.raises(ValueError, match="Cannot decode file3.png.*skip"):
        evaluator.run()


@pytest.mark.parametrize("kind", EVALUATORS)
def test_a_corrupt_image_can_be_skipped_and_is_counted(common, kind):
    result = EVALUATORS[kind](**common, skip_corrupt=True).run()
    assert result["corrupt"] == 1
    assert result["examples"] == (6 if kind == "fewshot, train" else 5)

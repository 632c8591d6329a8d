"""Every evaluator names an image that does not decode, or counts it."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import two_towers
from tests.evaluators import metric_names_test
from tfvit.data.datasets import captions
from tfvit.data.datasets import source as source_lib
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.evaluators import classification
from tfvit.evaluators import fewshot
from tfvit.evaluators import multilabel
from tfvit.evaluators import retrieval
from tfvit.evaluators import sharpness
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
    "sharpness": functools.partial(
        sharpness.Sharpness, source=source, loss=losses.softmax_xent,
        num_batches=None, iterations=1),
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


@pytest.fixture(params=[strategies.one_device, strategies.logical_cpus])
def searching(request, tmp_path):
    """(make a retrieval of six images, of which one is corrupt or left out)."""
    random = np.random.default_rng(0)
    strategy = request.param()
    with strategy.scope():
        model = two_towers.build()
    for v in model.trainable_variables:
        v.assign(random.normal(size=v.shape))
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(tf.io.encode_png(random.integers(
            0, 256, [4, 4, 3]).astype(np.uint8)).numpy())
    (tmp_path / "3.png").write_bytes(b"no image")

    def make(numbers, **arguments):
        (tmp_path / "x.csv").write_text("image,caption\n" + "".join(
            f"{i}.png,{i} {j}\n" for i in numbers for j in range(1 + i % 4)))
        return retrieval.Retrieval(
            name="test", model=model, strategy=strategy, jit=False,
            ops=[ops.decode, functools.partial(ops.resize, size=4),
                 ops.value_range],
            source=lambda: captions.table(path=str(tmp_path / "x.csv")),
            tokenizer=metric_names_test.tokenizer, batch_size=4, ks=(1, 2),
            **arguments)

    return make


def test_retrieval_names_a_corrupt_image(searching):
    with pytest.raises(ValueError, match="Cannot decode .*3.png.*skip"):
        searching(range(6)).run()


def test_retrieval_without_a_corrupt_image_is_that_of_the_others(searching):
    found = searching(range(6), skip_corrupt=True)
    result = found.run()
    assert {*found.metric_names} == {*result}
    assert result.pop("corrupt") == 1
    assert result == searching([0, 1, 2, 4, 5]).run()
    assert result["examples"] == 5 and result["captions"] == 1 + 2 + 3 + 1 + 2
    with pytest.raises(ValueError, match="'test' saw no valid example"):
        searching([3], skip_corrupt=True).run()

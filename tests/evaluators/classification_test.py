"""Every example counts once, whatever the batch and the replicas."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import toy
from tfvit.data.datasets import source
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.evaluators import classification
from tfvit.optimize import losses

STRATEGIES = {"one": strategies.one_device, "two": strategies.logical_cpus}


@pytest.fixture(scope="module", params=STRATEGIES)
def setup(request):
    """(strategy, model, images [13, 8, 8, 3], labels [13])."""
    strategy = STRATEGIES[request.param]()
    with strategy.scope():
        inputs = tf_keras.Input([8, 8, 3])
        x = tf_keras.layers.Flatten()(inputs)
        model = tf_keras.Model(inputs, tf_keras.layers.Dense(7)(x))
    records = list(toy.images(13, seed=1).examples())
    images = np.stack([
        ops.value_range(ops.resize(r["image"], size=8)) for r in records])
    return strategy, model, images, np.array([r["label"] for r in records])


@pytest.mark.parametrize("batch_size", [2, 4, 32])
@pytest.mark.parametrize("jit", [False, True])
def test_equals_numpy_on_all_examples(setup, batch_size, jit):
    strategy, model, images, labels = setup
    result = toy.EVALUATION(name="test", model=model, strategy=strategy,
                            jit=jit, batch_size=batch_size).run()
    logits = model.predict(images, verbose=0).astype(np.float64)
    order = np.argsort(-logits, axis=1)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert result.pop("loss") == pytest.approx(
        -log_p[np.arange(13), labels].mean(), rel=1e-5)
    assert result == {
        "accuracy": pytest.approx((order[:, 0] == labels).mean()),
        "top5_accuracy": pytest.approx(
            (order[:, :5] == labels[:, None]).any(1).mean()),
        "examples": 13,
    }


def test_another_number_of_classes_is_refused(setup):
    strategy, model, _, _ = setup
    three = lambda: source.Indexed(
        num_examples=3, class_names=["a", "b", "c"], fetch=None)
    with pytest.raises(ValueError, match="7 classes.* has 3 .*NUM_CLASSES = 3"):
        toy.EVALUATION(name="test", model=model, strategy=strategy, jit=False,
                       source=three)


def test_soft_labels_count_as_hits_where_they_are_positive():
    logits = tf.constant([[3.0, 2, 1, 0, -1, -2], [0.0, 1, 2, 3, 4, 5]])
    labels = tf.constant([[0.5, 0, 0.5, 0, 0, 0], [1.0, 0, 0, 0, 0, 0]])
    sums = classification._sums(  # pylint: disable=protected-access
        logits, {"labels": labels, "mask": tf.ones(2)}, losses.softmax_xent)
    assert (sums["accuracy"], sums["top5_accuracy"]) == (1, 1)

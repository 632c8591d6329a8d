"""Every example counts once, whatever the batch and the replicas."""

import functools

import gin
import numpy as np
import pytest
from sklearn import metrics
import tensorflow as tf
import tf_keras

from tests import toy
from tests import workers
from tfvit import config
from tfvit.data.datasets import source
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.evaluators import classification
from tfvit.evaluators import multilabel
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


def test_replicas_talk_once_a_batch(setup):
    strategy, model, *_ = setup
    evaluator = toy.EVALUATION(name="test", model=model, strategy=strategy,
                               jit=False, batch_size=4)
    batch = next(iter(evaluator._batches.dataset))
    found = workers.collectives(
        evaluator._batch_sums.get_concrete_function(batch).graph)
    assert sum(found.values()) == (strategy.num_replicas_in_sync > 1) * 2


TRAINED_WITH = {"label_smoothing": 0.1,
                "class_weights": [5.0, 0.1, 1.0, 2.0, 0.0, 3.0, 1.0]}


def scores(setup, kind=classification.Classification, **changes):
    strategy, model, images, labels = setup
    result = kind(
        name="test", model=model, strategy=strategy, jit=False,
        **{**toy.EVALUATION.keywords, **changes}).run()
    return result, model.predict(images, verbose=0).astype(np.float64), labels


@pytest.mark.parametrize("trained_with", [
    {}, {"label_smoothing": 0.1}, {"label_smoothing": 0.4}, TRAINED_WITH])
@pytest.mark.parametrize("classes", [None, list(range(5))])
def test_the_softmax_loss_is_sklearns_whatever_was_trained_with(
        setup, trained_with, classes):
    result, logits, labels = scores(setup, classes=classes, loss=(
        functools.partial(losses.softmax_xent, **trained_with)))
    chosen = classes or list(range(7))
    counts = np.isin(labels, chosen)
    p = np.exp(logits[counts][:, chosen])
    p /= p.sum(1, keepdims=True)
    assert result["loss"] == pytest.approx(
        metrics.log_loss(labels[counts], p, labels=chosen), rel=1e-5)
    assert result["examples"] == counts.sum()


@pytest.mark.parametrize("trained_with", [
    {}, {"label_smoothing": 0.1}, TRAINED_WITH])
@pytest.mark.parametrize("kind", [classification.Classification,
                                  multilabel.MultiLabel])
def test_the_sigmoid_loss_is_the_sum_of_sklearns(setup, trained_with, kind):
    result, logits, labels = scores(setup, kind, loss=functools.partial(
        losses.sigmoid_xent, **trained_with))
    p = 1 / (1 + np.exp(-logits))
    assert result["loss"] == pytest.approx(sum(
        metrics.log_loss(labels == i, p[:, i], labels=[False, True])
        for i in range(7)), rel=1e-5)


def test_a_loss_of_ones_own_is_reported_as_it_is(setup):
    result, logits, _ = scores(setup, loss=lambda logits, labels: logits[:, 0])
    assert result["loss"] == pytest.approx(logits[:, 0].mean(), rel=1e-4)


GIN = """
from __gin__ import dynamic_registration
from tests.evaluators import classification_test
from tfvit.optimize import losses
classification_test.both.training = @losses.softmax_xent
classification_test.both.evaluation = @{scope}losses.softmax_xent
losses.softmax_xent.label_smoothing = 0.1
"""


def both(*, training, evaluation):
    """What a loss bound by gin says in training and in evaluation."""
    logits = tf.constant([[2.0, 0.0, -1.0]])
    labels = tf.constant([[1.0, 0.0, 0.0]])
    return [float(loss(logits, labels)[0])
            for loss in (training, losses.plain(evaluation))]


@pytest.mark.parametrize("scope", ["", "val/"])
def test_gin_binds_the_training_loss_alone(scope):
    gin.parse_config(GIN.format(scope=scope))
    training, evaluation = config.make(both)
    log_p = np.log(np.exp([2.0, 0, -1]) / np.exp([2.0, 0, -1]).sum())
    assert evaluation == pytest.approx(-log_p[0])
    smooth = 0.1 / 3
    assert training == pytest.approx(
        -log_p @ [0.9 + smooth, smooth, smooth])
    config.check_bindings_used()


def test_a_binding_for_the_reported_loss_alone_is_refused():
    gin.parse_config(GIN.format(scope="val/") +
                     "val/losses.softmax_xent.label_smoothing = 0.2")
    config.make(both)
    with pytest.raises(ValueError, match="val/.*softmax_xent.label_smoothing"):
        config.check_bindings_used()


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
    judged = classification._judged(  # pylint: disable=protected-access
        logits, {"labels": labels}, losses.softmax_xent)
    assert judged["accuracy"].numpy().tolist() == [1, 0]
    assert judged["top5_accuracy"].numpy().tolist() == [1, 0]
    assert judged["label"].numpy().tolist() == [0, 0]

"""Average precision against scikit-learn's; several labels in a batch."""

import functools

import numpy as np
import pytest
from sklearn import metrics
import tf_keras

from tfvit.data.datasets import sources
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.evaluators import classification
from tfvit.evaluators import multilabel
from tfvit.optimize import losses

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, [13, 4, 4, 3]).astype(np.uint8)
LABELS = RNG.integers(0, 2, [13, 5]).astype(np.float32)
LABELS[4] = 0  # An example without label.
LABELS[:, 3] = 0  # A class without example.


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_average_precision_is_sklearns_with_and_without_ties(decimals):
    for _ in range(20):
        scores = np.round(RNG.normal(size=30), decimals)
        positive = RNG.integers(0, 2, 30) > 0
        assert multilabel.average_precision(scores, positive) == pytest.approx(
            metrics.average_precision_score(positive, scores), abs=1e-12)


@pytest.fixture(scope="module", params=[strategies.one_device,
                                        strategies.logical_cpus])
def setup(request):
    """(arguments of an evaluator, logits [13, 5])."""
    strategy = request.param()
    with strategy.scope():
        inputs = tf_keras.Input([4, 4, 3])
        x = tf_keras.layers.Flatten()(inputs)
        model = tf_keras.Model(inputs, tf_keras.layers.Dense(5)(x))
    logits = model.predict(IMAGES / np.float32(127.5) - 1, verbose=0)
    arguments = dict(
        name="test", model=model, strategy=strategy, jit=False,
        source=functools.partial(sources.arrays, images=IMAGES, labels=LABELS,
                                 class_names="abcde"),
        ops=[ops.value_range], batch_size=4, loss=losses.sigmoid_xent)
    return arguments, logits.astype(np.float64)


def test_the_mean_is_over_the_classes_that_occur(setup):
    arguments, logits = setup
    result = multilabel.MultiLabel(**arguments).run()
    expected = np.mean([
        metrics.average_precision_score(LABELS[:, c], logits[:, c])
        for c in (0, 1, 2, 4)
    ])
    loss = np.log1p(np.exp(logits)) - LABELS * logits
    assert result == {
        "mean_average_precision": pytest.approx(expected),
        "loss": pytest.approx(loss.sum(1).mean(), rel=1e-5),
        "examples": 13,
    }


def test_accuracy_takes_any_of_the_labels_and_leaves_out_the_unlabelled(setup):
    arguments, logits = setup
    result = classification.Classification(**arguments).run()
    labelled = LABELS.any(1)
    hits = LABELS[np.arange(13), logits.argmax(1)]
    assert result["accuracy"] == pytest.approx(hits[labelled].mean())
    assert result["examples"] == labelled.sum() < 13


def test_of_several_labels_the_predicted_one_counts_as_the_label(setup):
    arguments, logits = setup
    rows = classification.Classification(**arguments).rows()
    kept = np.flatnonzero(LABELS.any(1))
    assert rows["number"].tolist() == kept.tolist()
    choice, labels = logits.argmax(1)[kept], LABELS[kept]
    assert rows["predicted"].tolist() == choice.tolist()
    hits = labels[np.arange(len(kept)), choice] > 0
    assert rows["accuracy"].tolist() == hits.tolist()
    assert rows["label"].tolist() == np.where(
        hits, choice, labels.argmax(1)).tolist()
    p = 1 / (1 + np.exp(-logits[kept]))  # The loss is the sigmoid one.
    np.testing.assert_allclose(rows["score"], p.max(1), rtol=1e-5)


def test_the_choice_can_be_among_some_classes(setup):
    arguments, logits = setup
    result = classification.Classification(**arguments, classes=[1, 4]).run()
    labels = LABELS[:, [1, 4]]
    hits = labels[np.arange(13), logits[:, [1, 4]].argmax(1)]
    assert result["accuracy"] == pytest.approx(hits[labels.any(1)].mean())
    assert result["examples"] == labels.any(1).sum()


def test_soft_labels_must_fit_the_classes():
    with pytest.raises(ValueError, match="5 .* 4 classes"):
        sources.arrays(images=IMAGES, labels=LABELS, class_names="abcd")

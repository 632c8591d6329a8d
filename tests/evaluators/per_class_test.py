"""The figures of each class are scikit-learn's, in training, too."""

import functools
import json

from numpy import testing
import numpy as np
import pytest
from sklearn import metrics as sklearn
import tf_keras

from tests import toy
from tfvit import experiment
from tfvit import trainer
from tfvit.distribute import strategies
from tfvit.evaluators import metrics
from tfvit.evaluators import per_class

RANDOM = np.random.default_rng(0)


def examples(present, guessed, count=60):
    """(labels, predicted), of some of the classes alone."""
    return RANDOM.choice(present, count), RANDOM.choice(guessed, count)


# Of six classes: all, one without examples, one never predicted, one neither.
CASES = [(range(6), range(6)), ([0, 1, 2, 4, 5], range(6)),
         (range(6), [0, 2, 3, 4, 5]), ([0, 1, 2], [1, 2, 3]), ([4], [4, 5])]


@pytest.mark.parametrize("present, guessed", CASES)
@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_figures_and_averages_are_sklearns(present, guessed):
    labels, predicted = examples(present, guessed)
    found = per_class.figures(labels, predicted, 6)
    *figures, support = sklearn.precision_recall_fscore_support(
        labels, predicted, labels=range(6), zero_division=np.nan)
    for name, expected in zip(per_class.FIGURES, figures):
        testing.assert_allclose(found[name], expected, rtol=1e-15)
    testing.assert_array_equal(found["support"], support)
    report = sklearn.classification_report(
        labels, predicted, labels=range(6), output_dict=True, zero_division=0)
    for i in range(6):
        for name in per_class.FIGURES:
            assert np.nan_to_num(found[name][i]) == pytest.approx(
                report[str(i)][{"f1": "f1-score"}.get(name, name)])
    has = support > 0
    assert per_class.summary(found) == {
        "balanced_accuracy": pytest.approx(
            sklearn.balanced_accuracy_score(labels, predicted)),
        "macro_f1": pytest.approx(sklearn.f1_score(
            labels, predicted, average="macro", zero_division=0)),
        "worst_class_recall": pytest.approx(sklearn.recall_score(
            labels, predicted, average=None, labels=range(6),
            zero_division=0)[has].min()),
    }


@pytest.mark.parametrize("present, guessed", CASES)
def test_pairs_are_the_confusion_matrix_with_the_mistakes_first(
        present, guessed):
    labels, predicted = examples(present, guessed)
    matrix = np.zeros([6, 6], int)
    label, guess, count = per_class.pairs(labels, predicted, 6)
    matrix[label, guess] = count
    testing.assert_array_equal(matrix, sklearn.confusion_matrix(
        labels, predicted, labels=range(6)))
    assert (count > 0).all()
    wrong = label != guess
    assert (np.diff(wrong.astype(int)) <= 0).all()
    assert (np.diff(count[wrong]) <= 0).all()


def test_more_classes_than_a_matrix_has_room_for():
    labels = np.array([0, 21_842, 21_842, 9])
    label, guess, count = per_class.pairs(labels, labels[::-1].copy(), 21_843)
    assert [*zip(label, guess, count)] == [
        (0, 9, 1), (9, 0, 1), (21_842, 21_842, 2)]


@pytest.fixture(scope="module", params=[strategies.one_device,
                                        strategies.logical_cpus])
def evaluation(request):
    """Makes an evaluator of a model that chooses several classes."""
    strategy = request.param()
    with strategy.scope():
        inputs = tf_keras.Input([8, 8, 3])
        x = tf_keras.layers.Flatten()(inputs)
        model = tf_keras.Model(inputs, tf_keras.layers.Dense(7)(x))
    # The nearest brightness, but for a bias that takes some for their
    # neighbours.
    means = (30 + 30 * np.arange(7)) / 127.5 - 1
    model.set_weights([np.tile(100 * means / 192, [192, 1]), -80 * means**2])
    return functools.partial(toy.EVALUATION, name="test", model=model,
                             strategy=strategy, jit=False)


@pytest.mark.parametrize("batch_size", [2, 32])
def test_an_evaluator_counts_every_example_once(evaluation, batch_size):
    evaluator = evaluation(batch_size=batch_size, per_class=["recall", "f1"])
    rows = evaluator.rows()
    assert rows["number"].tolist() == list(range(13))
    assert rows["label"].tolist() == [i % 7 for i in range(13)]
    result = evaluator.run()
    assert {*result} == {*evaluator.metric_names}
    plain = evaluation(batch_size=batch_size).run()
    assert result["accuracy"] == plain["accuracy"]
    assert result["top5_accuracy"] == plain["top5_accuracy"]
    assert result["loss"] == pytest.approx(plain["loss"], rel=1e-6)
    recall, f1 = (score(rows["label"], rows["predicted"], average=None,
                        labels=range(7), zero_division=0)
                  for score in (sklearn.recall_score, sklearn.f1_score))
    assert 0 < recall.mean() < 1
    for i in range(7):
        assert result[f"recall/class {i}"] == pytest.approx(recall[i])
        assert result[f"f1/class {i}"] == pytest.approx(f1[i])
    assert result["balanced_accuracy"] == pytest.approx(recall.mean())
    testing.assert_array_equal(rows["accuracy"],
                               rows["label"] == rows["predicted"])


def test_classes_of_one_name_are_told_apart():
    assert per_class.names(["crane", "a", "crane"]) == [
        "crane (0)", "a", "crane (2)"]


@pytest.mark.parametrize("wrong", [True, "recall", ["recal"], 3])
def test_wrong_figures_are_refused(evaluation, wrong):
    with pytest.raises(ValueError, match=r"per_class=.*\['precision', 'recall',"
                       " 'f1'\\].*or None"):
        evaluation(per_class=wrong)


@pytest.mark.parametrize("name", ["loss", "error", "a/loss", "xent, error"])
def test_a_larger_recall_is_better_whatever_the_class_is_called(name):
    assert not metrics.smaller_is_better(f"val/recall/{name}")
    assert metrics.is_better(f"val/f1/{name}", 0.5, 0.4)
    assert not metrics.of_class(f"recall/{name}".replace("/", "-"))


GIN = """
include 'gin/digits.gin'
classification.Classification.per_class = ['recall']
experiment.Experiment.total_steps = 4
experiment.Experiment.log_every = 2
experiment.Experiment.eval_every = 2
experiment.Experiment.checkpoint_every = 4
experiment.Experiment.steps_per_call = 2
experiment.Experiment.best_metric = 'test/{metric}'
vit.vit.width = 8
vit.vit.depth = 1
vit.vit.mlp_dim = 4
schedules.cosine.warmup_steps = 1
"""


def trained(metric, tmp_path):
    (tmp_path / "x.gin").write_text(
        GIN.format(metric=metric).replace("\nclass", """
from __gin__ import dynamic_registration
from tfvit import experiment
from tfvit.evaluators import classification
from tfvit.models import vit
from tfvit.optimize import schedules
class""", 1))
    exp, _ = experiment.from_config([str(tmp_path / "x.gin")])
    trainer.train(exp, str(tmp_path / "run"))
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "test/loss" in line]


def test_a_run_reports_each_class_and_keeps_the_best_of_one(tmp_path, caplog):
    caplog.set_level("INFO")
    lines = trained("recall/7", tmp_path)
    assert len(lines) == 2
    for line in lines:
        # Each digit has 35 to 37 of the 359 test images.
        recalls = [line[f"test/recall/{i}"] for i in range(10)]
        assert line["test/balanced_accuracy"] == pytest.approx(np.mean(recalls))
        assert line["test/worst_class_recall"] == min(recalls)
        hits = np.multiply(recalls, [36, 36, 35, 37, 36, 36, 36, 36, 35, 36])
        testing.assert_allclose(hits, hits.round(), atol=1e-6)
        assert hits.sum() == pytest.approx(359 * line["test/accuracy"])
        assert 0 <= line["test/ece"] <= 1
    assert "test/recall/7" not in [record for record in caplog.messages
                                   if record.startswith("step")][-1]
    assert "Best test/recall/7 so far" in caplog.text


def test_a_class_that_is_not_there_is_no_metric(tmp_path):
    with pytest.raises(ValueError, match="test/recall/11.*Did you mean "
                       "'test/recall/1"):
        trained("recall/11", tmp_path)

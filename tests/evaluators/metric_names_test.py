"""What an evaluator says it will report is what it reports."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import two_towers
from tfvit.data.datasets import captions
from tfvit.data.datasets import sources
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.evaluators import classification
from tfvit.evaluators import fewshot
from tfvit.evaluators import metrics
from tfvit.evaluators import multilabel
from tfvit.evaluators import retrieval
from tfvit.evaluators import sharpness
from tfvit.evaluators import zeroshot
from tfvit.optimize import losses

IMAGES = np.random.default_rng(0).integers(0, 256, [9, 4, 4, 3]).astype(
    np.uint8)


def tokenizer(texts):
    return tf.stack([tf.cast(tf.strings.to_hash_bucket_strong(
        texts, 50, [i, 7]), tf.int32) for i in range(3)], axis=-1)


def labelled(num_classes):
    return functools.partial(
        sources.arrays, images=IMAGES, labels=np.arange(9) % num_classes,
        class_names=[f"name {i}" for i in range(num_classes)])


def classifier(num_classes):
    inputs = tf_keras.Input([4, 4, 3])
    x = tf_keras.layers.Flatten()(inputs)
    return tf_keras.Model(
        inputs, tf_keras.layers.Dense(num_classes, name="head")(x))


CASES = {  # Evaluator, classes (None: two towers), its own arguments.
    "classification": (classification.Classification, 7,
                       {"loss": losses.softmax_xent}),
    "five classes": (classification.Classification, 5,
                     {"loss": losses.softmax_xent}),
    "six classes": (classification.Classification, 6,
                    {"loss": losses.softmax_xent, "skip_corrupt": True}),
    "five of seven": (classification.Classification, 7, {
        "loss": losses.sigmoid_xent, "classes": [0, 1, 2, 3, 6]}),
    "six of seven": (classification.Classification, 7, {
        "loss": losses.sigmoid_xent, "classes": [0, 1, 2, 3, 4, 6]}),
    "each class": (classification.Classification, 7, {
        "loss": losses.softmax_xent, "per_class": ["precision", "f1"],
        "skip_corrupt": True}),
    "averages of four of seven": (classification.Classification, 7, {
        "loss": losses.sigmoid_xent, "per_class": [], "classes": [6, 2, 1, 0]}),
    "multilabel": (multilabel.MultiLabel, 7, {"loss": losses.sigmoid_xent}),
    "multilabel, corrupt": (multilabel.MultiLabel, 3, {
        "loss": losses.sigmoid_xent, "skip_corrupt": True}),
    "fewshot": (fewshot.FewShot, 3, {"shots": (1, 2), "seeds": (4, 5, 6)}),
    "fewshot, corrupt": (fewshot.FewShot, 3, {"skip_corrupt": True}),
    "zeroshot": (zeroshot.ZeroShot, None, {"prompts": "class_name_only"}),
    "zeroshot, five": (zeroshot.ZeroShot, None, {
        "prompts": ["a {}"], "classes": [0, 1, 2, 3, 4],
        "skip_corrupt": True}),
    "retrieval": (retrieval.Retrieval, None, {}),
    "retrieval, ks": (retrieval.Retrieval, None, {"ks": (1, 3)}),
    "sharpness": (sharpness.Sharpness, 3, {
        "loss": losses.softmax_xent, "num_batches": 1, "iterations": 2}),
    "sharpness, radii": (sharpness.Sharpness, 3, {
        "loss": losses.softmax_xent, "num_batches": 1, "iterations": 1,
        "radii": (0.5, -1.0, 1e-7)}),
}


def make(case):
    kind, num_classes, arguments = CASES[case]
    model = two_towers.build() if num_classes is None else classifier(
        num_classes)
    arguments = dict(arguments)
    source = labelled(num_classes or 7)
    if kind is retrieval.Retrieval:
        source = functools.partial(captions.arrays, images=IMAGES,
                                   captions=[["one", "two"]] * 9)
    if kind is fewshot.FewShot:
        arguments |= {"train_source": source, "test_source": source}
    else:
        arguments["source"] = source
    if num_classes is None:
        arguments["tokenizer"] = tokenizer
    return kind(name="test", model=model, strategy=strategies.one_device(),
                jit=False, ops=[ops.decode, ops.value_range], batch_size=4,
                **arguments)


@pytest.mark.parametrize("case", CASES)
def test_names_are_known_before_the_run(case):
    evaluator = make(case)
    names = evaluator.metric_names
    assert len(set(names)) == len(names)
    assert set(evaluator.run()) == set(names)


@pytest.mark.parametrize("case, wrong, meant", [
    ("classification", "test/accurcy", "test/accuracy"),
    ("classification", "accuracy", "test/accuracy"),
    ("classification", "tset/accuracy", "test/accuracy"),
    ("classification", "test/top5_acc", "test/top5_accuracy"),
    ("each class", "test/f1/nmae 3", "test/f1/name 3"),
    ("each class", "test/macrof1", "test/macro_f1"),
    ("multilabel", "test/mean_avg_precision", "test/mean_average_precision"),
    ("fewshot", "test/2shot-seed5", "test/2shot-seed-5"),
    ("retrieval, ks", "test/img2text_recall@3", "test/img2txt_recall@3"),
    ("sharpness", "test/loss_at_0.1", "test/loss_at_0.05"),
])
def test_a_wrong_name_is_refused_with_the_one_that_was_meant(case, wrong,
                                                             meant):
    evaluators = {"test": make(case)}
    metrics.check_name("Knob", meant, evaluators)
    with pytest.raises(ValueError) as error:
        metrics.check_name("Knob", wrong, evaluators)
    assert f"Knob={wrong!r} is not among the metrics: " in str(error.value)
    assert f"Did you mean {meant!r}?" in str(error.value)


@pytest.mark.parametrize("case", ["five classes", "five of seven"])
def test_top5_is_no_metric_of_five_classes(case):
    with pytest.raises(ValueError, match="top5_accuracy"):
        metrics.check_name("Knob", "test/top5_accuracy", {"test": make(case)})


# Of each name that an evaluator gives, by hand: is the smaller one better?
SMALLER = {
    "accuracy": False, "top5_accuracy": False, "loss": True, "examples": False,
    "balanced_accuracy": False, "macro_f1": False,
    "worst_class_recall": False, "ece": True,
    "corrupt": True, "mean_average_precision": False, "captions": False,
    # SAM looks for flat minima: of small eigenvalues, and low around.
    "top_eigenvalue": True, "loss_at_0.5": True, "loss_at_-1": True,
    "loss_at_1e-07": True, "loss_at_0.05": True
}


@pytest.mark.parametrize("case", CASES)
def test_the_direction_of_every_metric(case):
    for name in make(case).metric_names:
        expected = SMALLER.get(name)
        if expected is None:
            assert ("shot" in name or "_recall@" in name or
                    metrics.of_class(f"test/{name}"))
        for evaluator in ("test", "error_cases", "loss", "lossless", "xent/a"):
            metric = f"{evaluator}/{name}"
            assert metrics.smaller_is_better(metric) is bool(expected)
            assert metrics.best(metric, [0.2, 0.1, float("nan"), 0.3]) == (
                0.1 if expected else 0.3)
            assert metrics.is_better(metric, 0.1, 0.2) is bool(expected)

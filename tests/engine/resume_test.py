"""A run that was stopped and continued equals one that was not, bit for bit."""

import dataclasses
import functools
import json
import os
import pathlib
import signal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import toy
from tfvit import trainer
from tfvit.data import pipeline
from tfvit.data.images import distort
from tfvit.data.images import mixup
from tfvit.data.images import ops
from tfvit.data.images import randaug
from tfvit.distribute import strategies
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.engine import stopping


def state(workdir, step, folder=""):
    """{name: bytes} of everything in a checkpoint but object bookkeeping."""
    prefix = f"{workdir}/checkpoints/{folder}ckpt-{step}"
    return {
        name: np.asarray(tf.train.load_variable(prefix, name)).tobytes()
        for name, _ in tf.train.list_variables(prefix)
        if name.endswith("VARIABLE_VALUE")
    }


def metrics(workdir):
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = pathlib.Path(workdir, "metrics.jsonl").read_text().splitlines()
    return [{
        k: v for k, v in json.loads(line).items() if k != "train/img_per_s"
    } for line in lines]


class StopsAt:
    """An evaluator that asks its own process to stop, once, at its n-th run."""

    def __init__(self, n):
        self.left = n

    def __call__(self, **kwargs):
        self._evaluator = toy.EVALUATION(**kwargs)
        return self

    def run(self, poll):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._evaluator.run(poll)


@pytest.fixture(scope="module", params=["one device", "two replicas"])
def uninterrupted(request, tmp_path_factory):
    strategy = {
        "one device": strategies.one_device,
        "two replicas": strategies.logical_cpus
    }[request.param]
    exp = dataclasses.replace(toy.EXPERIMENT, strategy=strategy)
    workdir = tmp_path_factory.mktemp("run")
    return exp, workdir, trainer.train(exp, workdir)


def test_a_run_leaves_what_it_promises(uninterrupted):
    exp, workdir, result = uninterrupted
    assert checkpoint.steps(workdir) == [7, 14, 20]
    assert result["test"]["examples"] == 13
    lines = metrics(workdir)
    assert [(line["step"], "train/loss" in line) for line in lines] == [
        (5, True), (10, True), (10, False), (15, True), (20, True), (20, False)]
    assert lines[-1]["test/accuracy"] == result["test"]["accuracy"]
    labels = pathlib.Path(workdir, "labels.txt").read_text().splitlines()
    assert labels == [f"class {i}" for i in range(7)]
    del exp


def test_stopped_during_evaluation(uninterrupted, tmp_path):
    exp, workdir, result = uninterrupted
    with pytest.raises(stopping.Preempted, match="SIGTERM.*Saved step 10"):
        trainer.train(
            dataclasses.replace(exp, evaluators={"test": StopsAt(1)}), tmp_path)
    assert checkpoint.steps(tmp_path) == [7, 10]
    assert trainer.train(exp, tmp_path) == result
    assert state(tmp_path, 20) == state(workdir, 20)
    assert metrics(tmp_path) == metrics(workdir)


def test_the_newest_checkpoint_is_truncated(uninterrupted, tmp_path, caplog):
    exp, workdir, result = uninterrupted
    with pytest.raises(stopping.Preempted):
        trainer.train(
            dataclasses.replace(exp, evaluators={"test": StopsAt(2)}), tmp_path)
    data = tmp_path / "checkpoints" / "ckpt-20.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    assert trainer.train(exp, tmp_path) == result
    assert "Cannot read the checkpoint" in caplog.text
    assert state(tmp_path, 20) == state(workdir, 20)
    assert metrics(tmp_path) == metrics(workdir)


def test_a_finished_run_is_not_trained_again(uninterrupted, tmp_path):
    exp, workdir, result = uninterrupted
    before = state(workdir, 20), metrics(workdir)
    assert trainer.train(exp, workdir) == result
    assert (state(workdir, 20), metrics(workdir)) == before


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [strategies.one_device,
                                      strategies.logical_cpus])
def test_a_run_with_every_augmentation_goes_on_as_it_would_have(strategy,
                                                                tmp_path):
    exp = dataclasses.replace(
        toy.EXPERIMENT, total_steps=8, log_every=2, eval_every=4,
        strategy=strategy,
        train_data=functools.partial(pipeline.train, ops=[
            functools.partial(ops.decode_and_inception_crop, size=(16, 20)),
            functools.partial(ops.resize_small, smaller_size=12),
            functools.partial(ops.random_crop, size=8), ops.flip_lr,
            functools.partial(ops.random_shift, pixels=2),
            functools.partial(randaug.randaugment, layers=1, magnitude=10),
            functools.partial(distort.color_jitter, brightness=0.4,
                              contrast=0.4, saturation=0.4, hue=0.1),
            functools.partial(distort.random_erasing, probability=0.9),
            ops.value_range
        ]),
        mix=functools.partial(mixup.one_of, mixes=[
            functools.partial(mixup.mixup, alpha=0.8),
            functools.partial(mixup.cutmix, alpha=1.0, per_example=True)
        ]))
    result = trainer.train(exp, tmp_path / "whole")
    with pytest.raises(stopping.Preempted):
        trainer.train(
            dataclasses.replace(exp, evaluators={"test": StopsAt(1)}),
            tmp_path / "parts")
    assert trainer.train(exp, tmp_path / "parts") == result
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert state(tmp_path / "parts", 8) == state(tmp_path / "whole", 8)


def normalized(num_classes=7, classes=toy.NUM_CLASSES):
    """A user's own model, with statistics that no gradient changes."""
    del num_classes
    images = tf_keras.Input([8, 8, 3])
    x = tf_keras.layers.Conv2D(4, 3, name="conv")(images)
    x = tf_keras.layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = tf_keras.layers.GlobalAveragePooling2D()(tf.nn.relu(x))
    return tf_keras.Model(images, tf_keras.layers.Dense(classes,
                                                        name="head")(x))


def test_statistics_of_a_model_of_ones_own_are_saved(uninterrupted, tmp_path):
    exp = dataclasses.replace(uninterrupted[0], model=normalized)
    result = trainer.train(exp, tmp_path / "whole")
    with pytest.raises(stopping.Preempted):
        trainer.train(dataclasses.replace(
            exp, evaluators={"test": StopsAt(1)}), tmp_path / "parts")
    assert trainer.train(exp, tmp_path / "parts") == result
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    saved = state(tmp_path / "whole", 20)
    assert state(tmp_path / "parts", 20) == saved
    key = "statistics/norm.Smoving_mean/.ATTRIBUTES/VARIABLE_VALUE"
    mean = np.frombuffer(saved[key], np.float32)
    assert np.abs(mean).min() > 0
    # What evaluates later finds the same.
    run = build.build(exp, training=False)
    checkpoint.restore_for_inference(tmp_path / "whole", run.weights)
    np.testing.assert_array_equal(run.model.get_layer("norm").moving_mean, mean)
    assert {k: v for k, v in result["test"].items()} == {
        k.removeprefix("test/"): v for k, v in run.evaluate().items()}


def test_variables_of_the_same_name_are_refused():

    def model():
        images = tf_keras.Input([8, 8, 3])
        x = tf_keras.layers.Flatten()(images)
        return tf_keras.Model(images, tf_keras.layers.Add()([
            tf_keras.layers.Dense(7, name=name)(x)
            for name in ("encoderblock_0/LayerNorm_1",
                         "encoderblock_0/LayerNorm_2")]))

    with pytest.raises(ValueError, match="called 'encoderblock_0/LayerNorm_2/"):
        build.build(dataclasses.replace(toy.EXPERIMENT, model=model))


def test_steps_per_call_changes_nothing(uninterrupted, tmp_path):
    exp, workdir, result = uninterrupted
    exp = dataclasses.replace(exp, steps_per_call=4)
    assert trainer.train(exp, tmp_path) == result
    assert state(tmp_path, 20) == state(workdir, 20)
    assert metrics(tmp_path) == metrics(workdir)


def test_all_checkpoints_are_damaged(uninterrupted, tmp_path):
    exp, workdir, _ = uninterrupted
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "ckpt-7.index").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="None of the 1 checkpoints in .*"
                       "ckpt-7"):
        trainer.train(exp, tmp_path)
    assert (folder / "ckpt-7.index").read_bytes() == b"rubbish"
    del workdir


def test_the_best_checkpoint_is_kept(tmp_path):
    scores = iter([0.5, 0.9, 0.7, 0.9])

    class Scripted:

        def __init__(self, **kwargs):
            del kwargs

        def run(self, poll):
            del poll
            return {"accuracy": next(scores)}

    exp = dataclasses.replace(
        toy.EXPERIMENT, evaluators={"test": Scripted}, eval_every=5,
        best_metric="test/accuracy", keep_checkpoints=1)
    trainer.train(exp, tmp_path)
    assert checkpoint.steps(tmp_path) == [20]
    assert checkpoint.steps(tmp_path, best=True) == [10]
    params = build.build(exp, training=False).params
    assert checkpoint.restore_for_inference(tmp_path, params, "best") == 10
    assert checkpoint.restore_for_inference(tmp_path, params) == 20
    with pytest.raises(ValueError, match="no checkpoint 15.*\\[20\\].*\\[10\\]"):
        checkpoint.restore_for_inference(tmp_path, params, 15)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):

    def loss(logits, labels):
        # Image brightness makes the first logit large at some step.
        values = toy.EXPERIMENT.loss(logits, labels)
        return values / tf.cast(tf.reduce_mean(values) > 1.7, tf.float32)

    exp = dataclasses.replace(toy.EXPERIMENT, loss=loss, checkpoint_every=1)
    with pytest.raises(FloatingPointError,
                       match=r"loss is (inf|nan) at step (\d+)") as error:
        trainer.train(exp, tmp_path)
    bad = int(str(error.value).split("at step ")[1].split(".")[0])
    assert f"that of step {bad - 1}" in str(error.value)
    assert checkpoint.steps(tmp_path)[-1] == bad - 1
    params = build.build(exp, training=False).params
    checkpoint.restore_for_inference(tmp_path, params)
    assert all(np.isfinite(v.numpy()).all() for v in params.values())

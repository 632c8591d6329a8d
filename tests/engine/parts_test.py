"""Frozen parts, learning rates by name, averages, loss scaling: in numbers."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import toy
from tests.engine import resume_test
from tfvit import experiment
from tfvit import trainer
from tfvit.distribute import strategies
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.engine import state as state_lib
from tfvit.engine import step
from tfvit.engine import stopping
from tfvit.inference import finished
from tfvit.optimize import gradients
from tfvit.optimize import losses
from tfvit.optimize import objectives
from tfvit.optimize import optim
from tfvit.optimize import schedules

SGD = functools.partial(optim.sgd, lr=0.5, momentum=0.0, accumulator="float32",
                        schedule=schedules.stair)  # Without stairs: constant.
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=[20, 8, 6]).astype(np.float32)  # Steps, B, features.
LABELS = RNG.integers(0, 3, [20, 8])


def setup(*, strategy=None, precision="float32", frozen=None, ema_decay=None,
          loss_scale=None, accum_steps=1, jit=False, **arguments):
    """(train, iterator, state) of a small model on IMAGES and LABELS."""
    strategy = strategy or strategies.one_device()
    optimizer = SGD(20)
    with strategy.scope(), build.precision_policy(precision):
        tf_keras.utils.set_random_seed(0)
        inputs = tf_keras.Input([6])
        hidden = tf_keras.layers.Dense(5, name="body")(inputs)
        model = tf_keras.Model(inputs, tf_keras.layers.Dense(
            3, name="head")(hidden))
        params = {v.name[:-2]: v for v in model.trainable_variables}
        state = state_lib.TrainState(params, optimizer, strategy, frozen=frozen,
                                     ema=ema_decay is not None,
                                     loss_scale=loss_scale)
    state.start_averages()
    train = step.make_train_step(
        objective=objectives.Supervised(
            model=model, loss=lambda logits, labels: losses.softmax_xent(
                tf.cast(logits, tf.float32), labels)),
        state=state, gradients=gradients.plain, seed=0,
        optimizer=optimizer, strategy=strategy, jit=jit, clip_norm=None,
        accum_steps=accum_steps, ema_decay=ema_decay, **arguments)
    data = {"images": IMAGES.reshape(-1, 6), "labels": LABELS.reshape(-1)}
    iterator = iter(strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensor_slices(data).batch(
            context.get_per_replica_batch_size(8), drop_remainder=True)))
    return train, iterator, state


def arrays(variables):
    return {name: v.numpy() for name, v in variables.items()}


def by_hand(params, factors, steps):
    """Gradient descent in numpy; yields the parameters after each step."""
    p = dict(params)
    for x, labels in zip(IMAGES[:steps], LABELS):
        h = x @ p["body/kernel"] + p["body/bias"]
        e = np.exp(h @ p["head/kernel"] + p["head/bias"])
        d = (e / e.sum(1, keepdims=True) - np.eye(3)[labels]) / len(x)
        back = d @ p["head/kernel"].T
        gradient = {"head/kernel": h.T @ d, "head/bias": d.sum(0),
                    "body/kernel": x.T @ back, "body/bias": back.sum(0)}
        p = {k: v - 0.5 * factors[k] * gradient[k] for k, v in p.items()}
        yield p


def test_frozen_parts_factors_and_averages_as_in_numpy():
    train, iterator, state = setup(
        frozen="body/bias", ema_decay=0.7,
        lr_multipliers=[("head/k.*", 3.0), (".*/kernel", 0.5)])
    before = arrays(state.params)
    factors = {"head/kernel": 3.0, "body/kernel": 0.5, "head/bias": 1.0,
               "body/bias": 0.0}
    expected = {k: v.astype(np.float64) for k, v in before.items()}
    average = dict(expected)
    for expected in by_hand(expected, factors, 6):
        average = {k: 0.7 * average[k] + 0.3 * expected[k] for k in average}
    train(iterator, 6)
    after = arrays(state.params)
    for name, value in expected.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-5, atol=1e-6)
        if name != "body/bias":
            np.testing.assert_allclose(state.ema[name].numpy(), average[name],
                                       rtol=1e-5, atol=1e-6)
            assert np.abs(after[name] - before[name]).max() > 1e-3
    np.testing.assert_array_equal(after["body/bias"], before["body/bias"])
    others = {"body/kernel", "head/kernel", "head/bias"}
    assert {*state.ema} == {*state.slots["momentum"]} == others


STRATEGIES = {"one": strategies.one_device, "two": strategies.logical_cpus}


@pytest.mark.parametrize("replicas, accum_steps, jit", [
    ("one", 1, False), ("two", 2, True)])
def test_a_scale_that_fits_changes_nothing_but_rounding(replicas, accum_steps,
                                                        jit):
    train, iterator, state = setup(
        precision="mixed_float16", loss_scale=2.0**10, jit=jit,
        strategy=STRATEGIES[replicas](), accum_steps=accum_steps)
    *_, expected = by_hand(arrays(state.params),
                           dict.fromkeys(state.params, 1.0), 20)
    metrics = train(iterator, 20)
    assert not np.any(metrics["skipped_updates"])
    for name, value in expected.items():
        assert state.params[name].dtype == tf.float32
        np.testing.assert_allclose(state.params[name].numpy(), value, atol=5e-3)


@pytest.mark.parametrize("replicas, accum_steps, jit", [
    ("one", 2, True), ("two", 2, False)])
def test_overflows_are_skipped_until_the_scale_fits(replicas, accum_steps, jit):
    train, iterator, state = setup(
        precision="mixed_float16", loss_scale=2.0**24, jit=jit, ema_decay=0.5,
        strategy=STRATEGIES[replicas](), accum_steps=accum_steps)
    before = arrays(state.params)
    metrics = train(iterator, 1)
    np.testing.assert_array_equal(metrics["skipped_updates"], [1])
    assert not np.isfinite(metrics["grad_norm"][0])
    for name, value in before.items():
        np.testing.assert_array_equal(state.params[name].numpy(), value)
    metrics = train(iterator, 19)
    skipped = 1 + int(np.sum(metrics["skipped_updates"]))
    assert 1 < skipped < 15
    assert state.scale["skipped"].numpy() == skipped
    assert state.scale["value"].numpy() == 2.0**(24 - skipped)
    assert state.step.numpy() == 20
    for group in (state.params, state.ema, state.slots["momentum"]):
        assert all(np.isfinite(v).all() for v in arrays(group).values())
    assert np.any(state.params["head/kernel"].numpy() != before["head/kernel"])


def test_averages_are_what_is_evaluated_exported_and_resumed(tmp_path,
                                                             monkeypatch):
    exp = dataclasses.replace(
        toy.EXPERIMENT, ema_decay=0.8,
        model=functools.partial(toy.EXPERIMENT.model, depth=1))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    result = trainer.train(exp, whole)
    with pytest.raises(stopping.Preempted):
        trainer.train(dataclasses.replace(
            exp, evaluators={"test": resume_test.StopsAt(1)}), stopped)
    assert trainer.train(exp, stopped) == result
    assert resume_test.state(stopped, 20) == resume_test.state(whole, 20)

    monkeypatch.setattr(experiment, "of_run", lambda *_, **__: (exp, ""))
    exported = finished.load(str(whole)).model
    run = build.build(exp, training=False)
    params = run.params
    assert checkpoint.restore_for_inference(whole, params) == 20
    loss = {}
    for name, weights in (
        ("ema", [v.numpy() for v in exported.trainable_variables]),
        ("params", [tf.train.load_variable(
            f"{whole}/checkpoints/ckpt-20",
            f"params/{name.replace('/', '.S')}/.ATTRIBUTES/VARIABLE_VALUE")
            for name in params])):
        for variable, value in zip(params.values(), weights):
            variable.assign(value)
        loss[name] = run.evaluate()["test/loss"]
    assert loss["ema"] == result["test"]["loss"]
    assert abs(loss["params"] - loss["ema"]) > 1e-4

"""Moving averages that warm up, against TensorFlow's own."""

import dataclasses
import functools
import re

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tests.engine import parts_test
from tests.engine import resume_test
from tfvit import trainer
from tfvit.engine import build
from tfvit.engine import stopping


class Theirs:
    """tf.train.ExponentialMovingAverage of all parameters of a state."""

    def __init__(self, state, decay):
        self._number = tf.Variable(0)
        self._values = {k: tf.Variable(tf.identity(v))
                        for k, v in state.trained.items()}
        self._average = tf.train.ExponentialMovingAverage(
            decay, num_updates=self._number)
        self._average.apply(list(self._values.values()))  # Starts here.

    def update(self, state, number):
        self._number.assign(number)
        for k, variable in self._values.items():
            variable.assign(tf.identity(state.trained[k]))
        self._average.apply(list(self._values.values()))

    def check(self, state):
        for k, variable in self._values.items():
            np.testing.assert_allclose(
                tf.identity(state.ema[k]), self._average.average(variable),
                rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.9999])
@pytest.mark.parametrize("replicas, jit", [("one", True), ("two", False)])
def test_the_average_is_tensorflows(decay, replicas, jit):
    train, iterator, state = parts_test.setup(
        strategy=parts_test.STRATEGIES[replicas](), ema_decay=decay,
        ema_warmup=True, jit=jit)
    theirs = Theirs(state, decay)
    for number in range(1, 13):
        train(iterator, 1)
        theirs.update(state, number)
        theirs.check(state)


def test_without_warming_up_all_updates_decay_alike():
    train, iterator, state = parts_test.setup(ema_decay=0.9)
    average = parts_test.arrays(state.ema)
    for _ in range(5):
        train(iterator, 1)
        average = {k: 0.9 * v + 0.1 * state.params[k].numpy()
                   for k, v in average.items()}
    for k, v in average.items():
        np.testing.assert_allclose(state.ema[k].numpy(), v, rtol=1e-5,
                                   atol=1e-6)


def test_updates_that_loss_scaling_skips_are_not_counted():
    train, iterator, state = parts_test.setup(
        precision="mixed_float16", loss_scale=2.0**24, ema_decay=0.9999,
        ema_warmup=True)
    theirs, number = Theirs(state, 0.9999), 0
    for _ in range(20):
        if not train(iterator, 1)["skipped_updates"][0]:
            number += 1
            theirs.update(state, number)
        theirs.check(state)
    assert 5 < number < 20


WARMED_UP = dataclasses.replace(
    toy.EXPERIMENT, ema_decay=0.9999, ema_warmup=True, eval_every=5,
    model=functools.partial(toy.EXPERIMENT.model, depth=1))


def test_a_run_that_was_stopped_has_the_same_averages(tmp_path):
    result = trainer.train(WARMED_UP, tmp_path / "whole")
    with pytest.raises(stopping.Preempted):
        trainer.train(dataclasses.replace(
            WARMED_UP, evaluators={"test": resume_test.StopsAt(1)}),
            tmp_path / "parts")
    assert trainer.train(WARMED_UP, tmp_path / "parts") == result
    states = [resume_test.state(tmp_path / name, 20)
              for name in ("whole", "parts")]
    assert states[0] == states[1]
    assert any(name.startswith("ema/") for name in states[0])


@pytest.mark.parametrize("changes, warns", [
    ({"ema_decay": 0.9999}, "0.9999 .* about 10000 .*total_steps=20: 100 %"),
    ({"ema_decay": 0.96}, "about 25 updates.*total_steps=20: 44 %"),
    ({"ema_decay": 0.95}, None),  # Over 20 updates, as many as there are.
    ({"ema_decay": 0.9999, "ema_warmup": True}, None),
    ({}, None),
])
def test_an_average_longer_than_the_run_is_warned_of(changes, warns, caplog):
    exp = dataclasses.replace(toy.EXPERIMENT, **changes)
    with caplog.at_level("WARNING", logger="absl"):
        build.build(exp).state  # pylint: disable=expression-not-assigned
    found = [record.getMessage() for record in caplog.records]
    if warns:
        assert len(found) == 1 and "ema_warmup = True" in found[0]
        assert re.search(warns, found[0])
    else:
        assert not found


@pytest.mark.parametrize("changes, message", [
    ({"ema_warmup": True}, "ema_warmup=True must .*ema_decay, now None"),
    ({"ema_warmup": 10, "ema_decay": 0.9}, "ema_warmup=10 must be True"),
])
def test_a_warmup_of_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(toy.EXPERIMENT, **changes)

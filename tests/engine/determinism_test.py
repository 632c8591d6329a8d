"""Determinism is a choice of each experiment, though the process has one."""

import dataclasses
import types

import pytest
import tensorflow as tf

from tests import toy
from tfvit.engine import build
from tfvit.engine import determinism


def _on(*devices):
    """What is asked of a strategy on these devices."""
    return types.SimpleNamespace(extended=types.SimpleNamespace(
        worker_devices=[f"/job:localhost/replica:0/task:0/device:{device}"
                        for device in devices]))


@pytest.fixture(autouse=True)
def as_before():
    yield
    tf.config.experimental.enable_op_determinism()


@pytest.mark.parametrize("devices, free", [
    (["CPU:0"], True), (["TPU:0", "TPU:1"], True), (["GPU:0", "GPU:1"], False)])
def test_it_is_on_by_itself_where_it_is_free(devices, free, caplog):
    caplog.set_level("INFO")
    determinism.require("auto", _on(*devices))
    assert determinism.is_required() == free
    assert ("Experiment.deterministic = True" in caplog.text) != free


@pytest.mark.parametrize("wanted", [True, False])
def test_a_wish_counts_everywhere_and_is_not_commented(wanted, caplog):
    caplog.set_level("INFO")
    for device in "CPU:0", "GPU:0":
        determinism.require(wanted, _on(device))
        assert determinism.is_required() == wanted
    assert not caplog.text


def test_two_experiments_of_one_process_have_each_their_own():
    for wanted in False, True, False, "auto":
        build.build(dataclasses.replace(toy.EXPERIMENT, deterministic=wanted))
        assert determinism.is_required() == bool(wanted)


def test_who_evaluates_keeps_the_process_unless_the_run_asks_for_it():
    exp = toy.EXPERIMENT
    determinism.require(False, _on("CPU:0"))
    build.build(exp, training=False)
    assert not determinism.is_required()
    build.build(dataclasses.replace(exp, deterministic=True), training=False)
    assert determinism.is_required()


@pytest.mark.parametrize("value", [1, "yes", None])
def test_what_it_may_be_is_said(value):
    with pytest.raises(ValueError, match="deterministic=.*True, False or"):
        dataclasses.replace(toy.EXPERIMENT, deterministic=value)

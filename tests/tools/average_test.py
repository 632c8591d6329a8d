"""Averages of checkpoints, in numpy by hand."""

import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tests.engine import from_run_test
from tfvit import experiment
from tfvit.engine import checkpoint
from tfvit.weights import load
from tools import average

EXPERIMENT = dataclasses.replace(from_run_test.EXPERIMENT, frozen=None,
                                 ema_decay=None)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs: `plain` and `ema`, steps 10, 20 and 30; `other` of another size."""
    folder = tmp_path_factory.mktemp("runs")
    for name, exp, steps in [
            ("plain", EXPERIMENT, [10, 20, 30]),
            ("ema", from_run_test.EXPERIMENT, [10, 20, 30]),
            ("other", toy.EXPERIMENT, [40])]:
        from_run_test.save(str(folder / name), exp, steps, best=[20, 40])
    return folder


@pytest.fixture
def call(monkeypatch):
    """call(words, out=..., last=..., best=...) as the command."""

    def run(*words, exp=EXPERIMENT, out=None, last=None, best=False):
        monkeypatch.setattr(experiment, "of_run", lambda *_: (exp, ""))
        monkeypatch.setattr(average.launch, "overrides", lambda: ((), ()))
        for flag, value in (("_OUT", out and str(out)), ("_LAST", last),
                            ("_BEST", best)):
            monkeypatch.setattr(average, flag,
                                types.SimpleNamespace(value=value))
        average.main(list(map(str, words)))

    return run


def variable(run, step, name, group="params"):
    return tf.train.load_variable(
        f"{run}/checkpoints/ckpt-{step}", f"{group}/{name.replace('/', '.S')}"
        "/.ATTRIBUTES/VARIABLE_VALUE").astype(np.float64)


@pytest.mark.parametrize("last, steps", [(2, [20, 30]), (None, [10, 20, 30]),
                                         (5, [10, 20, 30])])
def test_the_newest_checkpoints_are_averaged(runs, call, tmp_path, last, steps,
                                             caplog):
    call(runs / "plain", last=last, out=tmp_path / "mean.npz")
    found = np.load(tmp_path / "mean.npz")
    assert len(found.files) > 20
    for name in found.files:
        expected = np.mean([variable(runs / "plain", step, name)
                            for step in steps], axis=0)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-7)
    beside = json.loads((tmp_path / "mean.json").read_text())
    assert [step for _, step in beside["averaged"]] == list(map(str, steps))
    assert beside["patch_grid"] == [2, 8]
    told = "has 3 of the 5 checkpoints that --last asks for" in caplog.text
    assert told == (last == 5)
    load.from_npz(from_run_test.MODEL(), path=str(tmp_path / "mean.npz"),
                  reset_head=False)


def test_of_averages_these_count_and_frozen_weights_stay(runs, call, tmp_path):
    call(runs / "ema", exp=from_run_test.EXPERIMENT, out=tmp_path / "mean.npz")
    found = np.load(tmp_path / "mean.npz")
    for name, group in (("cls", "ema"), ("head/bias", "params")):
        np.testing.assert_allclose(found[name], np.mean([
            variable(runs / "ema", step, name, group) for step in (10, 20, 30)
        ], axis=0), rtol=1e-6, atol=1e-7)


def test_a_soup_of_the_best_of_two_runs(runs, call, tmp_path):
    call(runs / "plain", runs / "ema", best=True, out=tmp_path / "soup.npz")
    np.testing.assert_allclose(
        np.load(tmp_path / "soup.npz")["cls"],
        (variable(runs / "plain", 20, "cls") +
         variable(runs / "ema", 20, "cls", "ema")) / 2, rtol=1e-6)


def test_of_one_run_the_file_has_a_name(runs, call):
    call(runs / "plain", last=2)
    assert (runs / "plain/average-20-30.npz").exists()


def test_what_cannot_be_averaged_is_said(runs, call, tmp_path):
    for words, options, message in [
            ([], {}, "Name the directory of a run"),
            ([tmp_path], {}, "holds no checkpoint"),
            ([runs / "plain"], {"last": 1}, "one such checkpoint, 30"),
            ([runs / "plain", runs / "ema"], {}, "several runs --out must"),
            ([runs / "plain", runs / "other"], {"out": tmp_path / "x.npz"},
             "ckpt-40 is of another model than .*: ViT.*, not ViT")]:
        with pytest.raises(ValueError, match=message):
            call(*words, **options)
    for name, classes in (("plain", "a\nb\n"), ("ema", "a\nc\n")):
        (runs / name / "labels.txt").write_text(classes)
    try:
        with pytest.raises(ValueError, match="ema/labels.txt names other "
                           "classes than .*plain/labels.txt"):
            call(runs / "plain", runs / "ema", out=tmp_path / "x.npz")
    finally:
        for name in ("plain", "ema"):
            (runs / name / "labels.txt").unlink()
    assert not (tmp_path / "x.npz").exists()


def test_sums_are_of_float64_and_counters_are_of_the_last(tmp_path):
    state = types.SimpleNamespace(
        step=tf.Variable(0, dtype=tf.int64), params={"a/b": tf.Variable([0.0])},
        slots={}, slot_dtypes={}, ema={}, scale={},
        statistics={"n": tf.Variable(0), "bn/moving_mean": tf.Variable([0.0])})
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=9)
    for step, value in enumerate([3e38, 3e38, 1.0], 1):
        state.step.assign(step)
        state.params["a/b"].assign([value])
        state.statistics["n"].assign(7 * step)
        state.statistics["bn/moving_mean"].assign([2.0 * step])
        checkpoints.save()
    checkpoints.wait()
    found = average.average([(tmp_path, step) for step in (1, 2, 3)])
    np.testing.assert_allclose(found["a/b"], [2e38], rtol=1e-6)
    assert found["n"] == 21 and found["n"].dtype == np.int32
    np.testing.assert_array_equal(found["bn/moving_mean"], [4.0])
    assert found["a/b"].dtype == np.float32

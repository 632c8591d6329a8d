"""Frozen parts, learning rates by name, averages, and float16 that overflows."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tfvit import trainer
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.optimize import loss_scale
from tfvit.optimize import optim


def test_overflowing_updates_are_skipped_and_parts_stay_frozen(tmp_path):
    exp = dataclasses.replace(
        toy.EXPERIMENT, precision="mixed_float16", loss_scale=2.0**40,
        total_steps=20, log_every=20, eval_every=20, checkpoint_every=20,
        frozen="embedding/.*", lr_multipliers=[("head/.*", 2.0)],
        ema_decay=0.5)
    trainer.train(exp, tmp_path)
    lines = pathlib.Path(tmp_path, "metrics.jsonl").read_text().splitlines()
    skipped = json.loads(lines[0])["train/skipped_updates"]
    assert 0 < skipped < 20
    prefix = f"{tmp_path}/checkpoints/ckpt-20"
    read = lambda key: tf.train.load_variable(
        prefix, f"{key}/.ATTRIBUTES/VARIABLE_VALUE")
    assert read("scale/skipped") == skipped
    assert read("scale/value") == 2.0**(40 - skipped)
    saved = [name for name, _ in tf.train.list_variables(prefix)]
    assert all(np.isfinite(tf.train.load_variable(prefix, name)).all()
               for name in saved if name.startswith(("params/", "ema/")))
    assert not any("embedding.Skernel" in name for name in saved
                   if not name.startswith("params/"))
    params = build.build(exp, training=False).params
    checkpoint.restore_for_inference(tmp_path, params)
    np.testing.assert_array_equal(params["head/kernel"].numpy(),
                                  read("ema/head.Skernel"))
    assert np.any(read("ema/head.Skernel") != read("params/head.Skernel"))


def test_the_scale_halves_at_once_and_doubles_after_many_good_updates():
    state = {"value": tf.constant(8.0), "good": tf.constant(7, tf.int64),
             "skipped": tf.constant(0, tf.int64)}
    state, skip = loss_scale.advance(state, tf.constant(False))
    assert [float(skip), *map(float, state.values())] == [1, 4, 0, 1]
    state["good"] = tf.constant(loss_scale.GROWTH_EVERY - 1, tf.int64)
    state, skip = loss_scale.advance(state, tf.constant(True))
    assert [float(skip), *map(float, state.values())] == [0, 8, 0, 1]
    state["value"] = tf.constant(1.0)
    assert float(loss_scale.advance(state, tf.constant(False))[1]) == 0


def test_expressions_that_match_nothing_are_refused():
    with pytest.raises(ValueError, match="frozen='c.*' matches 0 of the 2"):
        optim.unfrozen({"a/b": 1, "b": 2}, "c.*")
    assert optim.multipliers(["a/b", "b"], [("a/.*", 2.0)]) == {
        "a/b": 2.0, "b": 1.0}
    with pytest.raises(ValueError, match="lr_multipliers: 'a'"):
        optim.multipliers(["a/b", "b"], [("a", 2.0)])

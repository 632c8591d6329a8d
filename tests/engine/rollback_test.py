"""Batches that make the loss NaN: leaving them out, exactly resumable."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tests.engine import resume_test
from tfvit import trainer
from tfvit.engine import stopping
from tfvit.engine import train_log


def poisoned(positions, *, start_step=0, **kwargs):
    """The toy's batches; those at `positions` hold NaN."""

    def poison(i, batch):
        bad = tf.reduce_any(i == np.asarray(positions))
        return {**batch, "images": tf.where(bad, np.nan, batch["images"])}

    data = toy.EXPERIMENT.train_data(start_step=start_step, **kwargs)
    return data.enumerate(start_step).map(poison)


def without(first, end, *, start_step=0, **kwargs):
    """The toy's batches but for those from `first` to before `end`."""
    assert start_step == 0
    build = functools.partial(toy.EXPERIMENT.train_data, **kwargs)
    return build().take(first).concatenate(build(start_step=end))


def experiment(data, **changes):
    model = functools.partial(toy.EXPERIMENT.model, depth=1)
    return dataclasses.replace(toy.EXPERIMENT, model=model, train_data=data,
                               on_nan="rollback", **changes)


def assert_like_without(first, end, workdir, result, rollbacks, tmp_path):
    """The run in workdir is that on batches without first to before end."""
    clean = experiment(functools.partial(without, first, end))
    assert trainer.train(clean, tmp_path / "clean") == result
    lines = resume_test.metrics(workdir)
    assert [line.pop("train/rollbacks", 0) for line in lines
            if "train/loss" in line][-1] == rollbacks
    assert lines == resume_test.metrics(tmp_path / "clean")
    assert resume_test.state(workdir, 20) == (
        resume_test.state(tmp_path / "clean", 20))


def test_a_rollback_leaves_out_the_batches_since_the_checkpoint(tmp_path):
    # Step 9 does not go well, step 7 was saved.
    exp = experiment(functools.partial(poisoned, [8]))
    result = trainer.train(exp, tmp_path)
    assert_like_without(7, 9, tmp_path, result, 1, tmp_path)


def test_rollbacks_are_remembered_by_a_run_that_stops(tmp_path):
    # Step 2 does not go well; then, at what is now step 7, neither, and there
    # is still no checkpoint but that of step 0.
    exp = experiment(functools.partial(poisoned, [1, 8]))
    stops = dataclasses.replace(exp,
                                evaluators={"test": resume_test.StopsAt(1)})
    with pytest.raises(stopping.Preempted, match="Saved step 10"):
        trainer.train(stops, tmp_path)
    result = trainer.train(exp, tmp_path)
    assert_like_without(0, 9, tmp_path, result, 2, tmp_path)


def test_rollbacks_end_after_max_rollbacks(tmp_path):
    exp = experiment(functools.partial(poisoned, list(range(8, 99))),
                     max_rollbacks=2)
    with pytest.raises(FloatingPointError,
                       match="loss is nan at step 8 after 2 rollbacks.*step 7"):
        trainer.train(exp, tmp_path)


def test_a_loss_above_its_limit_counts_as_nan(tmp_path):
    exp = dataclasses.replace(toy.EXPERIMENT, max_loss=0.5)
    with pytest.raises(FloatingPointError, match=r"loss is 1\.9\d* at step 1\."):
        trainer.train(exp, tmp_path)
    memory = {}
    window = train_log.Window(memory, max_loss=3.0)
    window.add(0, {"loss": [1.0, 3.0], "grad_norm": [9.0, 9.0]})
    window.settle()
    assert memory["window"]["loss"] == [4.0, 2]
    window.add(2, {"loss": [1.0, 3.1], "grad_norm": [9.0, 9.0]})
    with pytest.raises(train_log.Diverged, match="loss is 3.1 at step 4"):
        window.settle()


@pytest.mark.parametrize("change, message", [
    ({"max_loss": 0}, "max_loss=0 must be a number above 0"),
    ({"on_nan": "retry"}, "on_nan='retry' is neither 'stop' nor 'rollback'"),
    ({"max_rollbacks": 0}, "max_rollbacks=0"),
])
def test_impossible_values_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(toy.EXPERIMENT, **change)

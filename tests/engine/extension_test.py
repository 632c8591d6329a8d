"""Runs that become longer: learning rates by hand, and bit for bit."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import toy
from tests.engine import resume_test
from tfvit import trainer
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.engine import extension
from tfvit.engine import writers
from tfvit.optimize import optim
from tfvit.optimize import schedules


def cosine(step, total, warmup=2, base=0.1):
    """Half a cosine after a linear warm-up, by hand."""
    progress = min(max((step - warmup) / (total - warmup), 0.0), 1.0)
    return (base * 0.5 * (1.0 + math.cos(math.pi * progress)) *
            min(1.0, step / warmup))


def experiment(schedule=schedules.cosine, total_steps=20, extended=(),
               **settings):
    settings = {"warmup_steps": 2, **settings}
    return dataclasses.replace(
        toy.EXPERIMENT, total_steps=total_steps, extended=extended,
        optimizer=functools.partial(
            optim.sgd, lr=0.1, schedule=functools.partial(schedule,
                                                          **settings)))


@pytest.mark.parametrize("extended, total, expected", [
    ([], 10, lambda s: cosine(s, 10)),
    ([(10, 10, "stretch")], 20,
     lambda s: cosine(s, 10) if s < 10 else cosine(s, 20)),
    ([(10, 10, "restart")], 20,
     lambda s: cosine(s, 10) if s < 10 else cosine(s - 10, 10)),
    ([(6, 10, "stretch")], 8,  # A shorter one.
     lambda s: cosine(s, 10) if s < 6 else cosine(s, 8)),
    ([(10, 10, "restart"), (16, 20, "stretch")], 30,
     lambda s: cosine(s, 10) if s < 10 else cosine(s - 10, 10) if s < 16 else
     cosine(s - 10, 20)),
    ([(4, 10, "stretch"), (4, 20, "restart")], 30,  # Twice at one step.
     lambda s: cosine(s, 10) if s < 4 else cosine(s - 4, 26)),
])
def test_learning_rates_by_hand(extended, total, expected):
    exp = experiment(total_steps=total, extended=extended)
    lr = build.build(exp, training=False).optimizer.lr
    np.testing.assert_allclose(
        [lr(tf.constant(step, tf.int64)).numpy() for step in range(total + 1)],
        [expected(step) for step in range(total + 1)], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("schedule, settings, done", [
    (schedules.rsqrt, {}, 20), (schedules.stair, {}, 20),
    (schedules.rsqrt, {"cooldown_steps": 5}, 15),  # Before it cools down.
])
def test_without_an_end_nothing_is_to_be_chosen(schedule, settings, done):
    extension.check(experiment(schedule, 40, [(done, 20, "stretch")],
                               **settings), "exact")


@pytest.mark.parametrize("schedule, settings, done, rates", [
    (schedules.cosine, {}, 20, (0.0, cosine(20, 40))),
    (schedules.cosine, {}, 8, (cosine(8, 20), cosine(8, 40))),
    (schedules.linear, {}, 20, (1e-5, 1e-5 + (0.1 - 1e-5) * 20 / 38)),
    (schedules.rsqrt, {"cooldown_steps": 5, "timescale": 18}, 20,
     (0.0, 0.1 / 2**0.5)),
])
def test_with_an_end_one_sentence_names_the_choices(schedule, settings, done,
                                                    rates):
    exp = experiment(schedule, 40, [(done, 20, "stretch")], **settings)
    with pytest.raises(ValueError) as error:
        extension.check(exp, "exact")
    was, stretched = (f"{rate:.3g}" for rate in rates)
    for part in (f"come to {was} at step {done}", "--extend=stretch",
                 f"({stretched})", "--extend=restart"):
        assert part in str(error.value)
    extension.check(exp, "stretch")


def test_a_restart_needs_the_steps_of_its_warm_up():
    with pytest.raises(ValueError, match="--extend=restart: the 2 steps from "
                       "20 to 22 are too few .*warmup_steps=2"):
        extension.check(experiment(total_steps=22,
                                   extended=[(20, 20, "restart")]), "restart")


def gin(total_steps, *lines):
    return "\n".join([f"experiment.Experiment.total_steps = {total_steps}",
                      *lines])


HISTORY = "experiment.Experiment.extended = [(20, 20, 'restart')]"


@pytest.mark.parametrize("text, saved, done, how, expected", [
    (gin(20), None, None, None, ([], False)),  # A run begins,
    (gin(20), gin(20), 7, None, ([], False)),  # goes on,
    (gin(20), gin(20), 20, "stretch", ([], False)),  # has ended;
    (gin(40), gin(40, HISTORY), 30, None, ([HISTORY], False)),
    (gin(40), gin(40, HISTORY), 30, "restart", ([HISTORY], False)),
    (gin(40, HISTORY), gin(40, HISTORY), 30, None, ([], False)),
    (gin(40), gin(20), 20, "restart", ([HISTORY], True)),
    (gin("%N", "N = 40"), gin("%N", "N = 20"), 20, "exact",
     ([HISTORY.replace("restart", "stretch")], True)),
    (gin(60), gin(40, HISTORY), 30, "stretch",
     ([HISTORY[:-1] + ", (30, 40, 'stretch')]"], True)),
    # Other actions let a run go on that stopped; that restarts no schedule.
    (gin(20, "experiment.Experiment.actions = []"), gin(20), 10, "restart",
     (["experiment.Experiment.extended = [(10, 20, 'stretch')]"], True)),
])
def test_the_config_says_how_a_run_came_to_its_length(text, saved, done, how,
                                                      expected):
    assert extension.bindings(text, saved, done, how) == expected


def test_what_cannot_be_extended_is_said():
    with pytest.raises(ValueError, match="holds no run"):
        extension.bindings(gin(20), None, None, "exact")
    with pytest.raises(ValueError, match="= 10 is less than the 15 steps"):
        extension.bindings(gin(10), gin(20), 15, "stretch")


@pytest.mark.parametrize("extended", [
    [(30, 40, "stretch")], [(5, 20, "later")], [(5, 4, "stretch")],
    [(5, 20)], [(8, 20, "stretch"), (5, 20, "stretch")]])
def test_no_such_history_is_accepted(extended):
    with pytest.raises(ValueError, match="Experiment.extended: .*--extend"):
        experiment(extended=extended)


def test_an_extended_run_is_one_from_scratch_with_its_config(tmp_path):
    """Even one that had stopped early, and in a second extension."""

    def stop():
        return lambda training, memory: training.stop("for a test")

    exp = dataclasses.replace(
        experiment(total_steps=20), checkpoint_every=6, evaluators={},
        writers=[writers.Jsonl], model=lambda: tf_keras.Sequential([
            tf_keras.layers.Flatten(input_shape=[8, 8, 3]),
            tf_keras.layers.Dense(toy.NUM_CLASSES, name="head")]))
    trainer.train(dataclasses.replace(exp, actions=[(6, stop)]),
                  tmp_path / "run")
    assert checkpoint.steps(tmp_path / "run") == [6]
    history = [(6, 20, "restart"), (10, 10, "stretch")]
    trainer.train(dataclasses.replace(exp, total_steps=10,
                                      extended=history[:1]), tmp_path / "run")
    before = (tmp_path / "run/metrics.jsonl").read_text()
    longer = dataclasses.replace(exp, total_steps=14, extended=history)
    trainer.train(longer, tmp_path / "run")
    assert (tmp_path / "run/metrics.jsonl").read_text().startswith(before)
    assert checkpoint.steps(tmp_path / "run") == [10, 12, 14]
    trainer.train(longer, tmp_path / "scratch")
    assert resume_test.state(tmp_path / "run", 14) == resume_test.state(
        tmp_path / "scratch", 14)
    with pytest.raises(ValueError, match="step 14 already.*total_steps=12"):
        trainer.train(dataclasses.replace(exp, total_steps=12),
                      tmp_path / "run")

"""Two real workers that are killed, stopped, and continued."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from tests import workers
from tests.engine import kill_test
from tests.engine import resume_test
from tfvit.engine import checkpoint

STEPS = 16
TRAIN = [
    *kill_test.TRAIN[1:],
    "--gin_bindings=experiment.Experiment.strategy = @strategies.multi_worker",
    f"--gin_bindings=experiment.Experiment.total_steps = {STEPS}",
    "--gin_bindings=vit.vit.depth = 1"
]
MOMENTS = random.Random(os.environ.get("TFVIT_KILL_SEED", "1"))


def start(*workdirs):
    """Starts a worker in each directory."""
    addresses = workers.addresses(len(workdirs))
    return [
        workers.Worker([*TRAIN, f"--workdir={workdir}"], addresses, i)
        for i, workdir in enumerate(workdirs)
    ]


def interrupt(workdir, number, victim):
    """Sends a signal to one of two workers, after some more checkpoints.

    Returns:
      [(exit code, log)] of both.
    """
    both = start(workdir, workdir)
    for _ in range(MOMENTS.randint(1, 4)):
        both[0].read_until("Saved the checkpoint of step")
    both[victim].process.send_signal(number)
    since = time.monotonic()
    ends = workers.end_all(both)
    assert time.monotonic() - since < 60
    return ends


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    for code, log in workers.end_all(start(workdir, workdir)):
        assert code == 0, log
    return workdir


def assert_finishes_the_same(workdir, uninterrupted):
    for code, log in workers.end_all(start(workdir, workdir)):
        assert code == 0, log
    assert resume_test.state(workdir, STEPS) == resume_test.state(
        uninterrupted, STEPS)
    assert resume_test.metrics(workdir) == resume_test.metrics(uninterrupted)


@pytest.mark.slow
def test_sigkill_to_one_ends_the_other_which_names_it(uninterrupted, tmp_path):
    for victim in (1, 0):
        ends = interrupt(tmp_path, signal.SIGKILL, victim)
        assert ends[victim][0] == -signal.SIGKILL, ends[victim][1]
        code, log = ends[1 - victim]
        assert code == 1, log
        assert f"Lost worker {victim}. Start all workers again" in log
    assert_finishes_the_same(tmp_path, uninterrupted)


@pytest.mark.slow
def test_sigterm_to_one_saves_the_same_step_of_both(uninterrupted, tmp_path):
    ends = interrupt(tmp_path, signal.SIGTERM, 1)
    assert [code for code, _ in ends] == [42, 42], ends
    step = checkpoint.steps(tmp_path)[-1]
    assert f"Stopped by another worker. Saved step {step};" in ends[0][1]
    assert f"Stopped by SIGTERM. Saved step {step};" in ends[1][1]
    assert_finishes_the_same(tmp_path, uninterrupted)


@pytest.mark.slow
def test_workers_that_do_not_share_a_directory_are_refused(uninterrupted,
                                                           tmp_path):
    for code, log in workers.end_all(start(uninterrupted, tmp_path)):
        assert code == 1, log
        assert "each must see the same directory" in log


@pytest.mark.slow
def test_a_worker_that_never_comes_is_named(tmp_path):
    addresses = workers.addresses(2)
    code, log = workers.Worker([
        *TRAIN, f"--workdir={tmp_path}",
        "--gin_bindings=strategies.multi_worker.timeout = 1"
    ], addresses, 1).end()
    assert code == 1, log
    assert (f"After 1 s (strategies.multi_worker.timeout) these workers of "
            f"TF_CONFIG do not answer: worker 0 ({addresses[0]}).") in log


@pytest.mark.slow
def test_signals_and_restarts_again_and_again_leave_no_worker_behind(tmp_path):
    """At once and at the same ports, where a new worker might meet an old one.

    TFVIT_ROUNDS=20 has as many of them.
    """
    addresses = workers.addresses(2)
    train = [*TRAIN, "--gin_bindings=experiment.Experiment.total_steps = 9999",
             f"--workdir={tmp_path}"]
    saved = 0
    for _ in range(int(os.environ.get("TFVIT_ROUNDS", "2"))):
        both = [workers.Worker(train, addresses, i) for i in range(2)]
        for _ in range(MOMENTS.randint(1, 4)):
            both[0].read_until("Saved the checkpoint of step")
        for victim in MOMENTS.choice([(0,), (1,), (0, 1)]):
            both[victim].process.send_signal(signal.SIGTERM)
        ends = workers.end_all(both)
        assert [code for code, _ in ends] == [42, 42], ends
        before, saved = saved, checkpoint.steps(tmp_path)[-1]
        assert saved > before
        assert f"Saved step {saved};" in ends[0][1]


TALK = """
import dataclasses
from absl import logging
from tests import toy
from tests import workers
from tfvit import launch
from tfvit.distribute import strategies
from tfvit.engine import build

def main(words):
    run = build.build(dataclasses.replace(toy.EXPERIMENT,
                                          strategy=strategies.multi_worker))
    iterator = run.batches()
    graph = run.train_step.trace(iterator).graph
    told = [int(run.train_step(iterator, 1, stop=flag)["stop"][0])
            for flag in (False, len(words) > 0, False)]
    logging.info("Talk: %s %s", workers.collectives(graph), told)
    strategies.any_worker(run.strategy)(False)

launch.run_words(main)
"""


@pytest.mark.slow
def test_workers_talk_once_a_step_and_all_hear_who_is_asked_to_stop():
    addresses = workers.addresses(2)
    ends = workers.end_all([
        workers.Worker(["-c", TALK, *["stop"] * i], addresses, i)
        for i in range(2)])
    for code, log in ends:
        assert code == 0, log
        assert "Talk: {'CollectiveReduceV2': 1} [0, 1, 0]" in log


def copy(workdir, there):
    """A run's checkpoints and metrics, without its config."""
    shutil.copytree(workdir / "checkpoints", there / "checkpoints")
    shutil.copy(workdir / "metrics.jsonl", there)
    return there


@pytest.mark.slow
def test_one_device_and_several_workers_read_each_others_checkpoints(
        tmp_path, monkeypatch):
    more = ["--gin_bindings=optim.adamw.first_moment = 'bfloat16'",
            "--gin_bindings=experiment.Experiment.shard_optimizer = True"]
    name = "slots/first/head.Skernel/.ATTRIBUTES/VARIABLE_VALUE"

    def steps(count):
        monkeypatch.setattr(sys.modules[__name__], "TRAIN", [
            *arguments, *more,
            f"--gin_bindings=experiment.Experiment.total_steps = {count}"])

    def assert_done(ends, workdir, start, end):
        for code, log in ends:
            assert code == 0, log
            assert (f"from step {start}." in log) == bool(start)
        assert checkpoint.steps(workdir)[-1] == end
        assert tf.train.load_checkpoint(
            f"{workdir}/checkpoints/ckpt-{end}").get_variable_to_dtype_map()[
                name] == tf.bfloat16

    arguments = TRAIN
    steps(8)
    first = tmp_path / "together"
    assert_done(workers.end_all(start(first, first)), first, 0, 8)
    steps(10)
    alone = copy(first, tmp_path / "alone")
    done = subprocess.run(
        [sys.executable, *TRAIN, f"--workdir={alone}", "--gin_bindings="
         "experiment.Experiment.strategy = @strategies.one_device"],
        cwd=kill_test.ROOT, capture_output=True, text=True, check=False)
    assert_done([(done.returncode, done.stderr)], alone, 8, 10)
    steps(12)
    again = copy(alone, tmp_path / "again")
    assert_done(workers.end_all(start(again, again)), again, 10, 12)


BROKEN = """
import dataclasses, sys
from tests import toy
from tests.evaluators import corrupt_test
from tfvit import launch, trainer
from tfvit.distribute import strategies
exp = dataclasses.replace(
    toy.EXPERIMENT, strategy=strategies.multi_worker,
    train_source=lambda: corrupt_test.source(bad=29, count=32))
launch.run_words(lambda words: trainer.train(exp, words[0]))
"""


@pytest.mark.slow
def test_each_worker_names_its_own_file_that_is_broken(tmp_path):
    addresses = workers.addresses(2)
    ends = workers.end_all([
        workers.Worker(["-c", BROKEN, tmp_path / "run"], addresses, i)
        for i in range(2)])
    assert [code for code, _ in ends] == [1, 1], ends
    said = [text for _, text in ends]
    (culprit,) = [i for i, text in enumerate(said)
                  if "Cannot decode file29.png" in text]
    assert f"Lost worker {culprit}" in said[1 - culprit]

"""Real processes that are killed, and continued by the same command."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.engine import resume_test
from tfvit import config
from tfvit.engine import checkpoint

ROOT = pathlib.Path(config.ROOT)
STEPS = 60
TRAIN = [
    sys.executable, "-m", "tfvit.train", "--gin_file=gin/digits.gin",
    *(f"--gin_bindings={binding}" for binding in (
        f"experiment.Experiment.total_steps = {STEPS}",
        "experiment.Experiment.batch_size = 16",
        "experiment.Experiment.log_every = 2",
        "experiment.Experiment.eval_every = 10",
        "experiment.Experiment.checkpoint_every = 1",
        "experiment.Experiment.steps_per_call = 2",
        "schedules.cosine.warmup_steps = 5",
        "vit.vit.width = 16",
        "vit.vit.dropout_rate = 0.2"))
]


class Run:
    """One process of the training command."""

    def __init__(self, workdir):
        self.workdir = workdir
        self.process = subprocess.Popen(
            [*TRAIN, f"--workdir={workdir}"], cwd=ROOT,
            stderr=subprocess.PIPE, text=True)

    def wait_for(self, condition):
        """Watches the disk until condition() holds or the process ends."""
        while not condition():
            try:  # A save lasts a few milliseconds.
                self.process.wait(0.001)
                return
            except subprocess.TimeoutExpired:
                continue

    def steps(self):
        return {p.stem for p in self.workdir.glob("checkpoints/ckpt-*.index")}

    def saving(self):
        """Whether files of an unfinished checkpoint are on disk."""
        return any("temp" in p.name
                   for p in self.workdir.glob("checkpoints/ckpt-*"))

    def end(self, number=None):
        """Sends a signal, if any; returns (exit code, what was logged)."""
        if number:
            self.process.send_signal(number)
        _, log = self.process.communicate()
        return self.process.returncode, log


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    code, log = Run(workdir).end()
    assert code == 0, log
    return workdir


def assert_same(workdir, uninterrupted):
    assert resume_test.state(workdir, STEPS) == resume_test.state(
        uninterrupted, STEPS)
    (best,) = checkpoint.steps(workdir, best=True)
    assert [best] == checkpoint.steps(uninterrupted, best=True)
    assert resume_test.state(workdir, best, "best/") == resume_test.state(
        uninterrupted, best, "best/")
    assert resume_test.metrics(workdir) == resume_test.metrics(uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_within_a_call_and_exits_42(number, uninterrupted,
                                                   tmp_path):
    run = Run(tmp_path)
    run.wait_for(lambda: len(run.steps()) > 1)
    code, log = run.end(number)
    assert code == 42, log
    assert f"Stopped by {number.name}. Saved step" in log
    assert "Traceback" not in log
    newest = max(int(s.split("-")[1]) for s in run.steps())
    lines = resume_test.metrics(tmp_path)
    assert newest - lines[-1]["step"] <= 2, "more than a step call"
    code, log = Run(tmp_path).end()
    assert code == 0, log
    assert f"from step {newest}" in log
    assert_same(tmp_path, uninterrupted)


@pytest.mark.slow
def test_sigkill_at_any_moment_loses_nothing(uninterrupted, tmp_path):
    moments = random.Random(os.environ.get("TFVIT_KILL_SEED", "1"))
    while_saving = 0
    for kill in range(3):
        run = Run(tmp_path)
        before = run.steps()
        run.wait_for(lambda: run.steps() - before)
        if kill % 2:
            run.wait_for(run.saving)
        else:
            end = time.monotonic() + moments.uniform(0, 2)
            run.wait_for(lambda: time.monotonic() > end)
        while_saving += run.saving()
        code, log = run.end(signal.SIGKILL)
        assert code == -signal.SIGKILL, log
    assert while_saving
    code, log = Run(tmp_path).end()
    assert code == 0, log
    assert_same(tmp_path, uninterrupted)
    assert not list(tmp_path.glob("checkpoints/*temp*"))
    result = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert result["step"] == STEPS and result["test/examples"] > 300

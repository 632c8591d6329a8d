"""One process for a workdir; no leftover of any process stops the next."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from tests import toy
from tfvit import config
from tfvit import trainer
from tfvit.distribute import cluster
from tfvit.engine import lock

HOLD = """
import sys
from tfvit.engine import lock
lock.take(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", -1.0)


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock of `run`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"],
                               cwd=config.ROOT, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_until_the_first_is_gone(other, tmp_path):
    with pytest.raises(OSError) as error:
        trainer.train(toy.EXPERIMENT, tmp_path / "run")
    said = str(error.value)
    assert f"process {other.pid} on {socket.gethostname()} since 20" in said
    assert "choose another --workdir" in said
    assert os.listdir(tmp_path / "run") == [".lock"]
    lock.take(tmp_path / "another")
    other.send_signal(signal.SIGKILL)
    other.wait()
    with lock.held(tmp_path / "run"):
        owner = json.loads((tmp_path / "run" / ".lock").read_text())
        assert owner["pid"] == os.getpid()


def test_the_command_line_refuses_before_it_changes_the_config(other, tmp_path):
    (tmp_path / "run" / "config.gin").write_text("of the first\n")
    done = subprocess.run(
        [sys.executable, "-m", "tfvit.train", "--gin_file=gin/digits.gin",
         f"--workdir={tmp_path}/run"], cwd=config.ROOT, capture_output=True,
        text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"is being trained by process {other.pid}" in done.stderr
    assert (tmp_path / "run" / "config.gin").read_text() == "of the first\n"


def test_a_process_may_train_again_and_leaves_no_lock_behind(tmp_path):
    for _ in range(2):
        with lock.held(tmp_path):
            with lock.held(tmp_path / "." / ""):
                assert not lock.take(tmp_path)
            with open(tmp_path / ".lock", encoding="ascii") as f:
                with pytest.raises(BlockingIOError):
                    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(tmp_path / ".lock", encoding="ascii") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (tmp_path / ".lock").write_text("what a crash left")
    with lock.held(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_explained(tmp_path, monkeypatch, caplog,
                                                  number):

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.held(tmp_path):
        assert f"is not locked (its file system has no locks: [Errno {number}" \
            in caplog.text


def test_a_workdir_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run", pathlib.Path("/proc/run")):
        with pytest.raises(OSError, match="Cannot write .*--workdir"):
            lock.take(place)


@pytest.mark.parametrize("first, task, jobs", [
    (True, ("worker", 0), ["worker"]), (False, ("worker", 1), ["worker"]),
    (True, ("chief", 0), ["chief", "worker"]),
    (False, ("worker", 0), ["chief", "worker"]),
])
def test_the_first_worker_is_the_one_that_locks(first, task, jobs):
    text = json.dumps({"cluster": {job: ["a:1", "b:1"] for job in jobs},
                       "task": {"type": task[0], "index": task[1]}})
    assert cluster.is_first(text) == first
    assert cluster.is_first(None) and cluster.is_first("rubbish")


@pytest.mark.parametrize("error, expected", [
    (None, ("finished", "")),
    (FloatingPointError("loss is nan"), ("FloatingPointError", "loss is nan")),
    (KeyboardInterrupt(), ("KeyboardInterrupt", "")),
])
def test_the_file_says_how_it_ended(error, expected, tmp_path):
    with contextlib.suppress(FloatingPointError, KeyboardInterrupt):
        with lock.held(tmp_path):
            assert "ended" not in json.loads((tmp_path / ".lock").read_text())
            if error:
                raise error
    noted = json.loads((tmp_path / ".lock").read_text())
    assert (noted["ended"], noted["why"]) == expected
    assert noted["pid"] == os.getpid()
    with contextlib.suppress(ValueError), lock.held(tmp_path):
        raise ValueError("This run's config differs.")
    kept = json.loads((tmp_path / ".lock").read_text())
    assert (kept["ended"], kept["why"]) == expected
    with contextlib.suppress(ValueError), lock.held(tmp_path):
        lock.begin(tmp_path)  # Of the run that goes on, nothing is known yet.
        assert "ended" not in json.loads((tmp_path / ".lock").read_text())
        raise ValueError("late")
    kept = json.loads((tmp_path / ".lock").read_text())
    assert (kept["ended"], kept["why"]) == ("ValueError", "late")

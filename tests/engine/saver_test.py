"""The best checkpoint beside a regular one: one copy, one file, no waiting."""

import os
import shutil
import threading
import types

import pytest
import tensorflow as tf

from tfvit.engine import checkpoint
from tfvit.engine import checkpoint_file
from tfvit.engine import saver


@pytest.fixture(name="state")
def fixture_state():
    return types.SimpleNamespace(
        step=tf.Variable(3, dtype=tf.int64), params={"a": tf.Variable([1.0])},
        slots={"m": {"a": tf.Variable([2.0])}},
        slot_dtypes={"m": {"a": tf.float32}}, ema={}, scale={}, statistics={})


def _move(state, step):
    state.step.assign(step)
    state.params["a"].assign([float(step)])


def _files(workdir, best):
    folder = workdir / "checkpoints" / ("best" if best else "")
    return {path.name: path for path in folder.glob("ckpt-*")}


def test_both_are_copied_once_and_written_once(state, tmp_path, monkeypatch):
    copies, writes, may_write = [], [], threading.Event()
    copy, write = saver.Saver._take_copy, tf.train.Checkpoint.write

    def writing(self, prefix):
        assert may_write.wait(60)
        writes.append(prefix)
        return write(self, prefix)

    monkeypatch.setattr(saver.Saver, "_take_copy", lambda self, memory: (
        copies.append(1), copy(self, memory)))
    monkeypatch.setattr(tf.train.Checkpoint, "write", writing)
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=1)
    checkpoints.save_best()
    checkpoints.save()
    checkpoints.finish()
    _move(state, 4)  # Training goes on before anything is on disk.
    assert not writes and len(copies) == 1
    may_write.set()
    checkpoints.wait()
    assert len(copies) == len(writes) == 1
    best, regular = _files(tmp_path, True), _files(tmp_path, False)
    assert set(best) == set(regular) == {"ckpt-3.index",
                                         "ckpt-3.data-00000-of-00001"}
    for name in best:  # The index, a few kB, is a copy.
        assert os.path.samefile(best[name], regular[name]) == (
            not name.endswith(".index"))
    for which in "last", "best":
        assert checkpoint.restore_for_inference(
            tmp_path, state.params, which) == 3
        assert state.params["a"].numpy() == [1.0]
    # One name goes, the other stays.
    _move(state, 5)
    checkpoints.save()
    checkpoints.wait()
    assert checkpoint.steps(tmp_path) == [5]
    assert checkpoint.restore_for_inference(tmp_path, state.params, "best") == 3


def test_the_best_stays_as_it_is_when_its_step_is_saved_again(state, tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=1)
    checkpoints.save_best()
    checkpoints.save()
    checkpoints.wait()
    before = {name: path.read_bytes()
              for name, path in _files(tmp_path, True).items()}
    # As by a run that begins before it, or follows another's in its folder.
    state.params["a"].assign([9.0])
    checkpoints.memory.data["more"] = "of it, in another length"
    checkpoints.save()
    checkpoints.wait()
    assert before == {name: path.read_bytes()
                      for name, path in _files(tmp_path, True).items()}
    for which, value in ("best", 1.0), ("last", 9.0):
        assert checkpoint.restore_for_inference(
            tmp_path, state.params, which) == 3
        assert state.params["a"].numpy() == [value]


def test_without_links_the_second_is_written_too(state, tmp_path, monkeypatch):

    def refused(*unused_arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=1)
    checkpoints.save_best()
    checkpoints.save()
    checkpoints.wait()
    best, regular = _files(tmp_path, True), _files(tmp_path, False)
    for name in {**best, **regular}:
        assert best[name].read_bytes() == regular[name].read_bytes()
        assert not os.path.samefile(best[name], regular[name])


class Killed(BaseException):
    """What a process that is killed does next: nothing."""


def _kill_at(moment, monkeypatch):
    """Lets so many changes of files pass, and no more; says what came."""
    left = [moment]

    def mortal(real):

        def call(*arguments):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*arguments)

        return call

    monkeypatch.setattr(tf.train.Checkpoint, "write",
                        mortal(tf.train.Checkpoint.write))
    monkeypatch.setattr(tf.io.gfile, "remove", mortal(tf.io.gfile.remove))
    for name in "link", "replace", "remove":
        monkeypatch.setattr(os, name, mortal(getattr(os, name)))
    monkeypatch.setattr(shutil, "copyfile", mortal(shutil.copyfile))
    return left


def test_a_kill_at_any_moment_loses_neither(state, tmp_path, monkeypatch):
    """Of the run's newest checkpoint and the best one that it remembers."""
    moment, ended = 0, False
    while not ended:
        workdir = tmp_path / str(moment)
        checkpoints = checkpoint.Checkpoints(workdir, state, keep=1)
        for step in (3, 6):
            _move(state, step)
            checkpoints.memory.data["best"] = step
            checkpoints.save_best()
            checkpoints.save()
            with monkeypatch.context() as patch:
                left = _kill_at(moment if step == 6 else 10**6, patch)
                try:
                    checkpoints.wait()
                    ended = step == 6
                except Killed:
                    assert left[0] == -1
        # The process that comes next.
        _move(state, 0)
        again = checkpoint.Checkpoints(workdir, state, keep=1)
        assert again.restore()
        step = again.saved
        assert step in (3, 6) and state.params["a"].numpy() == [step]
        assert again.memory.data["best"] == step
        bests = checkpoint.steps(workdir, best=True)
        # The best may be ahead; the same steps will bring it again.
        assert max(bests) >= step
        for best in bests:
            assert checkpoint_file.is_sound(
                str(workdir / f"checkpoints/best/ckpt-{best}"))
        assert not list(workdir.rglob("*temp*"))
        moment += 1
    # Write, a link, a copy, 2 replaced; the old ones: 2 and 2 files.
    assert moment > 8 and step == 6

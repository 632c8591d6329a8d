"""Saving while training goes on."""

import threading
import types

import numpy as np
import pytest
import tensorflow as tf

from tfvit.engine import checkpoint


@pytest.fixture
def state():
    return types.SimpleNamespace(
        step=tf.Variable(3, dtype=tf.int64), params={"a/b": tf.Variable([1.0])},
        slots={"momentum": {"a/b": tf.Variable([2.0], dtype=tf.bfloat16)}},
        slot_dtypes={"momentum": {"a/b": tf.bfloat16}}, ema={}, scale={},
        statistics={})


def test_a_save_holds_the_values_of_its_moment(state, tmp_path, monkeypatch):
    may_write = threading.Event()
    write = tf.train.Checkpoint.write

    def slowly(self, path):
        assert may_write.wait(60)
        return write(self, path)

    monkeypatch.setattr(tf.train.Checkpoint, "write", slowly)
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=3)
    checkpoints.memory.data["logged"] = 3
    checkpoints.save()
    # Nothing is written yet, and the state moves on.
    assert checkpoint.steps(tmp_path) == []
    state.step.assign(4)
    state.params["a/b"].assign_add([10.0])
    state.slots["momentum"]["a/b"].assign([20.0])
    checkpoints.memory.data["logged"] = 4
    may_write.set()
    checkpoints.save()  # The copy is used again.
    checkpoints.wait()
    assert checkpoint.steps(tmp_path) == [3, 4]
    for step, values in ((4, [11.0, 20.0]), (3, [1.0, 2.0])):
        assert checkpoints.restore() and checkpoints.saved == step
        assert checkpoints.memory.data == {"logged": step}
        assert [float(v[0]) for v in (state.params["a/b"],
                                      state.slots["momentum"]["a/b"])] == values
        (tmp_path / f"checkpoints/ckpt-{step}.index").unlink()


@pytest.mark.parametrize("name", ["seed[12]", "seed?", "s*", "seed[!2]"])
def test_a_run_keeps_to_its_folder_whatever_that_is_called(
        state, tmp_path, name):
    # Read as a pattern, each name means the other folder, too.
    for folder, steps in (("seed1", (1, 2, 3)), (name, (1, 2, 3, 4))):
        checkpoints = checkpoint.Checkpoints(tmp_path / folder, state, keep=2)
        (tmp_path / folder / "checkpoints" / "ckpt-9_temp").mkdir(parents=True)
        for step in steps:
            state.step.assign(step)
            state.params["a/b"].assign([10.0 * step])
            checkpoints.save_best()
            checkpoints.save()
        checkpoints.wait()
    assert checkpoint.steps(tmp_path / name) == [3, 4]
    assert checkpoint.steps(tmp_path / name, best=True) == [4]
    assert checkpoint.steps(tmp_path / "seed1") == [2, 3]
    assert checkpoint.steps(tmp_path / "seed1", best=True) == [3]
    state.params["a/b"].assign([0.0])
    assert checkpoint.Checkpoints(tmp_path / name, state, keep=2).restore()
    assert state.params["a/b"].numpy() == [40.0]
    left = [folder / "checkpoints/ckpt-9_temp"
            for folder in (tmp_path / name, tmp_path / "seed1")]
    assert [folder.exists() for folder in left] == [False, True]
    params = {"a/b": tf.Variable([0.0])}
    for which, step in (("last", 4), ("best", 4), (3, 3)):
        assert checkpoint.restore_for_inference(
            tmp_path / name, params, which) == step
        assert params["a/b"].numpy() == [10.0 * step]


HELD = np.float32([1.0078125, -3.140625, 2.0**-20])  # bfloat16 has them all.


@pytest.mark.parametrize("wrote, stored, reads", [
    # (what the devices had, what is on disk, what other devices have)
    (tf.float32, tf.bfloat16, tf.bfloat16),  # Several workers, then one.
    (tf.bfloat16, tf.bfloat16, tf.float32),
    (tf.float32, tf.bfloat16, tf.float32),
    (tf.float32, tf.float32, tf.bfloat16),  # As several workers once wrote it.
    (tf.float32, tf.float32, tf.float32),
])
def test_slots_are_read_by_devices_of_another_dtype(state, tmp_path, wrote,
                                                    stored, reads):

    def slots(dtype, values):
        return {"momentum": {"a.b/c": tf.Variable(values, dtype=dtype)}}

    state.slots = slots(wrote, HELD)
    state.slot_dtypes = {"momentum": {"a.b/c": stored}}
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=3)
    for step in (3, 4):
        state.step.assign(step)
        checkpoints.save()
    checkpoints.wait()
    (key,) = [(name, dtype) for name, dtype in tf.train.load_checkpoint(
        str(tmp_path / "checkpoints/ckpt-4")).get_variable_to_dtype_map(
        ).items() if name.startswith("slots")]
    assert key == ("slots/momentum/a..b.Sc/.ATTRIBUTES/VARIABLE_VALUE", stored)
    state.slots = slots(reads, [0.0, 0.0, 0.0])
    assert checkpoint.Checkpoints(tmp_path, state, keep=3).restore()
    variable = state.slots["momentum"]["a.b/c"]
    assert variable.dtype == reads
    np.testing.assert_array_equal(tf.cast(variable, tf.float32), HELD)


def test_another_shape_is_another_model_and_no_damage(state, tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=3)
    checkpoints.save()
    checkpoints.wait()
    for params, said in [
            ({"a/b": tf.Variable([1.0, 2.0])},
             r"another model: params/a/b is \(1,\) there and \(2,\) here"),
            ({"a/c": tf.Variable([1.0])},
             "another model: it has no params/a/c")]:
        state.params = params
        with pytest.raises(ValueError, match=said):
            checkpoint.Checkpoints(tmp_path, state, keep=3).restore()
        with pytest.raises(ValueError, match=said):
            checkpoint.restore_for_inference(tmp_path, params)


def test_what_a_crash_left_is_removed_everywhere_but_by_who_writes(state,
                                                                   tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=3)
    checkpoints.save()
    checkpoints.save_best()
    checkpoints.wait()
    torn = []
    for folder in (tmp_path / "checkpoints", tmp_path / "checkpoints/best"):
        (folder / "ckpt-9_temp").mkdir()
        (folder / "ckpt-9_temp" / "part-00000-of-00001.index").write_text("")
        (folder / "ckpt-8.data-00000-of-00001").write_text("")
        torn += [folder / "ckpt-9_temp", folder / "ckpt-8.data-00000-of-00001"]
        (folder / "notes.txt").write_text("mine")
    checkpoint.Checkpoints(tmp_path, state, keep=3, writes=False).restore()
    assert all(path.exists() for path in torn)
    assert checkpoint.Checkpoints(tmp_path, state, keep=3).restore()
    assert not any(path.exists() for path in torn)
    assert checkpoint.steps(tmp_path) == checkpoint.steps(
        tmp_path, best=True) == [3]
    assert (tmp_path / "checkpoints/best/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("best, again", [(3, True), (2, False)])
def test_a_damaged_best_checkpoint_is_written_again_or_forgotten(
        best, again, state, tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=3)
    checkpoints.memory.data["actions"] = {"keep_best": {"value": 1, "step": 9}}
    state.step.assign(best)
    checkpoints.save_best()
    checkpoints.wait()
    state.step.assign(3)
    checkpoints.save()
    checkpoints.wait()
    (data,) = tmp_path.glob("checkpoints/best/*.data-*")
    data.write_bytes(data.read_bytes()[:5])
    with pytest.raises(ValueError, match=f"{tmp_path}/checkpoints/best can.*"
                       "steps \\[3\\]"):
        checkpoint.restore_for_inference(tmp_path, state.params, "best")
    assert checkpoints.restore()
    checkpoints.wait()
    assert checkpoint.steps(tmp_path, best=True) == ([3] if again else [])
    assert ("keep_best" in checkpoints.memory.data["actions"]) is again


def test_a_save_that_fails_is_reported(state, tmp_path):
    (tmp_path / "checkpoints").write_text("a file in the way")
    checkpoints = checkpoint.Checkpoints(tmp_path, state, keep=3)
    checkpoints.save()
    with pytest.raises(OSError, match="Cannot write the checkpoint .*ckpt-3"):
        checkpoints.wait()
    checkpoints.wait()  # Once.

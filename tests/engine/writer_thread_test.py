"""Reports are written by a thread: in order, together, and never in silence."""

import dataclasses
import threading

import pytest
import tensorflow as tf

from tests.engine import actions_test
from tests.engine import resume_test
from tfvit import trainer
from tfvit.engine import writer_thread
from tfvit.engine import writers


class Held:
    """A writer whose disk answers when it is let go."""

    def __init__(self):
        self.go, self.calls = threading.Event(), []

    def scalars(self, step, values):
        self.go.wait(60)
        self.calls.append((step, values["a"]))

    def flush(self):
        self.calls.append("flush")

    def position(self):
        return len(self.calls)

    def close(self):
        self.calls.append("close")


def test_nobody_waits_and_what_is_pending_goes_out_together():
    disk = Held()
    writer = writer_thread.Writers({"disk": disk})
    for step in range(5):
        writer.scalars(step, {"a": step})
    assert not disk.calls  # And yet all five were taken.
    disk.go.set()
    assert writer.positions()["disk"] >= 6
    assert [call for call in disk.calls if call != "flush"] == [
        (step, step) for step in range(5)]
    assert 1 <= disk.calls.count("flush") <= 2
    writer.close()
    assert disk.calls[-1] == "close"


def test_what_is_reported_is_what_it_was(tmp_path):
    values, disk = {"a": 1}, Held()
    writer = writer_thread.Writers({"disk": disk})
    writer.scalars(1, values)
    values["a"] = 2
    disk.go.set()
    writer.close()
    assert disk.calls[0] == (1, 1)


def test_a_bucket_is_written_as_seldom_as_it_may(tmp_path):
    assert writer_thread.pause("gs://bucket/run") > 10
    assert writer_thread.pause(tmp_path) == 0
    disk = Held()
    disk.go.set()
    writer = writer_thread.Writers({"disk": disk}, pause=600)
    for step in range(20):
        writer.scalars(step, {"a": step})
    writer.positions()  # Does not wait ten minutes.
    assert disk.calls == [*((step, step) for step in range(20)), "flush"]
    writer.close()


@pytest.fixture(name="full")
def fixture_full(monkeypatch):
    """A disk that is full once set, for whoever appends to a file."""
    is_full, real = threading.Event(), tf.io.gfile.GFile.write

    def write(self, content):
        if is_full.is_set() and "metrics.jsonl" in self.name:
            raise tf.errors.ResourceExhaustedError(
                None, None, f"{self.name}; No space left on device")
        return real(self, content)

    monkeypatch.setattr(tf.io.gfile.GFile, "write", write)
    return is_full


def test_a_full_disk_is_said_by_whatever_comes_next(tmp_path, full):
    for then in ("scalars", "positions", "rewind", "close"):
        writer = writer_thread.Writers({"j": writers.Jsonl(tmp_path)})
        writer.rewind({}, 0)
        full.set()
        writer.scalars(1, {"a": 1.0})
        writer._thread.submit(lambda: None).result()
        with pytest.raises(OSError, match="Cannot write .*metrics.jsonl: No "
                           "space left on device. With that mended"):
            getattr(writer, then)(*{"scalars": (2, {"a": 1.0}), "rewind": (
                {}, 0)}.get(then, ()))
        full.clear()


EXPERIMENT = dataclasses.replace(actions_test.EXPERIMENT, evaluators={},
                                 writers=[writers.Jsonl])


def test_a_run_on_a_full_disk_ends_with_the_sentence_and_goes_on(tmp_path,
                                                                 full):
    exp = dataclasses.replace(EXPERIMENT, actions=[
        (11, lambda: lambda training, memory: full.set())])
    with pytest.raises(OSError, match="Cannot write .*metrics.jsonl: No space"):
        trainer.train(exp, tmp_path)
    full.clear()
    trainer.train(EXPERIMENT, tmp_path)
    assert [line["step"] for line in resume_test.metrics(tmp_path)
            if "train/loss" in line] == list(range(1, 21))


def test_a_run_that_crashes_leaves_its_last_lines(tmp_path):

    def fails(training, memory):
        raise RuntimeError("of one's own")

    exp = dataclasses.replace(EXPERIMENT, actions=[(9, lambda: fails)])
    with pytest.raises(RuntimeError, match="of one's own"):
        trainer.train(exp, tmp_path)
    assert resume_test.metrics(tmp_path)[-1]["step"] == 9

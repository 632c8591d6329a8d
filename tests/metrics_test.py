"""metrics.jsonl, TensorBoard, the clock and the progress line."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfvit import metrics


def _events(workdir):
    """{tag: [steps]} of all TensorBoard summaries in a directory."""
    tags = {}
    for path in pathlib.Path(workdir).glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                tags.setdefault(value.tag, []).append(event.step)
    return tags


def test_scalars_go_to_both_files(tmp_path):
    writer = metrics.Writer(tmp_path)
    writer.scalars(3, {"train/loss": 0.5})
    writer.scalars(6, {"train/loss": 0.25, "test/accuracy": 1.0})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 3, "train/loss": 0.5},
        {"step": 6, "train/loss": 0.25, "test/accuracy": 1.0},
    ]
    assert _events(tmp_path) == {"train/loss": [3, 6], "test/accuracy": [6]}


def test_images_go_to_tensorboard_in_their_colours(tmp_path):
    writer = metrics.Writer(tmp_path)
    images = np.stack([np.full([4, 4, 3], v, np.float32) for v in (-1, 0, 1)])
    writer.images(7, "train/batch", images)
    (path,) = tmp_path.glob("events.*")
    (value,) = [
        v for e in tf.compat.v1.train.summary_iterator(str(path))
        for v in e.summary.value if v.tag == "train/batch"]
    # The first two strings are the size, the others are PNG files.
    pixels = [tf.io.decode_png(s).numpy()[0, 0, 0]
              for s in value.tensor.string_val[2:]]
    assert pixels == [0, 127, 255]


def test_rewinding_drops_what_a_killed_run_wrote_after_its_checkpoint(tmp_path):
    writer = metrics.Writer(tmp_path)
    writer.scalars(1, {"a": 1})
    size = writer.size
    writer.scalars(2, {"a": 2})
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as f:
        f.write('{"step": 3, "a"')  # Killed while writing.
    writer = metrics.Writer(tmp_path)
    writer.rewind(size)
    writer.scalars(2, {"a": 5})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["a"] for line in lines] == [1, 5]


def test_a_kill_while_rewinding_loses_no_line(tmp_path, monkeypatch):
    writer = metrics.Writer(tmp_path)
    writer.scalars(1, {"a": 1})

    def killed(*unused_args, **unused_kwargs):
        raise KeyboardInterrupt

    for method in "write", "close":
        with monkeypatch.context() as patch:
            patch.setattr(tf.io.gfile.GFile, method, killed)
            with pytest.raises(KeyboardInterrupt):
                metrics.Writer(tmp_path).rewind(writer.size)
        assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "a": 1}\n'
    writer.rewind(0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_throughput_leaves_out_the_first_call_and_pauses(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])

    def tick(seconds, examples):
        now[0] += seconds
        clock.count(examples)

    clock = metrics.Throughput()
    tick(100, 10)  # Compilation.
    assert clock.rate() == 0.0
    tick(2, 10)
    tick(2, 10)
    clock.pause()
    now[0] += 1000  # An evaluation.
    tick(3, 10)
    tick(2, 10)
    assert clock.rate() == pytest.approx(30 / 6)


def test_the_progress_line_says_what_there_is_to_know():
    line = metrics.progress(25, 100, {"train/loss": 0.12345, "train/lr": 1e-3},
                            rate=50.0, batch_size=200)
    assert line == ("step 25/100 25.0%  loss 0.1235  lr 0.001  50.0 img/s  "
                    "ETA 0:05:00")


def test_the_parameter_table_counts(caplog):
    caplog.set_level("INFO", logger="absl")
    metrics.log_parameters({
        "a/kernel": tf.Variable(tf.ones([3, 400])),
        "a/bias": tf.Variable(tf.zeros([400])),
    })
    assert "(3, 400)" in caplog.text
    assert caplog.text.rstrip().endswith("1,600")

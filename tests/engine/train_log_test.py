"""metrics.jsonl, TensorBoard, the clock and the progress line."""

import pytest
import tensorflow as tf

from tfvit.engine import train_log


def test_throughput_leaves_out_the_first_call_and_pauses(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(train_log.time, "monotonic", lambda: now[0])

    def tick(seconds, examples):
        now[0] += seconds
        clock.count(examples)

    clock = train_log.Throughput()
    tick(100, 10)  # Compilation.
    assert clock.rate() == 0.0
    tick(2, 10)
    tick(2, 10)
    clock.pause()
    now[0] += 1000  # An evaluation.
    tick(3, 10)
    tick(2, 10)
    assert clock.rate() == pytest.approx(30 / 6)


def test_what_is_left_takes_evaluations_too(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(train_log.time, "monotonic", lambda: now[0])
    clock = train_log.Throughput()
    now[0] = 500.0  # Until the loop begins.
    clock.begin()
    for seconds in (1, 1, 98):
        now[0] += seconds
        clock.count(10)
        clock.pause()
    now[0] += 20  # 120 seconds for 30 examples.
    assert clock.left(300) == pytest.approx(1200)


def test_the_progress_line_says_what_there_is_to_know():
    line = train_log.line(25, 100, {"train/loss": 0.12345, "train/lr": 1e-3},
                            rate=50.0, seconds=300.9)
    assert line == ("step 25/100 25.0%  loss 0.1235  lr 0.001  50.0 img/s  "
                    "ETA 0:05:00")


def test_the_parameter_table_counts():
    table = train_log.parameters({
        "a/kernel": tf.Variable(tf.ones([3, 400])),
        "a/bias": tf.Variable(tf.zeros([400])),
    })
    assert "(3, 400)" in table
    assert table.endswith("1,600")

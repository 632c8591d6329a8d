"""Where metrics go, held against the readers of other people."""

import csv
import json
import math
import pathlib
import re
import sys
import types

import numpy as np
import pytest
from tensorboard.backend.event_processing import plugin_event_accumulator as event_accumulator
import tensorflow as tf

from tfvit.engine import writer_thread
from tfvit.engine import writers
from tools import runs


def both(folder, positions=None, step=0):
    """The writers that every run has."""
    writer = writer_thread.Writers(writers.make(
        [writers.Jsonl, writers.TensorBoard], folder))
    writer.rewind(positions or {}, step)
    return writer


def _events(workdir):
    """{tag: [steps]} of all TensorBoard summaries in a directory."""
    tags = {}
    for path in pathlib.Path(workdir).glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                tags.setdefault(value.tag, []).append(event.step)
    return tags


def test_scalars_go_to_both_files(tmp_path):
    writer = both(tmp_path)
    writer.scalars(3, {"train/loss": 0.5})
    writer.scalars(6, {"train/loss": 0.25, "test/accuracy": 1.0})
    writer.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 3, "train/loss": 0.5},
        {"step": 6, "train/loss": 0.25, "test/accuracy": 1.0},
    ]
    assert _events(tmp_path) == {"train/loss": [3, 6], "test/accuracy": [6]}


def test_images_go_to_tensorboard_in_their_colours(tmp_path):
    writer = both(tmp_path)
    images = np.stack([np.full([4, 4, 3], v, np.float32) for v in (-1, 0, 1)])
    writer.images(7, "train/batch", images)
    writer.close()
    (path,) = tmp_path.glob("events.*")
    (value,) = [
        v for e in tf.compat.v1.train.summary_iterator(str(path))
        for v in e.summary.value if v.tag == "train/batch"]
    # The first two strings are the size, the others are PNG files.
    pixels = [tf.io.decode_png(s).numpy()[0, 0, 0]
              for s in value.tensor.string_val[2:]]
    assert pixels == [0, 127, 255]


def test_rewinding_drops_what_a_killed_run_wrote_after_its_checkpoint(tmp_path):
    writer = writers.Jsonl(tmp_path)
    writer.scalars(1, {"a": 1})
    size = writer.position()
    writer.scalars(2, {"a": 2})
    writer.flush()
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as f:
        f.write('{"step": 3, "a"')  # Killed while writing.
    writer = writers.Jsonl(tmp_path)
    writer.rewind(size, 1)
    writer.scalars(2, {"a": 5})
    writer.flush()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["a"] for line in lines] == [1, 5]


def test_a_kill_while_rewinding_loses_no_line(tmp_path, monkeypatch):
    writer = writers.Jsonl(tmp_path)
    writer.scalars(1, {"a": 1})
    writer.flush()

    def killed(*unused_args, **unused_kwargs):
        raise KeyboardInterrupt

    for method in "write", "close":
        with monkeypatch.context() as patch:
            patch.setattr(tf.io.gfile.GFile, method, killed)
            with pytest.raises(KeyboardInterrupt):
                writers.Jsonl(tmp_path).rewind(writer.position(), 1)
        assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "a": 1}\n'
    writer.rewind(0, 0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path):
    writer = both(tmp_path)
    writer.scalars(10, {"test/accuracy": 0.1})
    positions = writer.positions()
    for step in (20, 30):  # Then it was killed.
        writer.scalars(step, {"test/accuracy": step / 100})
    writer.positions()
    writer = both(tmp_path, positions, 10)
    for step in (20, 30, 40):
        writer.scalars(step, {"test/accuracy": step / 1000})
    writer.close()
    seen = event_accumulator.EventAccumulator(str(tmp_path))
    seen.Reload()
    assert {e.step: float(tf.make_ndarray(e.tensor_proto))
            for e in seen.Tensors("test/accuracy")} == pytest.approx(
                {10: 0.1, 20: 0.02, 30: 0.03, 40: 0.04})
    assert len(seen.Tensors("test/accuracy")) == 4


def test_tensorboard_forgets_a_start_without_a_checkpoint(tmp_path):
    for run in (1, 2):
        writer = both(tmp_path)
        for step in range(0, 30 // run, 10):
            writer.scalars(step, {"test/accuracy": step / run})
        writer.positions()  # Written, and killed.
    seen = event_accumulator.EventAccumulator(str(tmp_path))
    seen.Reload()
    assert [(e.step, float(tf.make_ndarray(e.tensor_proto)))
            for e in seen.Tensors("test/accuracy")] == [(0, 0.0), (10, 5.0)]


def test_csv_is_a_table_that_goes_back_with_the_run(tmp_path):
    writer = writers.Csv(tmp_path)
    writer.rewind(None, 0)
    writer.scalars(5, {"train/loss": 0.1 + 0.2, "train/lr": 1e-5})
    position = writer.position()
    writer.scalars(10, {"train/loss": 9.0})
    writer.flush()
    writer = writers.Csv(tmp_path)
    writer.rewind(position, 5)
    writer.scalars(10, {"train/loss": 0.25})
    writer.flush()
    with open(tmp_path / "metrics.csv", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert [(int(r["step"]), r["metric"], float(r["value"])) for r in rows] == [
        (5, "train/loss", 0.1 + 0.2), (5, "train/lr", 1e-5),
        (10, "train/loss", 0.25)]


def test_metrics_that_are_gone_at_a_resume_are_named(tmp_path):
    with pytest.raises(ValueError, match="metrics.jsonl is missing.*step 20"):
        both(tmp_path, {"Jsonl": 300}, 20)


def test_metrics_that_a_power_cut_shortened_are_whole_lines(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    both(tmp_path, {"Jsonl": 300}, 20)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'
    assert "only 16 of the 300 bytes that it had at step 20" in caplog.text


@pytest.mark.parametrize("writer, module", [("WandB", "wandb"),
                                            ("Mlflow", "mlflow")])
def test_a_writer_without_its_package_says_what_to_install(
        writer, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"pip install 'tfvit\[{module}\]'"):
        getattr(writers, writer)(tmp_path)


def test_mlflow_gets_names_that_it_takes(tmp_path, monkeypatch):
    taken = {}
    monkeypatch.setitem(sys.modules, "mlflow", types.SimpleNamespace(
        log_metrics=lambda values, step: taken.update(values)))
    writers.Mlflow(tmp_path).scalars(5, {
        "val/loss": 1.0, "val/recall/goldfish, Carassius (a)": 0.5})
    # What mlflow.utils.validation allows.
    assert all(re.fullmatch(r"[/\w.\- ]+", name) for name in taken)
    assert taken["val/loss"] == 1.0 and 0.5 in taken.values()


def test_what_is_not_finite_is_json_for_every_reader(tmp_path):
    writer = both(tmp_path)
    writer.scalars(5, {"a/nan": math.nan, "a/inf": -math.inf, "a/one": 1.0})
    writer.close()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON.")

    with open(tmp_path / "metrics.jsonl", encoding="utf-8") as f:
        assert json.load(f, parse_constant=refuse) == {
            "step": 5, "a/nan": None, "a/inf": None, "a/one": 1.0}
    assert set(_events(tmp_path)) == {"a/nan", "a/inf", "a/one"}
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as f:
        f.write('{"step": 6, "a/nan": NaN}\n')  # Of an earlier version.
    curve = runs.curves(tmp_path)
    assert [step for step, _ in curve["a/nan"]] == [5, 6]
    assert all(math.isnan(value) for _, value in curve["a/nan"])

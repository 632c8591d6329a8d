"""Tests of the table of runs."""

import base64
import fcntl
import json
import re

import numpy as np
from PIL import Image
import pytest

from tools import results
from tools import runs as runs_lib

WHY = "loss is nan at step 21. The last good checkpoint is that of step 20."


def make(folder, name, *, lr, values, seed=0, ended=None, why=""):
    """A run of 20 steps: config.gin, metrics.jsonl, .lock."""
    run = folder / name
    run.mkdir(parents=True)
    (run / "config.gin").write_text(
        f"# x\nFOLDER = '/data/{name}'\noptim.sgd.lr = {lr}\n"
        "ops.resize.size = \\\n    32\nexperiment.Experiment.total_steps = 20\n"
        f"experiment.Experiment.seed = {seed}\n")
    lines = [json.dumps({"step": 10 * i, "test/loss": loss,
                         "test/accuracy": loss / 4, "test/examples": 7,
                         "train/lr": lr})
             for i, loss in enumerate(values, 1)]
    if values:
        (run / "metrics.jsonl").write_text(
            "\n".join(lines) + '\n{"step": 30, "test/lo')
    if ended:
        (run / ".lock").write_text(json.dumps(
            {"host": "h", "pid": 1, "ended": ended, "why": why}))


@pytest.fixture
def runs(tmp_path):
    """Two runs that differ in lr, and one that has not logged yet."""
    make(tmp_path, "a", lr=0.1, values=[3.0, 1.0])
    make(tmp_path, "b", lr=0.3, values=[2.0, 2.5], seed=1)
    make(tmp_path, "c", lr=0.3, values=[], seed=1)
    (tmp_path / "not_a_run").mkdir()
    return tmp_path


def printed(folder, metric=None, width=None, **wanted):
    """The lines of tools.results in a terminal."""
    found = runs_lib.find([str(folder)])
    rows = list(runs_lib.rows(found, best=False))
    with pytest.MonkeyPatch.context() as patch:
        if width:
            patch.setenv("COLUMNS", str(width))
        return list(results.report(
            found, rows, results.deciding(found, rows, metric), **wanted))


def test_a_folder_of_runs_stands_for_them(runs):
    expected = [str(runs / name) for name in "abc"]
    assert runs_lib.find([str(runs)]) == expected
    assert runs_lib.find([str(runs / "b"), str(runs)]) == [
        expected[1], expected[0], expected[2]]
    with pytest.raises(ValueError, match="not_a_run is no run"):
        runs_lib.find([str(runs / "not_a_run")])


@pytest.mark.parametrize("name", ["sweep[ab]", "sweep?", "*"])
def test_a_folder_of_runs_may_be_called_like_a_pattern(runs, name):
    for folder in (name, "sweepa"):
        (runs / folder / "lr=[1]").mkdir(parents=True)
        (runs / folder / "lr=[1]" / "config.gin").write_text("x.y = 1\n")
    found = [str(runs / name / "lr=[1]")]
    assert runs_lib.find([str(runs / name)]) == found
    assert runs_lib.find(found) == found


def test_rows_join_the_last_metrics_with_what_differs(runs):
    found = list(runs_lib.rows(runs_lib.find([str(runs)]), best=False))
    assert found == [
        {"run": "a", "test/loss": 1.0, "test/accuracy": 0.25,
         "test/examples": 7, "step": 20, "FOLDER": "'/data/a'", "lr": "0.1",
         "seed": "0"},
        {"run": "b", "test/loss": 2.5, "test/accuracy": 0.625,
         "test/examples": 7, "step": 20, "FOLDER": "'/data/b'", "lr": "0.3",
         "seed": "1"},
        {"run": "c", "step": 0, "FOLDER": "'/data/c'", "lr": "0.3",
         "seed": "1"}]


def test_relative_and_absolute_paths_mix(runs, monkeypatch):
    monkeypatch.chdir(runs)
    found = runs_lib.rows(["a", str(runs / "b")], best=False)
    assert [row["run"] for row in found] == ["a", "b"]


def test_best_is_the_smallest_loss_and_the_largest_accuracy(runs):
    found = list(runs_lib.rows(runs_lib.find([str(runs)]), best=True))
    assert (found[0]["test/loss"], found[0]["test/accuracy"]) == (1.0, 0.75)
    assert (found[1]["test/loss"], found[1]["test/accuracy"]) == (2.0, 0.625)


def test_metrics_come_first_and_what_says_little_is_left_out(runs):
    lines = printed(runs)
    # Neither the folders, the seeds nor what all have, the examples.
    assert [line.split() for line in lines[:3]] == [
        ["run", "test/accuracy", "test/loss", "step", "lr"],
        ["a", "0.25", "1", "20", "0.1"],
        ["*", "b", "0.625", "2.5", "20", "0.3"]]
    assert lines[3] == "* best test/accuracy of 2 finished runs"


def test_equals_are_all_the_best_and_what_decides_is_shown(tmp_path):
    for name, lr in ("a", 0.1), ("b", 0.3):
        make(tmp_path, name, lr=lr, values=[2.0, 4.0])
    lines = printed(tmp_path)
    assert lines[0].split() == ["run", "test/accuracy", "step", "lr"]
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["*", "a", "1"], ["*", "b", "1"]]
    assert lines[3] == "* best test/accuracy of 2 finished runs (2 equal)"


def test_one_run_shows_all_its_metrics(runs):
    lines = printed(runs / "a")
    assert lines[0].split() == ["run", "test/accuracy", "test/loss",
                                "test/examples", "step"]
    assert len(lines) == 2 and "*" not in lines[1]


def test_a_metric_of_ones_own_decides_and_a_loss_is_best_small(runs):
    lines = printed(runs, metric="test/loss")
    assert lines[0].split()[1] == "test/loss"
    assert lines[1].startswith("*") and "best test/loss" in lines[3]
    with pytest.raises(ValueError, match="Did you mean 'test/loss'"):
        printed(runs, metric="test/los")


def test_columns_and_order_are_chosen(runs):
    lines = printed(runs, sort="-lr", columns=["lr", "test/loss", "seed"])
    assert lines[0].split() == ["run", "lr", "test/loss", "seed"]
    assert [line.split()[0] for line in lines[1:3]] == ["*", "a"]
    with pytest.raises(ValueError, match="Did you mean seed"):
        printed(runs, columns=["sead"])


@pytest.mark.parametrize("sort, expected", [
    ("test/accuracy", "bac"), ("-test/accuracy", "abc"), ("test/loss", "abc"),
    ("lr", "abc"), ("run", "abc"), ("-run", "cba")])
def test_rows_are_sorted_with_the_best_first(runs, sort, expected):
    rows = list(runs_lib.rows(runs_lib.find([str(runs)]), best=False))
    assert [row["run"] for row in results.ordered(rows, sort)] == list(expected)


@pytest.mark.parametrize("ended, why, state, said", [
    ("FloatingPointError", WHY, "diverged", "loss is nan at step 21."),
    ("Preempted", "Stopped by SIGTERM.", "stopped", "Stopped by SIGTERM."),
    ("MemoryError", "A device is out\nof memory", "failed",
     "A device is out of memory"),
    (None, "", "unfinished", "Nothing says why"),
])
def test_runs_that_did_not_finish_stand_apart_with_the_reason(
        runs, ended, why, state, said):
    make(runs, "d", lr=9, values=[4.0], ended=ended, why=why)
    lines = printed(runs)
    start = lines.index("") + 1
    assert lines[start].split()[0] == "unfinished"
    assert not any("d  " in line for line in lines[:start])
    assert re.match(r"d +" + state + r" +10/20 +1 +" + re.escape(said),
                    lines[-1])


def test_a_run_that_ended_early_on_purpose_is_finished(runs):
    make(runs, "e", lr=1, values=[3.9], ended="finished")
    assert any(line.startswith("*  e ") for line in printed(runs))


def test_a_run_whose_process_lives_is_running(runs):
    path = runs / "b" / ".lock"
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert runs_lib.state(str(runs / "b"))[0] == "running"
    assert runs_lib.state(str(runs / "b"))[0] == "finished"


@pytest.mark.parametrize("columns", [50, 60, 80])
def test_no_line_is_wider_than_the_terminal(runs, columns):
    long = "a_run_whose_name_lists_all_of_its_settings,lr=0.1"
    make(runs, long, lr=0.1, values=[1.0, 1.0])
    make(runs, long + "d", lr=1, values=[4.0], ended="OSError", why=WHY)
    lines = printed(runs, width=columns)
    assert max(map(len, lines)) <= columns
    assert any(line.split()[0].endswith("lr=0.1") for line in lines[:5])
    if columns == 50:
        assert any(line.startswith("Left out") for line in lines)


def test_a_broken_line_is_named(runs):
    (runs / "a" / "metrics.jsonl").write_text('{"step": 1}\n{"st\n')
    with pytest.raises(ValueError, match="metrics.jsonl, line 2, is no JSON"):
        printed(runs)


def test_curves_are_drawn(runs, tmp_path):
    path = tmp_path / "curves.png"
    results.draw(path, runs_lib.find([str(runs)]))
    picture = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    for colour in (31, 119, 180), (255, 127, 14):  # Matplotlib's first two.
        assert (picture == colour).all(axis=1).any()


def test_the_page_needs_no_other_file():
    text = results.page(["run", "<lr>"], [["a&b", "0.1"]], b"\x89PNG")
    assert "<th>&lt;lr&gt;</th>" in text and "<td>a&amp;b</td>" in text
    image = re.search(r'src="data:image/png;base64,([^"]+)"', text)[1]
    assert base64.b64decode(image) == b"\x89PNG"
    assert "http" not in text

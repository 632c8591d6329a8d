"""Tests of the table of runs."""

import base64
import json
import re

import numpy as np
from PIL import Image
import pytest

from tools import results
from tools import runs as runs_lib


@pytest.fixture
def runs(tmp_path):
    """Two runs that differ in lr, and one that has not logged yet."""
    for name, lr, losses in [("a", 0.1, [3.0, 1.0]), ("b", 0.3, [2.0, 2.5]),
                             ("c", 0.3, [])]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.gin").write_text(
            f"# x\noptim.sgd.lr = {lr}\nops.resize.size = \\\n    32\n")
        lines = [json.dumps({"step": 10 * i, "test/loss": loss,
                             "test/accuracy": loss / 4, "train/lr": lr})
                 for i, loss in enumerate(losses, 1)]
        if losses:
            (tmp_path / name / "metrics.jsonl").write_text(
                "\n".join(lines) + '\n{"step": 30, "test/lo')
    (tmp_path / "not_a_run").mkdir()
    return tmp_path


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


def test_rows_join_what_differs_with_the_last_metrics(runs):
    found = list(runs_lib.rows(runs_lib.find([str(runs)]), best=False))
    assert found == [
        {"run": "a", "lr": "0.1", "step": 20, "test/loss": 1.0,
         "test/accuracy": 0.25},
        {"run": "b", "lr": "0.3", "step": 20, "test/loss": 2.5,
         "test/accuracy": 0.625},
        {"run": "c", "lr": "0.3", "step": 0}]


def test_relative_and_absolute_paths_mix(runs, monkeypatch):
    monkeypatch.chdir(runs)
    found = runs_lib.rows(["a", str(runs / "b")], best=False)
    assert [row["run"] for row in found] == ["a", "b"]


def test_best_is_the_smallest_loss_and_the_largest_accuracy(runs):
    found = list(runs_lib.rows(runs_lib.find([str(runs)]), best=True))
    assert (found[0]["test/loss"], found[0]["test/accuracy"]) == (1.0, 0.75)
    assert (found[1]["test/loss"], found[1]["test/accuracy"]) == (2.0, 0.625)


def test_the_table_lines_up_and_marks_what_is_missing(runs):
    lines = list(runs_lib.aligned(*runs_lib.table(
        list(runs_lib.rows(runs_lib.find([str(runs)]), best=False)))))
    assert lines[0].split() == ["run", "lr", "step", "test/loss",
                                "test/accuracy"]
    assert lines[3].split() == ["c", "0.3", "0", "-", "-"]
    assert len({len(line) for line in lines}) == 1


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

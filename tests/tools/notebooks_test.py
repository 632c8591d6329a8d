"""The notebooks run, offline, and what lies beside them is what they give."""

import os
import pathlib
import re

import pytest

from tools import run_notebooks

ROOT = pathlib.Path(__file__).parents[2]
# What is printed after these words is at least so much.
LEAST = {
    "finetune": [(r"([\d.]+) of 120 images are right", 0.8)],
    "augreg": [(r"fine-tuned files of (\d+) models", 160),
               (r"val/accuracy +.* ([\d.]+)", 0.9)],
    "lit": [(r"1 of its own +([\d.]+)", 0.9),
            (r"txt2img_recall@1 +([\d.]+)", 0.9)],
}
jupytext = pytest.importorskip("jupytext", reason="needs tfvit[notebooks]")
nbformat = pytest.importorskip("nbformat", reason="needs tfvit[notebooks]")


def check(name, notebook):
    """What a reader may expect of a notebook that was run."""
    text = run_notebooks.texts(notebook)
    for pattern, least in LEAST[name]:
        assert float(re.search(pattern, text)[1]) >= least, pattern
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            assert output["output_type"] != "error", cell.source
            assert output.get("name") != "stderr", output
    written = nbformat.writes(notebook)
    for word in (str(pathlib.Path.home()) + "/", "/tmp/", "Warning:", "/work"):
        assert word not in written, word


def test_each_has_its_numbers():
    assert sorted(LEAST) == run_notebooks.names()


@pytest.mark.parametrize("name", sorted(LEAST))
def test_what_lies_beside_it_is_of_today(name):
    notebook = nbformat.read(
        os.path.join(run_notebooks.FOLDER, f"{name}.ipynb"), 4)
    text = run_notebooks.read(name)
    assert [cell.source for cell in notebook.cells] == [
        cell.source for cell in text.cells]
    check(name, notebook)
    size = os.path.getsize(os.path.join(run_notebooks.FOLDER, f"{name}.ipynb"))
    assert size < 600_000


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LEAST))
def test_it_runs(name):
    pytest.importorskip("ipykernel", reason="needs tfvit[notebooks]")
    check(name, run_notebooks.run(name, str(ROOT)))

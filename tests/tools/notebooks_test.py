"""The notebooks run, offline, and what lies beside them is what they give.

`python -m tools.run_notebooks` runs them as they are, in minutes; here each cell
runs in this process, with less to draw, to train and to serve.
"""

import os
import pathlib
import re
import tempfile

import pytest

from tfvit.weights import fetch
from tools import run_notebooks

ROOT = pathlib.Path(__file__).parents[2]
# What is printed after these words is at least so much.
LEAST = {
    "finetune": [(r"([\d.]+) of 120 images are right", 0.85)],
    "augreg": [(r"fine-tuned files of (\d+) models", 160),
               (r"val/accuracy +.* ([\d.]+)", 0.9)],
    "lit": [(r"1 of its own +([\d.]+)", 0.9),
            (r"txt2img_recall@1 +([\d.]+)", 0.9)],
}
TIMM = 2e-6  # At most so far from timm's, of the largest, are our logits.
SHORT = {  # What is shorter in this test.
    "finetune": [("epochs=30", "epochs=1"), ("DATA, 120,", "DATA, 6,"),
                 ("fresh, 20,", "fresh, 2,"),
                 ("vit.vit.depth = 4", "vit.vit.depth = 1")],
    "augreg": [("range(40)", "range(10)"), ("_steps = 12", "_steps = 4"),
               ("eval_every = 12", "eval_every = 4"),
               ('weights=path, model="ti16"', 'weights="none", model="tiny"')],
    "lit": [('total_steps = 800"', 'total_steps = 20", '
             '"schedules.cosine.warmup_steps = 5", '
             '"experiment.Experiment.log_every = 10"'),
            ("eval_every = 200", "eval_every = 20"),
            ("prompts.clip_paper", "prompts.clip_paper[:9]")],
}
jupytext = pytest.importorskip("jupytext", reason="needs tfvit[notebooks]")
nbformat = pytest.importorskip("nbformat", reason="needs tfvit[notebooks]")


def check(name, notebook):
    """What a reader may expect of a notebook that was run."""
    text = run_notebooks.texts(notebook)
    for pattern, least in LEAST[name]:
        assert float(re.search(pattern, text)[1]) >= least, pattern
    if found := re.search(r"logits up to (\S+): (\S+)", text):
        assert float(found[2]) <= TIMM * float(found[1])
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


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Runs cells as a notebook does, in a folder of its own."""
    shells = pytest.importorskip("IPython.core.interactiveshell",
                                 reason="needs tfvit[notebooks]")
    traitlets = pytest.importorskip("traitlets.config")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "_fetch", _no_network)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings = traitlets.Config()
    settings.HistoryManager.enabled = False
    made = shells.InteractiveShell.instance(config=settings)
    yield made
    shells.InteractiveShell.clear_instance()


def _no_network(*unused_args, **unused_kwargs):
    raise OSError("no network")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
@pytest.mark.parametrize("name", sorted(LEAST))
def test_its_cells_run(name, shell):
    cells = run_notebooks.read(name).cells
    sources = "\0".join(cell.source for cell in cells
                        if cell.cell_type == "code")
    for long, short in SHORT[name]:
        assert long in sources
        sources = sources.replace(long, short)
    for source in sources.split("\0"):
        shell.run_cell(source).raise_error()

"""From gin files and flags to an Experiment, and what is said when not."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import gin
import pytest

from tests import toy
from tfvit import config
from tfvit import experiment
from tfvit import trainer
from tfvit.engine import run_config

ROOT = pathlib.Path(config.ROOT)
RUNS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "gin").glob("*.gin"))
MACROS = {  # What a run leaves to the command line.
    "gin/folder.gin": ["FOLDER = '/nowhere'", "NUM_CLASSES = 3"],
    "gin/lit_captions.gin": ["CAPTIONS = '/nowhere'"],
}


def _parse(file, bindings=()):
    text = config.parse([file], bindings)
    return text, gin.get_configurable(experiment.Experiment)


@pytest.mark.parametrize("file", [r for r in RUNS if r != "gin/base.gin"])
def test_every_run_file_makes_an_experiment(file):
    text, make = _parse(file, MACROS.get(file, []))
    exp = make()
    assert exp.total_steps > 0 and exp.evaluators
    # What is saved says the same when it is read again.
    gin.clear_config()
    gin.parse_config(text)
    assert gin.config_str() == text


def test_the_header_of_every_run_file_gives_its_command():
    for file in RUNS:
        if file != "gin/base.gin":
            header = (ROOT / file).read_text().split("include")[0]
            assert f"python -m tfvit.train --gin_file={file}" in header
            assert all(line.startswith("#") for line in header.splitlines())


def test_a_binding_may_name_a_module_that_no_file_imports():
    _, make = _parse("gin/digits.gin", [
        "experiment.Experiment.strategy = @strategies.logical_cpus",
        "experiment.Experiment.optimizer = @optim.sgd",
        "optim.sgd.lr = 0.2",
    ])
    assert make().strategy.__name__ == "logical_cpus"


@pytest.mark.parametrize("binding, message", [
    ("experiment.Experiment.total_step = 3", "total_step"),
    ("optim.sdg.lr = 3", "sdg"),
    ("experiment.Experiment.total_steps = 10*1000", "10\\*1000"),
    ("experiment.Experiment.seed = %NOTHING", "NOTHING"),
])
def test_a_binding_that_gin_refuses_is_named(binding, message):
    with pytest.raises(ValueError, match=message):
        _parse("gin/digits.gin", [binding])


@pytest.mark.parametrize("field, value, message", [
    ("total_steps", 0, "total_steps=0 .*at least 1"),
    ("log_every", None, "log_every=None .*whole number"),
    ("eval_every", 12, "eval_every=12 .*multiple.*log_every=5"),
    ("accum_steps", 3, "batch_size=4 .*multiple.*accum_steps=3"),
    ("precision", "float8", "precision='float8'.*float32"),
    ("jit", "yes", "jit='yes'"),
    ("best_metric", "val/accuracy", "best_metric='val/accuracy'.*test"),
])
def test_an_experiment_that_cannot_work_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(toy.EXPERIMENT, **{field: value})


def test_a_missing_gin_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nope.gin does not exist"):
        config.parse([str(tmp_path / "nope.gin")])


def test_a_missing_include_is_named(tmp_path):
    (tmp_path / "a.gin").write_text("include 'gin/models/b17.gin'\n")
    with pytest.raises(ValueError, match="b17.gin"):
        config.parse([str(tmp_path / "a.gin")])


def test_a_binding_that_nothing_reads_stops_the_run(tmp_path):
    gin.clear_config()
    gin.parse_config("from __gin__ import dynamic_registration\n"
                     "from tfvit.optimize import losses\n"
                     "losses.sigmoid_xent.label_smoothing = 0.1\n")
    with pytest.raises(ValueError, match="losses.sigmoid_xent.label_smoothing"):
        trainer.train(toy.EXPERIMENT, tmp_path)
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_changed_config_is_refused_once_there_is_a_checkpoint(tmp_path):
    run_config.save("a = 1\nb = 2\n", tmp_path, started=False)
    run_config.save("a = 1\nb = 3\n", tmp_path, started=False)
    run_config.save("a = 1\nb = 3\n", tmp_path, started=True)
    with pytest.raises(ValueError, match=re.compile(
            r"differs.*\n-b = 3\n\+b = 4\n.*--workdir", re.DOTALL)):
        run_config.save("a = 1\nb = 4\n", tmp_path, started=True)
    assert (tmp_path / "config.gin").read_text() == "a = 1\nb = 3\n"


@pytest.mark.parametrize("arguments, message", [
    (["--gin_file=gin/nope.gin"], "gin/nope.gin does not exist"),
    (["--gin_file=gin/digits.gin", "--gin_bindings=optim.adamw.lr=0.1x"],
     "optim.adamw.lr=0.1x"),
])
def test_the_command_line_ends_with_one_sentence(tmp_path, arguments, message):
    result = subprocess.run(
        [sys.executable, "-m", "tfvit.train", f"--workdir={tmp_path}/w",
         *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr

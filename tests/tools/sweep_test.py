"""Grids, the choice of the best run, and a sweep of real runs."""

import json
import pathlib
import re
import signal

from absl import flags
from absl.testing import flagsaver
import pytest

from tools import sweep

ROOT = pathlib.Path(__file__).parents[2]


def test_a_grid_is_every_combination(tmp_path):
    file = tmp_path / "grid.txt"
    file.write_text("# A comment.\na.b = 1 | 'x'  # Why.\n\n")
    assert sweep.points([str(file), "c.d = 2"]) == [
        ["a.b = 1", "c.d = 2"], ["a.b = 'x'", "c.d = 2"]]


@pytest.mark.parametrize("line", ["a.b", "= 1", "a.b = 1 |", "no_file.txt"])
def test_a_line_that_is_no_binding_is_refused(line):
    with pytest.raises(ValueError, match="--grid="):
        sweep.points([line])


def test_augreg_fine_tuned_each_of_its_checkpoints_68_times():
    # 51,509 fine-tuned files of 759 pre-trained ones.
    runs = {name: len(sweep.points([str(ROOT / f"gin/sweeps/{name}.txt")]))
            for name in ("augreg_small", "augreg_large", "augreg_imagenet2012")}
    assert (2 * runs["augreg_small"] + 2 * runs["augreg_large"] +
            runs["augreg_imagenet2012"]) == 68


def numbers(tmp_path, name, values):
    """A run's directory with one metric at the steps 10, 20, ..."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.gin").write_text(f"a.b = '{name}'\n")
    (tmp_path / name / "metrics.jsonl").write_text("".join(
        json.dumps({"step": 10 * i, "val/accuracy": value, "val/loss": value})
        + "\n" for i, value in enumerate(values, 1)))
    return str(tmp_path / name)


def test_the_best_run_is_best_at_the_last_step_and_finished(tmp_path):
    runs = [numbers(tmp_path, *run) for run in [
        ("peaked", [0.9, 0.5]), ("best", [0.1, 0.7]), ("unfinished", [0.8]),
        ("nan", [0.1, float("nan")]), ("silent", [])]]
    values = {run: sweep.value(run, "val/accuracy", 20) for run in runs}
    assert sweep.best(values, "val/accuracy") == runs[1]
    assert sweep.best(values, "val/loss") == runs[0]
    lines = list(sweep.report(values, "val/accuracy"))
    assert [line.split()[1] for line in lines if line[0] == "*"] == ["best"]
    assert lines[-1] == f"Best val/accuracy: 0.7, {runs[1]}"


def test_without_a_finished_run_there_is_no_best(tmp_path):
    run = numbers(tmp_path, "unfinished", [0.8])
    lines = list(sweep.report({run: None}, "val/accuracy"))
    assert len(lines) == 2 and not lines[1].startswith("*")


GRID = "--grid=optim.adamw.lr = 1e-9 | 7 | 5e-3"
ARGUMENTS = ["--gin_file=gin/digits.gin", "--metric=test/accuracy",
             "--gin_bindings=experiment.Experiment.total_steps = 20",
             "--gin_bindings=experiment.Experiment.eval_every = 50"]
# Trains in no time: an accuracy of lr, but for the rates that diverge or wait.
FAKE = """
import json, os, re, signal, sys
words = "\\n".join(sys.argv)
folder = re.search("--workdir=(.*)", words)[1]
lr = float(re.search("lr = (.*)", words)[1])
with open(os.path.join(folder, "started"), "a") as f:
    f.write("x")
if lr == 7:
    sys.exit(43)
if lr == 8:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
    os.kill(os.getppid(), signal.SIGINT)
    signal.pause()
with open(os.path.join(folder, "metrics.jsonl"), "w") as f:
    step = 15 if lr == 6 else 20  # The former was stopped early.
    f.write(json.dumps({"step": step, "test/accuracy": lr}) + "\\n")
sys.exit(lr == 9)
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the tool with arguments."""
    real = sweep.command

    def fake(*arguments):
        python, _, _, *words = real(*arguments)
        return [python, "-c", FAKE, *words]

    def run(*arguments, command=fake):
        monkeypatch.setattr(sweep, "command", command)
        with flagsaver.flagsaver():
            flags.FLAGS(["sweep", *ARGUMENTS, f"--dir={tmp_path}", *arguments])
            sweep.main()

    run.real = real
    return run


def starts(tmp_path):
    return {path.parent.name: len(path.read_text())
            for path in tmp_path.glob("*/started")}


def test_dry_run_prints_commands_and_trains_nothing(tmp_path, call, capsys):
    call(GRID, "--dry_run", command=call.real)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "'--gin_bindings=optim.adamw.lr = 5e-3'" in lines[2]
    assert f"--workdir={tmp_path}/lr=5e-3" in lines[2]
    assert not list(tmp_path.iterdir())


def test_a_run_that_ends_early_counts(tmp_path, call, capsys):
    call("--grid=optim.adamw.lr = 1e-3 | 6")
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"Best test/accuracy: 6, {tmp_path}/lr=6")


def test_values_need_the_writer_they_are_read_from(tmp_path, call):
    with pytest.raises(ValueError, match="writers must have @writers.Jsonl"):
        call(GRID, "--gin_bindings=experiment.Experiment.writers = "
             "[@writers.Csv]")


def test_commands_for_another_machine_do_not_need_its_data():
    grid = sweep.points(["optim.adamw.lr = 1 | 2"])
    with flagsaver.flagsaver():
        flags.FLAGS(["sweep", "--gin_file=gin/digits.gin",
                     "--gin_file=gin/data/folder.gin",
                     "--gin_bindings=FOLDER = '/on/another/machine'",
                     "--gin_bindings=experiment.Experiment.best_metric = None",
                     "--gin_bindings=NUM_CLASSES = 5"])
        assert len(sweep.plan(grid, "/x", "val/accuracy", elsewhere=True)) == 2
        with pytest.raises((ValueError, OSError), match="/on/another/machine"):
            sweep.plan(grid, "/x", "val/accuracy")


def test_a_run_that_diverges_is_left_out_and_finished_ones_are_left_alone(
        tmp_path, call, capsys):
    call(GRID)
    lines = capsys.readouterr().out.splitlines()
    marked = [line for line in lines if line.startswith("*")]
    assert len(marked) == 1 and marked[0].split()[1] == "lr=5e-3"
    assert lines[-2].startswith("Best test/accuracy: 0.005, ")
    assert lines[-1].startswith("1 of 3 diverged: ") and "lr=7" in lines[-1]
    call(GRID)
    assert starts(tmp_path) == {"lr=1e-9": 1, "lr=7": 2, "lr=5e-3": 1}


def test_a_signal_reaches_the_run_as_sigterm_and_ends_the_sweep(tmp_path, call):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as stop:
        call("--grid=optim.adamw.lr = 8 | 1")
    assert stop.value.code == 42 and starts(tmp_path) == {"lr=8": 1}
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("lr, metric, message", [
    (9, "test/accuracy", "lr=9 ended with exit code 1"),
    (1, "test/loss", "test/loss is none .*: test/accuracy")])
def test_what_would_fail_again_ends_the_sweep(tmp_path, call, lr, metric,
                                              message):
    with pytest.raises(ValueError, match=message):
        call(f"--grid=optim.adamw.lr = {lr} | 2", f"--metric={metric}")
    assert starts(tmp_path) == {f"lr={lr}": 1}


def test_results_of_other_settings_are_not_taken(tmp_path, call):
    call("--grid=optim.adamw.lr = 1 | 2")
    (tmp_path / "lr=1" / "checkpoints").mkdir()
    (tmp_path / "lr=1" / "checkpoints" / "ckpt-20.index").write_text("")
    with pytest.raises(ValueError, match=r"\+vit.vit.width = 32"):
        call("--grid=optim.adamw.lr = 1 | 2",
             "--gin_bindings=vit.vit.width = 32")


@pytest.mark.parametrize("grid, metric, message", [
    ("optim.adamw.learning_rate = 1 | 2", "test/accuracy", "learning_rate"),
    ("experiment.Experiment.accum_steps = 1 | 3", "test/accuracy",
     "accum_steps=3"),
    ("optim.adamw.lr = 1 | 2", "val/accuracy", "there are: test"),
    ("optim.adamw.lr = 1 | 2", "test/accurcy", "Did you mean 'test/accuracy'"),
    ("optim.adamw.lr = 1 | 2", "test/error", "among the metrics: .*test/loss"),
    ("classification.Classification.classes = None | [1, 2, 3]",
     "test/top5_accuracy", "'test/top5_accuracy' is not among"),
    ("optim.adamw.lr = 1 | 1", "test/accuracy", "share /x/lr=1"),
])
def test_an_impossible_setting_is_known_before_anything_starts(
        grid, metric, message):
    with flagsaver.flagsaver():
        flags.FLAGS(["sweep", "--gin_file=gin/digits.gin"])
        with pytest.raises(ValueError, match=message):
            sweep.plan(sweep.points([grid]), "/x", metric)


@pytest.mark.slow
def test_real_runs_diverge_and_finish(call, capsys):
    call("--grid=optim.adamw.lr = 1e30 | 5e-3",
         "--gin_bindings=schedules.cosine.warmup_steps = 2",
         "--gin_bindings=vit.vit.depth = 1", command=call.real)
    best, diverged = capsys.readouterr().out.splitlines()[-2:]
    assert re.match(r"Best test/accuracy: .*/lr=5e-3", best)
    assert re.match("1 of 2 diverged: .*/lr=1e30", diverged)

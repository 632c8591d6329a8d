"""The package as pip installs it: no checkout, any folder."""

import configparser
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tests.finetuning import photos
from tfvit import config
from tfvit import launch

ROOT = pathlib.Path(config.ROOT)


@pytest.fixture(scope="module")
def tfvit(tmp_path_factory):
    """Runs the console command of an installed wheel in an empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    built = folder / "src"
    built.mkdir()
    for part in ("tfvit", "gin", "tools", "setup.cfg", "pyproject.toml",
                 "README.md", "LICENSE"):
        (built / part).symlink_to(ROOT / part)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir",
         folder, built])
    venv = folder / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", venv])
    python = venv / "bin" / "python"
    site = pathlib.Path(run([python, "-c", "import sysconfig; print("
                             "sysconfig.get_path('purelib'))"]).strip())
    (wheel,) = folder.glob("*.whl")
    run([*pip, f"--python={python}", "install", "--no-deps", "--no-index",
         wheel])
    # What it depends on is there already. (A plain path: what is installed in
    # editable mode there stays out.)
    (site / "present.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty = folder / "empty"
    empty.mkdir()

    def call(*words, **kwargs):
        return run([venv / "bin" / "tfvit", *words], cwd=empty, **kwargs)

    call.folder, call.python, call.wheel = empty, venv / "bin" / "python", wheel
    return call


def run(words, *, until=None, **kwargs):
    """What a command prints; with `until`, Ctrl-C once a line has that.

    Such a command must have saved, else any must have succeeded.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with subprocess.Popen(
            [str(word) for word in words], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs) as process:
        if until:
            for line in process.stderr:
                if until in line:
                    process.send_signal(signal.SIGINT)
                    break
        out, err = process.communicate()
    assert process.returncode == (launch.PREEMPTED if until else 0), err[-3000:]
    assert "Traceback" not in err
    return out


@pytest.mark.slow
def test_an_installed_tfvit_trains_and_evaluates_from_an_empty_folder(tfvit):
    said = tfvit("--help")
    for command in ("train", "evaluate", "export", "predict", "benchmark",
                    "augreg", "sweep", "check_data"):
        assert f"\n  {command} " in said
    tfvit("train", "--gin_file=gin/digits.gin",
          "--gin_bindings=experiment.Experiment.total_steps = 20",
          "--gin_bindings=schedules.cosine.warmup_steps = 5")
    assert '"step": 20' in tfvit("evaluate", "--workdir=runs/digits")
    assert "digits" in tfvit("results", "runs/digits")
    assert "1438 images" in tfvit("check_data", "--gin_file=gin/digits.gin")


@pytest.mark.slow
def test_the_page_for_browsers_comes_along(tfvit):
    there = {path.name for path in (ROOT / "tools/demo").iterdir()}
    with zipfile.ZipFile(tfvit.wheel) as wheel:
        found = {name.removeprefix("tfvit/tools/demo/")
                 for name in wheel.namelist() if "tools/demo/" in name}
    assert found == there and {"index.html", "app.js", "LICENSE"} < there
    said = run([tfvit.python, "-c", "from tfvit.serving import page\n"
                "print(*page.page())"], cwd=tfvit.folder)
    assert set(said.split()) == there


@pytest.mark.slow
def test_the_first_hour_with_a_folder_of_photos(tfvit):
    photos.draw(tfvit.folder / "shapes", 20)
    photos.draw(tfvit.folder / "new", 2, seed=1)
    finetune = ("finetune", "shapes", "--model=tiny", "--from=none",
                "--image_size=16", "--epochs=25", "--out=runs/shapes")
    assert "54 to train, 6 (10% of each class)" in tfvit(*finetune, "--dry_run")
    assert not (tfvit.folder / "runs/shapes").exists()
    tfvit(*finetune, until="Saved the checkpoint of step")
    assert "tfvit.predict" in tfvit(*finetune)  # What comes next.
    said = tfvit("evaluate", "--workdir=runs/shapes", "--report=report")
    values = json.loads(said.splitlines()[-1])
    assert values["val/examples"] == 6 and values["val/accuracy"] > 0.6
    assert "data:image/png;base64" in (
        tfvit.folder / "report/index.html").read_text()
    with open(tfvit.folder / "report/val/per_class.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [row["class"] for row in rows] == sorted(photos.CLASSES)
    assert [row["support"] for row in rows] == ["2"] * 3
    tfvit("export", "--workdir=runs/shapes", "--out=exports/shapes")
    answers = [json.loads(line)["classes"]
               for model in ("runs/shapes", "exports/shapes") for line in
               tfvit("predict", "new", f"--model={model}", "--json").splitlines()]
    assert len(answers) == 12
    for run, export in zip(answers[:6], answers[6:]):
        assert [c["class"] for c in run] == [c["class"] for c in export]
        assert run[0]["score"] == pytest.approx(export[0]["score"], abs=1e-5)


def test_setup_cfg_lists_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    found = {".".join(path.parent.relative_to(ROOT).parts)
             for path in (ROOT / "tfvit").rglob("__init__.py")}
    assert set(setup["options"]["packages"].split()) == (
        found | {"tfvit.gin", "tfvit.tools"})

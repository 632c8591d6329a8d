"""The package as pip installs it: no checkout, any folder."""

import configparser
import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest

from tfvit import config

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

    def call(*words):
        return run([venv / "bin" / "tfvit", *words], cwd=empty)

    return call


def run(words, **kwargs):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in words], env=environment,
                          capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


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


def test_setup_cfg_lists_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    found = {".".join(path.parent.relative_to(ROOT).parts)
             for path in (ROOT / "tfvit").rglob("__init__.py")}
    assert set(setup["options"]["packages"].split()) == (
        found | {"tfvit.gin", "tfvit.tools"})

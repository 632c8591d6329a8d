"""`tfvit finetune`: from a folder of photos to a model, by one line."""

import json
import pathlib
import re
import sys

from absl import flags
from absl.testing import flagsaver
import numpy as np
import pytest
import tensorflow as tf

from tests import preparing
from tests.data.datasets import fake_tfds
from tests.finetuning import photos
from tfvit import config
from tfvit import experiment
from tfvit import finetune
from tfvit import trainer
from tfvit.engine import checkpoint
from tfvit.finetuning import memory
from tfvit.finetuning import plan
from tfvit.finetuning import wishes
from tfvit.models import vit
from tfvit.weights import load
from tools import sweep

SCRATCH = ("--model=tiny", "--from=none", "--image_size=16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos") / "shapes"
    photos.draw(root / "train", 20)
    photos.draw(root / "test", 3, seed=1)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of the model tiny for images of 16 pixels."""
    path = tmp_path_factory.mktemp("weights") / "tiny.npz"
    load.to_npz(vit.vit(num_classes=5, image_size=16, patch_size=8, width=16,
                        depth=2, num_heads=2, mlp_dim=32), str(path))
    return path


def call(*words):
    with flagsaver.flagsaver():
        main = flags.FLAGS(["finetune", *map(str, words)])
        finetune.main(main[1:])


def metrics(run):
    """{step: {metric: value}} but for those of the clock."""
    found = {}
    for line in (pathlib.Path(run) / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        found.setdefault(values.pop("step"), {}).update(
            {k: v for k, v in values.items() if k != "train/img_per_s"})
    return found


def rows(text):
    """{what: value} of the printed table."""
    return dict(re.split(r"\s{2,}", line, maxsplit=1)
                for line in text.splitlines() if re.search(r"\S\s{2,}\S", line))


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A run of a few updates."""
    out = tmp_path_factory.mktemp("runs") / "shapes"
    call(folder, *SCRATCH, "--epochs=1", f"--out={out}")
    return out


def test_a_run_leaves_what_any_run_does(run, folder):
    for name in ("config.gin", "finetune.gin", "metrics.jsonl", "labels.txt"):
        assert (run / name).exists()
    assert (run / "labels.txt").read_text().split() == list(photos.CLASSES)
    # One epoch of 54 images in batches of 8.
    assert max(metrics(run)) == 7 and checkpoint.steps(str(run)) == [7]
    assert checkpoint.steps(str(run), best=True)


@pytest.mark.slow
def test_the_gin_file_alone_trains_the_same(run, tmp_path):
    exp, text = experiment.from_config([str(run / "finetune.gin")])
    assert text == (run / "config.gin").read_text()
    trainer.train(exp, str(tmp_path))
    assert metrics(tmp_path) == metrics(run)


def test_a_test_split_is_looked_at_once(run):
    steps = [step for step, values in metrics(run).items()
             if "test/accuracy" in values]
    assert steps == [7] and metrics(run)[7]["test/examples"] == 9


def test_the_same_command_goes_on_and_another_is_refused(run, folder, capsys):
    before = metrics(run)
    call(folder, *SCRATCH, "--epochs=1", f"--out={run}")
    assert metrics(run) == before
    text = (run / "finetune.gin").read_text()
    with pytest.raises(ValueError, match="(?s)-.*total_steps = 7.*"
                       r"\+.*total_steps = 14.*choose a new --out\.\nTo make "
                       "it longer: python -m tfvit.train .*steps = 14"
                       ) as error:
        call(folder, *SCRATCH, "--epochs=2", f"--out={run}")
    assert "add --extend" not in str(error.value)
    assert (run / "finetune.gin").read_text() == text
    capsys.readouterr()


def test_other_memory_is_the_same_run(run, folder, monkeypatch, capsys):
    monkeypatch.setattr(memory, "available", lambda _: 1)
    call(folder, *SCRATCH, "--epochs=1", f"--out={run}")
    assert "memory: as the run began" in capsys.readouterr().out


def test_a_dry_run_says_the_choice_and_writes_nothing(folder, tmp_path, capsys):
    call(folder, *SCRATCH, "--dry_run", "--batch_size=6", "--lr=0.5",
         f"--out={tmp_path}/x")
    said = rows(capsys.readouterr().out)
    assert said["images"] == (
        "54 to train, 6 (10% of each class) to validate, "
        "9 to test at the end")
    assert said["classes"] == "3: circle, square, triangle"
    assert said["batch"].startswith("6, --batch_size; memory: about 0.0 GiB")
    assert said["length"].startswith("1,500 updates, 167 epochs")
    assert said["optimizer"] == "AdamW, learning rate 0.5: --lr"
    # 8 * 8 * 3 * 16 of the patches, ...: tests/gin/models_test.py has them.
    assert said["model"].startswith("tiny, ") and said["parameters"] in said[
        "model"]
    assert not list(tmp_path.iterdir())


def test_a_batch_is_divided_until_it_fits(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda _: 2**20)
    call(folder, "--model=tiny", "--from=none", "--image_size=64",
         "--batch_size=32", f"--out={tmp_path}", "--dry_run")
    parts = config.bound("experiment.Experiment.accum_steps")
    assert parts > 1 and 32 % parts == 0
    assert config.bound("classification.Classification.batch_size") == (
        4 * 32 // parts)


@pytest.mark.slow
def test_a_linear_probe_changes_the_head_alone(folder, weights, tmp_path):
    call(folder, "--model=tiny", f"--from={weights}", "--linear_probe",
         "--epochs=1", f"--out={tmp_path}")
    reader = tf.train.load_checkpoint(
        str(tmp_path / "checkpoints" / "ckpt-7"))
    saved = {name: reader.get_tensor(name)
             for name in reader.get_variable_to_shape_map()
             if name.startswith("params/")}
    before = dict(np.load(weights))
    moved = set()
    for name, value in before.items():
        (now,) = [v for k, v in saved.items()
                  if k.replace(".S", "/").split("/.ATTR")[0] == f"params/{name}"]
        if now.shape != value.shape or (now != value).any():
            moved.add(name)
    assert moved == {"head/kernel", "head/bias"}


def test_layers_may_learn_at_rates_of_their_own(folder, weights, tmp_path):
    # Who says how many parts there are needs no estimate.
    plan.Plan(wishes.Wishes(
        data=str(folder), model="tiny", weights=str(weights), layer_decay=0.65,
        out=str(tmp_path), overrides=(
            (), ("experiment.Experiment.accum_steps = 1",))))
    assert config.bound("experiment.Experiment.layer_decay") == 0.65


def test_what_bindings_change_is_said(folder, tmp_path):
    made = plan.Plan(wishes.Wishes(
        data=str(folder), model="tiny", weights="none", out=str(tmp_path),
        overrides=((), ("experiment.Experiment.accum_steps = 1",
                        "IMAGE_SIZE = 24", "optim.adamw.lr = 0.25",
                        "experiment.Experiment.total_steps = 2_000"))))
    said = rows("\n".join(made.summary()))
    yours = "as your gin files or bindings say"
    assert said["image size"] == f"24 pixels, {yours}"
    assert said["optimizer"] == f"AdamW, learning rate 0.25: {yours}"
    assert said["length"] == f"2,000 updates, 296 epochs: {yours}"
    assert said["batch"].startswith("8, smaller than the papers' 512")


def test_a_sweep_is_of_the_papers_rates(folder, weights, tmp_path, monkeypatch,
                                        capsys):
    called = []
    monkeypatch.setattr(finetune.os, "execv", lambda *words: called.append(words))
    call(folder, "--model=tiny", f"--from={weights}", "--sweep_lr",
         f"--out={tmp_path}",
         "--gin_bindings=losses.softmax_xent.label_smoothing = 0.1")
    ((program, words),) = called
    assert program == sys.executable and words[1:4] == ["-m", "tfvit", "sweep"]
    capsys.readouterr()
    with flagsaver.flagsaver():
        flags.FLAGS(["sweep", *words[4:], "--dry_run"])
        sweep.main()
    lines = capsys.readouterr().out.splitlines()
    # 0.001, 0.003, 0.01 and 0.03 at 512, times 8 / 512.
    for rate, line in zip(["1.56e-05", "4.69e-05", "0.000156", "0.000469"],
                          lines, strict=True):
        assert f"--workdir={tmp_path}/lr={rate} " in line
        assert f"--gin_file={tmp_path}/finetune.gin " in line
        assert "label_smoothing = 0.1" in line


@pytest.mark.parametrize("words, message", [
    (["--linear_probe", *SCRATCH], "--linear_probe with --from=none"),
    (["--linear_probe", "--layer_decay=0.5"], "leave --layer_decay out"),
    (["--sweep_lr", "--lr=1"], "leave --lr out"),
    (["--image_size=0"], "--image_size=0 must be above 0"),
    ([*SCRATCH, "--epochs=-1"], "--epochs=-1.0 must be above 0"),
    ([*SCRATCH, "--layer_decay=2"], "layer_decay=2.0"),
    ([*SCRATCH, "--precision=bfloat16"], "precision='bfloat16' is not one of"),
    (["--model=S_61"], "Did you mean S_16"),
])
def test_flags_that_cannot_work_are_refused(folder, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        call(folder, *words, f"--out={tmp_path}/x")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_photos_are_learned_from_scratch(tmp_path):
    photos.draw(tmp_path / "shapes", 40)
    call(tmp_path / "shapes", "--model=tiny", "--from=none", "--image_size=32",
         f"--out={tmp_path}/run", "--epochs=30")
    last = metrics(tmp_path / "run")
    assert last[max(last)]["val/accuracy"] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("data", ["records", "table.csv", "cifar10:3.0.2"])
def test_other_data_reaches_the_step(folder, tmp_path, data, capsys):
    if data == "records":
        preparing.make(str(folder), f"{tmp_path}/records", short_side=48)
    elif data == "table.csv":
        (tmp_path / data).write_text("image,label\n" + "".join(
            f"{path},{path.parent.name}\n"
            for path in sorted(folder.glob("train/*/*.jpg"))))
    else:
        fake_tfds.write_cifar10(tmp_path, 50, 10)
    bindings = ([f"--gin_bindings=DATA_DIR = '{tmp_path}'"]
                if data.startswith("cifar10") else [])
    name = data if bindings else tmp_path / data
    call(name, *SCRATCH, *bindings, "--dry_run", f"--out={tmp_path}/run")
    assert "training FLOPs per image" in capsys.readouterr().out


@pytest.mark.slow
def test_another_run_is_a_start_too(folder, run, tmp_path, capsys):
    """The classes are the same, and so the head stays, too."""
    call(folder, f"--from={run}", "--epochs=0.1", "--lr=1e-12",
         f"--out={tmp_path}")
    assert checkpoint.steps(str(tmp_path)) == [1]
    assert rows(capsys.readouterr().out)["model"].startswith(
        f"that of {run}, ")
    assert config.bound("checkpoint.from_run.reset_head") is False
    before, after = (tf.train.load_checkpoint(
        str(path / "checkpoints" / f"ckpt-{step}"))
                     for path, step in ((run, 7), (tmp_path, 1)))
    names = [name for name in before.get_variable_to_shape_map()
             if name.startswith("params/")]
    assert len(names) > 20
    for name in names:
        np.testing.assert_array_equal(before.get_tensor(name),
                                      after.get_tensor(name))

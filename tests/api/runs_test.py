"""Runs from Python: chosen, looked at, trained, continued."""

import json
import os
import threading

import numpy as np
from PIL import Image
import pytest

import tfvit
from tfvit import config

BINDINGS = [f"experiment.Experiment.{name} = {value}" for name, value in {
    "total_steps": 4, "eval_every": 4, "log_every": 2, "checkpoint_every": 2,
    "batch_size": 8}.items()] + ["schedules.cosine.warmup_steps = 1"]


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """A folder of 2 classes of 12 images."""
    root = tmp_path_factory.mktemp("flowers")
    rng = np.random.default_rng(0)
    for name, base in (("rose", 40), ("tulip", 180)):
        (root / name).mkdir()
        for i in range(12):
            pixels = rng.integers(0, 60, [20, 20, 3], np.uint8) + base
            Image.fromarray(pixels.astype(np.uint8)).save(
                root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def trained(flowers, tmp_path_factory):
    told = []
    out = str(tmp_path_factory.mktemp("runs") / "flowers")
    recipe = tfvit.plan(flowers, model="tiny", weights="none", image_size=16,
                        out=out, bindings=BINDINGS)
    run = recipe.train(on_metrics=lambda *report: told.append(report))
    return recipe, run, told


def test_plan_says_what_it_chose(trained):
    summary = trained[0].summary
    assert "2: rose, tulip" in summary and "tiny" in summary
    assert trained[0].cost()["parameters"] > 5_000


def test_a_batch_is_what_the_step_sees(trained):
    batch = trained[0].batch()
    assert batch["images"].shape == (8, 16, 16, 3)
    assert batch["images"].dtype == np.float32
    assert -1 <= batch["images"].min() < batch["images"].max() <= 1
    assert set(batch["labels"]) <= {0, 1}
    again, later = trained[0].batch(), trained[0].batch(1)
    np.testing.assert_array_equal(batch["images"], again["images"])
    assert np.any(batch["images"] != later["images"])


def test_what_is_told_is_what_is_written(trained):
    _, run, told = trained
    assert [step for step, _ in told] == [2, 4]
    assert [row["step"] for row in run.history] == [2, 4]
    assert "train/loss" in told[0][1] and "val/accuracy" in told[1][1]
    for (_, values), row in zip(told, run.history):
        for name, value in values.items():
            assert row[name] == value
    assert run.metrics["val/accuracy"] == told[1][1]["val/accuracy"]


def test_evaluate_gives_what_training_measured(trained):
    _, run, _ = trained
    values = run.evaluate()["val"]
    assert values["accuracy"] == run.metrics["val/accuracy"]
    np.testing.assert_allclose(values["loss"], run.metrics["val/loss"],
                               rtol=1e-5)
    assert run.evaluate(only="val") == {"val": values}
    with pytest.raises(ValueError, match="'x'.* names no evaluator .* has val"):
        run.evaluate(only=["x"])


def test_a_run_is_a_model(trained, flowers, tmp_path):
    _, run, _ = trained
    model = run.model("best")
    assert model.class_names == run.class_names == ["rose", "tulip"]
    (answer,) = model.predict(flowers / "rose" / "0.png")
    assert {name for name, _ in answer} == {"rose", "tulip"}
    np.testing.assert_allclose(sum(score for _, score in answer), 1, rtol=1e-5)
    folder = run.export(tmp_path / "out", warmup=())
    assert os.path.exists(os.path.join(folder, "saved_model.pb"))


def test_training_again_continues_and_another_config_is_refused(
        trained, flowers):
    recipe, run, _ = trained
    assert recipe.train().history == run.history
    other = tfvit.plan(flowers, model="tiny", weights="none", image_size=16,
                       out=run.workdir, bindings=[
                           *BINDINGS, "experiment.Experiment.seed = 5"])
    with pytest.raises(ValueError, match="(?s)seed.*workdir"):
        other.train()


def test_a_thread_trains_as_well(trained, tmp_path):
    recipe, run, _ = trained
    found = []
    thread = threading.Thread(
        target=lambda: found.append(recipe.train(tmp_path / "again")))
    thread.start()
    thread.join()
    losses = [row["train/loss"] for row in run.history]
    assert [row["train/loss"] for row in found[0].history] == losses
    assert not config.text().strip()


def test_gin_files_as_train_reads_them(tmp_path):
    recipe = tfvit.recipe("gin/digits.gin",
                          "experiment.Experiment.seed = 3")
    assert recipe.experiment.seed == 3
    assert recipe.workdir == os.path.join("runs", "digits")
    for call, said in (
            (lambda: tfvit.recipe([]), "needs a gin file"),
            (lambda: tfvit.recipe("gin/digit.gin"), "does not exist"),
            (lambda: tfvit.plan(tmp_path, epoch=3), "takes no epoch, only"),
            (lambda: tfvit.Run(tmp_path), "config.gin")):
        with pytest.raises((ValueError, OSError), match=said):
            call()


def test_plan_takes_numpys_numbers_and_speaks_of_arguments(flowers):
    recipe = tfvit.plan(
        flowers, model="tiny", weights="none", image_size=np.int64(16),
        lr=np.float32(0.5), bindings=[*BINDINGS,
                                      "experiment.Experiment.accum_steps = 1"])
    assert "optim.adamw.lr = 0.5" in recipe.config
    assert "--" not in recipe.summary and "image_size" in recipe.summary
    for wishes, kind, said in (
            ({"lr": "x"}, TypeError, "lr='x' must be a number"),
            ({"image_size": 0}, ValueError, "^image_size=0 must be above 0"),
            ({"batch_size": 10**9}, ValueError, "more than the 2. images"),
            ({"model": "b17"}, ValueError, "^model='b17' is no model"),
            ({"model": "tiny", "weights": None}, ValueError,
             "model='tiny' has no published weights: add weights='none'"),
            ({"model": "h14", "weights": "augreg"}, ValueError,
             "there is one in imagenet21k"),
            ({"overrides": ()}, ValueError, "takes no overrides, only"),
            ({"bindings": 3}, TypeError, "bindings=3 must be")):
        with pytest.raises(kind, match=said):
            tfvit.plan(flowers, **{"model": "tiny", "weights": "none",
                                   **wishes})
    with pytest.raises(ValueError, match="^data='nowhere/x.csv' does not exist"):
        tfvit.plan("nowhere/x.csv", model="tiny", weights="none")


def test_what_train_and_batch_are_told_wrongly(trained):
    recipe, _, _ = trained
    with pytest.raises(ValueError, match="step=-1 must be"):
        recipe.batch(-1)
    with pytest.raises(TypeError, match="on_metrics=3 must be a function"):
        recipe.train(on_metrics=3)
    with pytest.raises(TypeError, match="workdir=3 must be a path"):
        recipe.train(3)


@pytest.mark.parametrize("line", [b"{\n", b"[1]\n", b'{"a": 1}\n', b"\xff\n"])
def test_a_line_that_is_none_of_metrics_is_named(trained, tmp_path, line):
    _, run, _ = trained
    with open(os.path.join(run.workdir, "config.gin"), "rb") as f:
        (tmp_path / "config.gin").write_bytes(f.read())
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line)
    with pytest.raises(ValueError, match="metrics.jsonl:2 is no line of"):
        tfvit.Run(tmp_path).history  # pylint: disable=expression-not-assigned


def test_history_reads_a_line_that_is_being_written(trained, tmp_path):
    _, run, _ = trained
    half = tmp_path / "half"
    half.mkdir()
    for name in ("config.gin", "metrics.jsonl"):
        with open(os.path.join(run.workdir, name), encoding="utf-8") as f:
            (half / name).write_text(f.read())
    with open(half / "metrics.jsonl", "a", encoding="utf-8") as f:
        f.write(json.dumps({"step": 5})[:-2])
    assert tfvit.Run(half).history == run.history

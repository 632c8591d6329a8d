"""Run files parse, and presets and some runs train, at toy size by bindings.

Configs that differ in numbers and strings alone are trained once; a setting of
0 is another thing, because it switches something off.
"""

import pathlib
import re
from unittest import mock

import gin
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets

from tfvit import config
from tfvit import experiment
from tfvit import trainer
from tfvit.data.datasets import sources
from tfvit.engine import build
from tfvit.weights import load
from tfvit.weights import npz

ROOT = pathlib.Path(__file__).parents[2]
RUNS = sorted(path.stem for path in (ROOT / "gin").glob("*.gin")
              if path.stem != "base")
PRESETS = sorted(path.stem for path in (ROOT / "gin/recipes").glob("aug_*.gin"))
OVERRIDES = 12

ALWAYS = {
    "experiment.Experiment.total_steps": 3,
    "experiment.Experiment.batch_size": 4,
    "experiment.Experiment.log_every": 1,
    "experiment.Experiment.eval_every": 3,
    "experiment.Experiment.checkpoint_every": 3,
    "experiment.Experiment.precision": "'float32'",
    "IMAGE_SIZE": 32,
    "NUM_CLASSES": 10,
}
# Where the run binds them.
BOUND = {
    "vit.vit.width": 8, "vit.vit.depth": 1, "vit.vit.num_heads": 2,
    "vit.vit.mlp_dim": 8, "vit.vit.representation_size": 8,
    "vit.vit.patch_size": 16, "resnet.resnet_stem.blocks": (1, 1),
    "mixer.mixer.width": 8, "mixer.mixer.depth": 1,
    "mixer.mixer.tokens_mlp_dim": 8, "mixer.mixer.channels_mlp_dim": 8,
    "mixer.mixer.patch_size": 16, "schedules.cosine.warmup_steps": 1,
    "schedules.linear.warmup_steps": 1, "ops.resize_small.smaller_size": 36,
    "classification.Classification.batch_size": 4,
    "a/classification.Classification.classes": list(range(10)),
    "r/classification.Classification.classes": list(range(10)),
    "experiment.Experiment.accum_steps": 2,
    "experiment.Experiment.steps_per_call": 1,
}
# Macros that a run leaves to the command line.
MACROS = {"CAPTIONS": "'pairs.csv'"}
trained = {}  # Toy config without numbers and strings -> its losses.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten folders of ten images each."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for i in range(100):
        path = root / f"class{i % 10}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = random.integers(0, 256, [40, 48, 3]).astype(np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    return root


@pytest.fixture(autouse=True)
def nothing_to_download(monkeypatch, folder, tmp_path):
    """TFDS datasets are the folder, published checkpoints leave models alone."""
    read = sources.folder(path=str(folder), split="train[:100%]")
    monkeypatch.setattr(sources, "tensorflow_datasets",
                        mock.MagicMock(spec=tensorflow_datasets))
    builder = sources.tensorflow_datasets.builder.return_value
    builder.info.features = {"real_label": mock.MagicMock(names=["a"])}
    monkeypatch.setattr(sources.builders, "class_names",
                        lambda *_: read.class_names)
    monkeypatch.setattr(sources.builders, "check_split", lambda *_: None)
    monkeypatch.setattr(sources.builders, "read", lambda *_, **__: read)
    file = str(tmp_path / "x.npz")
    npz.save(file, {"head/bias": np.zeros(1)})
    monkeypatch.setattr(load.fetch, "resolve", lambda _: file)
    monkeypatch.setattr(load.augreg, "recommended", lambda *_: "x")
    monkeypatch.setattr(load.augreg, "read_index", lambda: None)
    monkeypatch.setattr(load, "_plan", lambda *_: {})
    for name in ("_assign", "_log"):
        monkeypatch.setattr(load, name, lambda *_: None)
    monkeypatch.setitem(MACROS, "FOLDER", repr(str(folder)))


def toy(files):
    """Parses gin files at toy size; returns the config as text."""
    macros = {k: v for k, v in MACROS.items() if k in _words(files)}
    always = {**ALWAYS, **macros}
    text = config.parse(files, _bindings(always))
    bound = {name: value for name, value in BOUND.items()
             if re.search(rf"^{re.escape(name)} = ", text, re.MULTILINE)}
    if "resnet.resnet_stem.blocks" in bound:
        bound["vit.vit.patch_size"] = 1
    return config.parse(files, _bindings({**always, **bound}))


def _bindings(values):
    return [f"{name} = {value}" for name, value in values.items()]


def _words(files):
    """All text of gin files and what they include."""
    texts = [(ROOT / file).read_text() for file in files]
    included = re.findall(r"^include '(.*)'", "\n".join(texts), re.MULTILINE)
    return "\n".join(texts) + (_words(included) if included else "")


def train(files, workdir):
    """Losses of three steps of a run at toy size."""
    text = toy(files)
    shape = re.sub(r"'[^'\n]*'|\b(?!0(\.0)?\n)[\d.e+-]+\b", "_", re.sub(
        r"^#.*\n", "", text, flags=re.MULTILINE))
    if shape not in trained:
        exp = gin.get_configurable(experiment.Experiment)()
        trainer.train(exp, str(workdir))
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        trained[shape] = [float(x) for x in re.findall(
            r'"train/loss": ([\d.e+-]+)', "\n".join(lines))]
    return trained[shape]


# Not all: each takes up to 40 s.
TRAINED = ("augreg_b16_imagenet21k", "b16_cifar10", "folder",
           "gsam_mixer_s32_imagenet2012", "sam_s16_imagenet2012",
           "vit_b16_imagenet2012", "vit_b16_imagenet21k",
           "plain_s16_imagenet2012_90ep")


@pytest.mark.slow
@pytest.mark.parametrize("run", TRAINED)
def test_a_run_trains(run, tmp_path):
    losses = train([f"gin/{run}.gin"], tmp_path)
    assert len(losses) == 3 and np.isfinite(losses).all()


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_with_any_run(preset, tmp_path):
    losses = train(["gin/augreg_ti16_imagenet2012.gin",
                    f"gin/recipes/{preset}.gin"], tmp_path)
    assert len(losses) == 3 and np.isfinite(losses).all()


@pytest.mark.slow
def test_a_task_of_vtab_trains_with_the_recipe(tmp_path, monkeypatch):
    monkeypatch.setitem(MACROS, "AUGREG", "'Ti_16'")
    losses = train(["gin/recipes/augreg.gin", "gin/data/vtab/clevr_count.gin"],
                   tmp_path)
    assert len(losses) == 3 and np.isfinite(losses).all()


@pytest.mark.slow
@pytest.mark.parametrize("file, expected", [
    ("fewshot", {"fewshot/1shot", "fewshot/5shot"}),
    ("imagenet2012_variants", {f"{split}/accuracy" for split in (
        "val", "test", "v2", "real", "a", "r")}),
])
def test_evaluators_score_a_run(file, expected, monkeypatch):
    monkeypatch.setitem(MACROS, "FEWSHOT_RESIZE", 36)
    toy(["gin/plain_s16_imagenet2012_90ep.gin", f"gin/evaluators/{file}.gin"])
    exp = gin.get_configurable(experiment.Experiment)()
    scores = build.build(exp, training=False).evaluate()
    assert expected <= scores.keys()
    assert all(0 <= scores[name] <= 1 for name in expected)


def test_mixing_is_chosen_on_the_command_line():
    config.parse(["gin/digits.gin"], [
        "experiment.Experiment.mix = @mixup.one_of",
        "mixup.one_of.mixes = [@mixup.mixup, @mixup.cutmix]",
        "mixup.mixup.alpha = 0.2", "mixup.cutmix.alpha = 1.0"
    ])
    mix = gin.get_configurable(experiment.Experiment)().mix
    batch = {"images": tf.zeros([2, 4, 4, 3]), "labels": tf.eye(2)}
    labels = np.stack([mix(batch, [i, 0])["labels"] for i in range(9)])
    np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-6)
    assert len(np.unique(labels)) > 9


def test_sources_are_combined_on_the_command_line(folder):
    config.parse(["gin/folder.gin"], [
        f"FOLDER = '{folder}'", "NUM_CLASSES = 10",
        "experiment.Experiment.train_source = @combine.mixture",
        "combine.mixture.sources = [@train/sources.folder, @combine.in_memory]",
        "combine.mixture.weights = [2, 1]",
        "combine.in_memory.source = @train/sources.folder"
    ])
    source = gin.get_configurable(experiment.Experiment)().train_source()
    alone = sources.folder(path=str(folder), split="train[:90%]")
    assert source.num_examples == 3 * alone.num_examples
    assert source.class_names == alone.class_names


@pytest.mark.parametrize("run", RUNS)
def test_every_run_parses(run):
    toy([f"gin/{run}.gin"])


@pytest.mark.parametrize("run", RUNS)
def test_a_run_says_how_to_run_it_and_what_to_expect(run):
    text = (ROOT / f"gin/{run}.gin").read_text()
    header, body = re.split(r"^(?=include )", text, maxsplit=1, flags=re.M)
    assert f"python -m tfvit.train --gin_file=gin/{run}.gin" in header
    if run != "folder":  # Of unknown images nothing can be expected.
        assert "# Expected: " in header
    assert max(map(len, header.splitlines())) <= 80
    if run not in ("digits", "lit_shapes"):  # They include no recipe.
        assert len(re.findall(r"^[\w./]+ = ", body, re.MULTILINE)) <= OVERRIDES
    first = re.search(r"^[\w./]+ = ", body, re.MULTILINE)
    assert not first or "include" not in body[first.start():]

"""The published fine-tuning runs, from the gin file to the trained model."""

import json
import os
import subprocess
import sys

import gin
import numpy as np
import pytest

from tests.data.datasets import fake_tfds
from tfvit import config
from tfvit import experiment
from tfvit import trainer
from tfvit.models import vit
from tfvit.weights import augreg
from tfvit.weights import names
from tfvit.weights import npz

SIZES = {"patch_size": 8, "width": 32, "depth": 1, "num_heads": 2, "mlp_dim": 64}
STEM = "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
SMALL = [
    *(f"vit.vit.{name} = {value}" for name, value in SIZES.items()),
    "IMAGE_SIZE = 24",
    "experiment.Experiment.total_steps = 40",
    "experiment.Experiment.batch_size = 16",
    "experiment.Experiment.accum_steps = 2",
    "experiment.Experiment.eval_every = 20",
    "experiment.Experiment.checkpoint_every = 20",
    "schedules.cosine.warmup_steps = 5",
    "classification.Classification.batch_size = 10",
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """CIFAR-10 in miniature, as TFDS leaves it on disk."""
    folder = tmp_path_factory.mktemp("tfds")
    fake_tfds.write_cifar10(folder, num_train=100, num_test=20)
    return f"DATA_DIR = '{folder}'"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A download cache with a 21-class ViT trained on 4 x 4 patches."""
    rng = np.random.default_rng(0)
    model = vit.vit(num_classes=21, image_size=32, representation_size=32,
                    **SIZES)
    tree = {names.of(v): v.numpy() for v in model.weights}
    tree["Transformer/posembed_input/pos_embedding"] = rng.normal(
        0, 0.02, [1, 17, 32]).astype(np.float32)
    folder = tmp_path_factory.mktemp("cache")
    npz.save(folder / "vit_models" / "imagenet21k" / "ViT-B_16.npz", tree)
    no_pre_logits = {k: v for k, v in tree.items() if "pre_logits" not in k}
    npz.save(folder / "vit_models" / "augreg" / f"{STEM}.npz", no_pre_logits)
    columns = (*augreg.STRINGS, *augreg.INTEGERS, *augreg.FLOATS)
    row = dict.fromkeys(columns, "") | {
        "ds": "i21k", "filename": STEM, "final_val": "0.3"}
    (folder / "vit_models" / "augreg" / "index.csv").write_text(
        ",".join(columns) + "\n" + ",".join(row.values()) + "\n")
    return str(folder)


def train(file, bindings, workdir):
    config.parse([file], [*SMALL, *bindings])
    result = trainer.train(gin.get_configurable(experiment.Experiment)(),
                           str(workdir))
    with open(workdir / "metrics.jsonl", encoding="utf-8") as lines:
        lines = map(json.loads, lines)
        losses = [line["train/loss"] for line in lines if "train/loss" in line]
    return result, losses


@pytest.mark.parametrize("file, bindings", [
    ("gin/b16_cifar10.gin", ["optim.sgd.lr = 0.1"]),
    ("gin/augreg.gin", ["optim.sgd.lr = 0.1", "AUGREG = 'Ti_16'"]),
])
def test_a_run_starts_from_the_published_file_and_learns(
        file, bindings, data_dir, cache, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="absl")
    monkeypatch.setenv("TFVIT_CACHE", cache)
    result, losses = train(file, [data_dir, *bindings], tmp_path)
    assert "pos_embedding (1, 17, 32) to (1, 10, 32)" in caplog.text
    assert losses[-1] < 0.8 * losses[0]
    assert result["test"]["examples"] == 20
    assert result["val"]["examples"] == 2
    # Started again, it finds that it is done.
    assert train(file, [data_dir, *bindings], tmp_path)[0] == result


def run(tmp_path, *bindings):
    environment = {
        **os.environ, "TFVIT_CACHE": str(tmp_path / "cache"),
        # No name is looked up, so that it fails the same with a network.
        "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9",
        "TFDS_DATA_DIR": str(tmp_path / "data")}
    return subprocess.run(
        [sys.executable, "-m", "tfvit.train", "--gin_file=gin/b16_cifar10.gin",
         f"--workdir={tmp_path}/run",
         *(f"--gin_bindings={b}" for b in (*SMALL, *bindings))],
        cwd=config.ROOT, env=environment, capture_output=True, text=True,
        check=False)


def test_without_weights_one_sentence_says_where_to_put_them(
        data_dir, tmp_path):
    result = run(tmp_path, data_dir)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "Could not download gs://vit_models/imagenet21k/ViT-B_16.npz" in last
    assert (f"put the file at {tmp_path}/cache/vit_models/imagenet21k/"
            "ViT-B_16.npz") in last
    assert "Traceback" not in result.stderr


def test_without_data_one_sentence_says_how_to_get_it(tmp_path):
    result = run(tmp_path)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "cifar10" in last and f"{tmp_path}/data" in last
    assert "Traceback" not in result.stderr

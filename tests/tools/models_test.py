"""The list of models against the original's parameters and timm's counts."""

import gzip
import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

from tfvit import config
from tfvit.weights import augreg
from tfvit.weights import catalogue
from tfvit.weights import fetch
from tools import measured
from tools import models

ROOT = pathlib.Path(config.ROOT)
# timm's results/benchmark-infer-amp-nchw-pt113-cu117-rtx3090.csv, infer_gmacs.
TIMM = {
    ("b8", "224"): 78.22, ("b16", "224"): 17.58, ("l16", "224"): 61.6,
    ("h14", "224"): 167.4, ("mixer_l16", "224"): 44.6,
    ("r50_l32", "224"): 19.58, ("s16", "384"): 15.52, ("b16", "384"): 55.54,
    ("l32", "384"): 45.31, ("l16", "384"): 191.21, ("r26_s32", "384"): 10.43,
    ("r50_l32", "384"): 57.43, ("r50_b16", "384"): 67.43,
}
# The README of vision_transformer, the model card of LiT, and table 1 of arXiv
# 2203.08065.
PUBLISHED = {
    "l16": 0.8559, "b16": 0.8549, "s16": 0.8373, "r50_l32": 0.8599,
    "r26_s32": 0.8385, "ti16": 0.7822, "b32": 0.8359, "s32": 0.7958,
    "r_ti16": 0.7540, "b8": 0.8558, "r50_b16": 0.8508, "l32": 0.8189,
    "lit_b16b": 0.721, "lit_b16b_2": 0.739, "lit_l16l": 0.757,
    "s32_gap": 0.738, "b32_gap": 0.768, "b16_gap": 0.810, "mixer_s32": 0.686,
    "mixer_s16": 0.750, "mixer_s8": 0.768, "mixer_b32": 0.736,
    "mixer_b16": 0.778, "s16_gap": 0.800,
}


@pytest.fixture(scope="module")
def rows():
    return {row["name"]: row for row in models.rows()}


def test_every_model_is_listed_with_its_cost(rows):
    files = {path.stem for path in (ROOT / "gin" / "models").glob("*.gin")}
    assert rows.keys() == files
    with open(measured.FILE, encoding="utf-8") as f:
        assert json.load(f).keys() == files
    for row in rows.values():
        one_size = row["name"].startswith(("lit_", "mixer_"))
        assert list(row["cost"]) == ["224", *["384"] * (not one_size)]


def test_parameters_are_those_of_the_original(rows):
    path = ROOT / "tests" / "goldens" / "param_inventory.json.gz"
    seen = set()
    for name, shapes in json.loads(gzip.decompress(path.read_bytes())).items():
        if name.startswith(("_", "testing")):
            continue
        collection = ("lit" if name.startswith("LiT") else
                      "gsam" if name.endswith("-gap-norep") else "imagenet21k")
        stem = catalogue.model(f"{collection}/"
                               f"{name.removesuffix('-gap-norep')}")
        assert rows[stem]["parameters"] == sum(map(math.prod, shapes.values()))
        seen.add(stem)
    assert len(seen) == 26


@pytest.mark.parametrize("name, size", TIMM)
def test_multiplications_are_those_that_timm_counts(rows, name, size):
    counted = rows[name]["cost"][size]["gmacs"]
    # timm counts what normalization does, too: more where a ResNet is.
    share = 0.02 if name.startswith("r") else 0.01
    assert counted <= TIMM[name, size]
    assert counted == pytest.approx(TIMM[name, size], rel=share)


@pytest.mark.parametrize("name", ["tiny", "mixer_s32"])
def test_the_table_is_what_a_dry_run_says(rows, name):
    assert measured.cost(name, 224) == rows[name]["cost"]["224"]


def test_accuracies_are_the_published_ones(rows):
    found = {name: row["imagenet_accuracy"] for name, row in rows.items()
             if row["imagenet_accuracy"] and name != "mixer_l16"}
    assert found == PUBLISHED
    assert all(row["accuracy_source"] for row in rows.values()
               if row["imagenet_accuracy"])


def test_every_checkpoint_belongs_to_a_model_and_has_a_place(rows):
    listed = [name for row in rows.values() for name in row["checkpoints"]]
    assert sorted(listed) == sorted(catalogue.names())
    for name in listed:
        assert fetch.catalogue_url(name).endswith(f"{name}.npz")
        if name.startswith("augreg/"):
            stem = catalogue.model(name)
            assert augreg.gin_model(name.split("/")[1]) == (
                f"gin/models/{stem}.gin")
    assert set(catalogue.FILES) - {"big_vision"} == set(fetch.COLLECTIONS)


@pytest.mark.parametrize("name, model", [
    ("imagenet21k/R50+ViT-B_16", "r50_b16"), ("augreg/R_Ti_16", "r_ti16"),
    ("imagenet21k+imagenet2012/ViT-L_16-224", "l16"),
    ("gsam/ViT-S_32", "s32_gap"), ("gsam/Mixer-S_8", "mixer_s8"),
    ("lit/LiT-B16B_2", "lit_b16b_2"), ("sam/ViT-S_16", "s16")])
def test_a_checkpoint_is_of_its_model(name, model):
    assert catalogue.model(name) == model


def test_a_table_fits_the_terminal_and_one_model_is_told_wholly(
        rows, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    lines = list(models.table(list(rows.values())))
    assert max(map(len, lines)) <= 90 and len(lines) > len(rows)
    text = "\n".join(models.details(rows["b16"]))
    for part in ("86,567,656", "17.56 GMACs", "0.8549", "augreg/B_16",
                 "imagenet21k+imagenet2012/ViT-B_16-224"):
        assert part in text


def test_the_lists_import_no_tensorflow():
    code = ("import sys; from tools import bindings, data, models, recipes, "
            "results; sys.exit('tensorflow' in sys.modules)")
    assert subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0

"""Tests for the tools that look at, import and export weights."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tfvit import config
from tfvit.models import vit
from tfvit.weights import augreg
from tfvit.weights import load
from tfvit.weights import names
from tfvit.weights import npz
from tools import augreg as augreg_tool
from tools import inspect_npz

ROOT = config.ROOT
STEM = "R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0"

TINY_RUN = """
from __gin__ import dynamic_registration
include 'gin/models/tiny.gin'
include 'gin/recipes/finetune.gin'
from tfvit import experiment
from tfvit.data.datasets import sources
from tfvit.optimize import schedules

schedules.cosine.warmup_steps = 10
experiment.Experiment.train_source = @sources.digits
experiment.Experiment.evaluators = {}
experiment.Experiment.total_steps = 100
NUM_CLASSES = 10
IMAGE_SIZE = 32
"""


def run_tool(*arguments):
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT,
                          capture_output=True, text=True, check=False)


def test_inspect_lists_names_shapes_and_where_they_come_from(tmp_path):
    path = str(tmp_path / "x.npz")
    block = "Transformer/encoderblock_0/LayerNorm_{}/scale"
    npz.save(path, {
        "params/" + block.format(1): np.full(4, 2.0, np.float32),
        "opt/step": np.array(3)
    })
    lines = list(inspect_npz.report(path, stats=True))
    assert lines[1:] == [
        "ViT, depth 1", "1 arrays of 4 numbers", "1 other arrays, left out",
        f"{block.format(2)} [4] float32 mean 2 std 0 "
        f"<- params/{block.format(1)}"
    ]


def test_inspect_points_at_numbers_that_are_none(tmp_path):
    path = str(tmp_path / "x.npz")
    npz.save(path, {"head/bias": np.array([np.nan, 1.0])})
    assert "1 NOT FINITE" in list(inspect_npz.report(path, stats=True))[-1]


def test_inspect_compares_a_file_with_a_model(tmp_path):
    sizes = {"image_size": 16, "patch_size": 8, "width": 8, "depth": 1,
             "num_heads": 2, "mlp_dim": 16}
    path = str(tmp_path / "x.npz")
    load.to_npz(vit.vit(num_classes=3, representation_size=4, **sizes), path)
    model = vit.vit(num_classes=5, **sizes | {"image_size": 24})
    lines = list(inspect_npz.compare(path, model))
    assert lines[2:-1] == [
        " ! Transformer/posembed_input/pos_embedding (1, 5, 8) in the file, "
        "(1, 10, 8) in the model",
        " ! head/bias (3,) in the file, (5,) in the model",
        " ! head/kernel (4, 3) in the file, (8, 5) in the model",
        " + pre_logits/bias (4,), only in the file",
        " + pre_logits/kernel (8, 4), only in the file",
        "21 arrays have the same name and shape",
        "Fine-tuning from it (load.from_npz.reset_head = True): works",
    ]
    assert lines[-1].startswith("As it is (load.from_npz.reset_head = False): "
                                "does not work, missing in the file (-)")


@pytest.fixture(scope="module")
def rows():
    columns = (*augreg.STRINGS, *augreg.INTEGERS, *augreg.FLOATS)
    row = dict.fromkeys(columns)
    return [
        row | {"name": name, "filename": file, "adapt_filename": f"{file}--{i}",
               "adapt_resolution": size, "final_val": val, "params": params,
               "infer_samples_per_sec": 100.0}
        for i, (name, file, size, val, params) in enumerate([
            ("B/16", "b", 224, 0.4, 86.0), ("B/16", "b", 384, 0.4, 86.0),
            ("L/16", "l", 384, 0.5, 304.0), ("Ti/16", "t", 384, None, 6.0)])
    ]


@pytest.mark.parametrize("where, sort, expected", [
    ([], "final_val", ["l", "b", "b"]),
    ([], "-params", ["t", "b", "b", "l"]),
    (["adapt_resolution=384", "name=B/16"], "params", ["b"]),
])
def test_rows_are_filtered_and_sorted(rows, where, sort, expected):
    found = augreg_tool.select(rows, where, sort)
    assert [row["filename"] for row in found] == expected


def test_a_pre_trained_file_is_listed_once(rows):
    found = augreg_tool.upstream(rows)
    assert [row["filename"] for row in found] == ["b", "l", "t"]


def test_an_unknown_column_is_an_error(rows):
    with pytest.raises(ValueError, match="'size'; there are: name"):
        augreg_tool.select(rows, ["size=B"], "params")


def test_a_plot_is_drawn(rows, tmp_path):
    path = tmp_path / "plot.png"
    augreg_tool.plot(rows, str(path), "final_val")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_fine_tuned_name_explains_and_repeats_itself():
    lines = list(augreg_tool.explain(
        f"{STEM}--oxford_iiit_pet-steps_2k-lr_0.003-res_384.npz"))
    assert "on ImageNet-21k for 300 epochs" in lines[0]
    assert "for 2500 steps of 512 images of 384 px" in lines[1]
    for part in ("gin/models/r26_s32.gin", "gin/data/oxford_iiit_pet.gin",
                 f"from_npz.path='augreg/{STEM}'\"", "optim.sgd.lr=0.003",
                 "total_steps=2500", "warmup_steps=500", "IMAGE_SIZE=384"):
        assert part in lines[-1]


@pytest.mark.parametrize("model", [
    "Ti_16", "S_32", "S_16", "B_32", "B_16", "B_8", "L_16", "R_Ti_16",
    "R26_S_32", "R50_L_32"])
def test_every_augreg_architecture_has_its_gin_file(model):
    text = augreg_tool.command(augreg.parse(STEM.replace("R26_S_32", model)))
    file = next(word for word in text.split() if "gin/models" in word)
    assert os.path.exists(os.path.join(ROOT, file.removeprefix("--gin_file=")))


@pytest.mark.slow
def test_a_file_imported_and_exported_again_is_the_same(tmp_path):
    gin_file, workdir = tmp_path / "tiny.gin", tmp_path / "run"
    before, after = str(tmp_path / "a.npz"), str(tmp_path / "b.npz")
    gin_file.write_text(TINY_RUN)
    model = vit.vit(num_classes=10, image_size=32, patch_size=8, width=16,
                    depth=2, num_heads=2, mlp_dim=32)
    rng = np.random.default_rng(0)
    npz.save(before, {names.of(v): rng.normal(size=v.shape).astype(np.float32)
                      for v in model.weights})
    imported = run_tool("tools.import_jax", f"--gin_file={gin_file}",
                        f"--npz={before}", f"--workdir={workdir}")
    assert imported.returncode == 0, imported.stderr
    exported = run_tool("tools.export_npz", f"--workdir={workdir}",
                        f"--output={after}")
    assert exported.returncode == 0, exported.stderr
    with open(before, "rb") as a, open(after, "rb") as b:
        a, b = a.read(), b.read()
        # All of it but what the zip's comment says: image size and grid.
        end = b.rfind(b"PK\5\6") + 20  # Of the record before the comment.
        assert a[:end] == b[:end] and b'"image_size"' in b[end:]

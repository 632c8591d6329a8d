"""Class names, link and pixels go with a file, not its number of classes."""

import json
import logging as std_logging

from absl import flags
from absl.testing import flagsaver
from numpy import testing
import numpy as np
import pytest
import tensorflow as tf

from tests.serving import samples
from tfvit import experiment
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.inference import finished
from tfvit.inference import naming
from tfvit.models import vit
from tfvit.weights import fetch
from tfvit.weights import load
from tfvit.weights import npz
from tfvit.weights import sidecar
from tools import export_npz

# As far as only the head and the input decide on anything.
ENCODER = {"image_size": 32, "patch_size": 16, "width": 192, "depth": 12,
           "num_heads": 3, "mlp_dim": 768}
RUN = """
from __gin__ import dynamic_registration
include 'gin/models/tiny.gin'
include 'gin/recipes/published.gin'
from tfvit import experiment
from tfvit.data.images import ops
from tfvit.models import vit
from tfvit.optimize import losses
from tfvit.weights import load
vit.vit.num_heads = 4
NUM_CLASSES = 3
experiment.Experiment.total_steps = 1_000
IMAGE_SIZE = (32, 48)
experiment.Experiment.loss = @losses.sigmoid_xent
experiment.Experiment.init = None
ops.value_range.low = 0.0
"""


@pytest.fixture(autouse=True)
def parsed(monkeypatch, tmp_path):
    flags.FLAGS.mark_as_parsed()
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """The arrays of a ViT-Ti/16 but for its head."""
    path = str(tmp_path_factory.mktemp("encoder") / "encoder.npz")
    load.to_npz(vit.vit(num_classes=None, **ENCODER), path)
    with np.load(path) as file:
        return dict(file)


def write(path, arrays, classes):
    path.parent.mkdir(parents=True, exist_ok=True)
    npz.save(str(path), arrays | {
        "head/kernel": np.zeros([192, classes], np.float32),
        "head/bias": np.arange(classes, dtype=np.float32) / classes})
    return str(path)


@pytest.mark.parametrize("classes", [1_000, 21_843])
def test_a_file_of_ones_own_has_no_names_of_imagenet(arrays, tmp_path, caplog,
                                                     classes):
    path = write(tmp_path / "mine.npz", arrays, classes)
    with caplog.at_level(std_logging.WARNING, logger="absl"):
        trained = finished.load(path)
    assert trained.class_names == [str(i) for i in range(classes)]
    assert trained.link == "softmax"
    assert f"{classes} classes whose names are not known" in caplog.text
    assert "--labels=FILE" in caplog.text


def test_a_file_of_the_catalogue_has_them_by_name_and_in_the_cache(
        arrays, tmp_path, monkeypatch):
    path = write(tmp_path / "cache/vit_models/imagenet21k/ViT-Ti_16.npz",
                 arrays, 21_843)
    monkeypatch.setenv("HOME", str(tmp_path))
    at_home = path.replace(str(tmp_path), "~")
    for where in ("imagenet21k/ViT-Ti_16", path, at_home):
        trained = finished.load(where)
        assert trained.class_names[0] == "n00004475 organism, being"
        assert trained.link == "sigmoid"  # arXiv 2010.11929, appendix B.1.
    for name, expected in [
            ("gs://vit_models/augreg/x.npz", True), ("sam/ViT-B_16", True),
            ("https://storage.googleapis.com/vit_models/a.npz", True),
            ("gs://my_vit_models/x.npz", False), ("/data/x.npz", False),
            ("https://example.com/vit_models/x.npz", False)]:
        assert fetch.is_published(name) == expected, name


def test_names_beside_the_file_are_its_own(arrays, tmp_path):
    path = write(tmp_path / "cache/vit_models/imagenet21k/ViT-Ti_16.npz",
                 arrays, 1_000)
    mine = [f"thing {i}" for i in range(1_000)]
    sidecar.write(path, {"class_names": mine})
    assert finished.load(path).class_names == mine
    sidecar.write(path, {"class_names": mine[1:]})
    with pytest.raises(ValueError, match="Ti_16.json names 999 classes, the "
                       "model of .* has 1000"):
        finished.load(path)


@pytest.mark.slow
def test_an_export_says_what_the_run_knew(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    (tmp_path / "run.gin").write_text(RUN)
    exp, text = experiment.from_config([str(tmp_path / "run.gin")])
    (workdir / "config.gin").write_text(text)
    (workdir / "labels.txt").write_text("äpfel\nb c\nd\n")
    run = build.build(exp)
    for variable in run.model.weights:
        variable.assign(tf.random.stateless_normal(
            variable.shape, [0, variable.shape.num_elements()], stddev=0.1))
    checkpoints = checkpoint.Checkpoints(str(workdir), run.state, keep=1)
    checkpoints.save()
    checkpoints.wait()
    path = str(tmp_path / "mine.npz")
    with flagsaver.flagsaver(output=path):
        export_npz.main(exp, str(workdir))
    known = json.loads((tmp_path / "mine.json").read_text())
    assert known == {
        "architecture": {
            "vit.vit.depth": 2, "vit.vit.image_size": [32, 48],
            "vit.vit.mlp_dim": 32, "vit.vit.num_classes": 3,
            "vit.vit.num_heads": 4, "vit.vit.patch_size": 8,
            "vit.vit.width": 16},
        "model": "run", "step": 0, "upright": True, "image_size": [32, 48],
        "patch_grid": [4, 6], "link": "sigmoid", "value_range": [0.0, 1.0],
        "class_names": ["äpfel", "b c", "d"],
        "preprocessing": ["decode", "resize", "value_range"]}
    before, after = finished.load(str(workdir)), finished.load(path)
    assert after.class_names == ["äpfel", "b c", "d"]
    assert after.link == "sigmoid"
    found = [trained.server().signatures()["serving_default"](
        image_bytes=tf.constant([samples.encoded()]))["probabilities"]
             for trained in (before, after)]
    testing.assert_array_equal(*found)
    # By hand: sigmoids do not sum to 1.
    assert abs(found[0].numpy().sum() - 1) > 0.01
    names = sorted(np.load(path).files)  # Nothing else is in the file itself.
    assert not [name for name in names if "label" in name or "json" in name]
    # Fine-tuning at another size reads the grid of 4 x 6, too.
    tuned = build.build(experiment.from_config(
        [str(tmp_path / "run.gin")], ["IMAGE_SIZE = (48, 32)"])[0]).model
    load.from_npz(tuned, path=path)
    assert tuned.image_grid == (6, 4)
    # A model's arguments are no way to code of others.
    known["architecture"]["os.system.command"] = "true"
    (tmp_path / "mine.json").write_text(json.dumps(known))
    with pytest.raises(ValueError, match=r"mine.json does not describe .*arch"):
        finished.load(path)


@pytest.mark.parametrize("text, message", [
    ("{", "is no JSON"), ("[1]", "does not describe"),
    ('{"class_names": "abc"}', r"\['class_names'\]"),
    ('{"link": "tanh", "value_range": [0]}', r"\['link', 'value_range'\]"),
])
def test_a_file_beside_it_that_is_none_is_named(tmp_path, text, message):
    (tmp_path / "x.npz").write_bytes(b"")
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=f"x.json.*{message}"):
        sidecar.read(str(tmp_path / "x.npz"))
    assert sidecar.read(str(tmp_path / "y.npz")) == {}
    assert naming.of_file("https://example.com/x.npz", 1_000) is None

"""Gin files: of earlier versions, in buckets, and their short names."""

import collections
import os
import pathlib

import gin
import pytest
import tensorflow as tf

from tfvit import config
from tfvit import experiment
from tfvit.bindings import settable
from tfvit.engine import run_config

OLD = """
from __gin__ import dynamic_registration
from tfvit import distribute
from tfvit import experiment
from tfvit import losses
from tfvit import optim
from tfvit import schedules
from tfvit.data import ops
from tfvit.data import pipeline
from tfvit.data import shapes
from tfvit.data import text
from tfvit.models import text as text_tower

include 'gin/digits.gin'
experiment.Experiment.strategy = @distribute.mirrored
distribute.mirrored.devices = ['CPU:0', 'CPU:1']
experiment.Experiment.loss = @losses.sigmoid_xent
optim.adamw.lr = 0.5
pipeline.train.tokenizer = @text.wordpiece()
text.wordpiece.vocab = @shapes.vocabulary()
text.wordpiece.max_len = 12
text_tower.text_transformer.width = 8
"""


def test_a_gin_file_of_an_earlier_version_is_read(tmp_path):
    (tmp_path / "old.gin").write_text(OLD)
    text = config.parse([str(tmp_path / "old.gin")])
    exp = gin.get_configurable(experiment.Experiment)()
    assert exp.loss.__name__ == "sigmoid_xent"
    for line in ("strategies.mirrored.devices = ['CPU:0', 'CPU:1']",
                 "tokenizers.wordpiece.max_len = 12", "optim.adamw.lr = 0.5",
                 "text_tower.text_transformer.width = 8"):
        assert line in text.splitlines()


@pytest.mark.parametrize("old, new", [
    ("experiment.Experiment.strategy = @distribute.logical_cpus",
     "experiment.Experiment.strategy = @strategies.logical_cpus"),
    ("distribute.multi_worker.communication = 'NCCL'",
     "strategies.multi_worker.communication = 'NCCL'"),
    ("text.wordpiece.vocab = '/data/text.txt'",
     "tokenizers.wordpiece.vocab = '/data/text.txt'"),
])
def test_a_binding_of_an_earlier_version_is_read(old, new):
    assert new in config.parse(["gin/digits.gin"], [old]).splitlines()


def test_a_run_of_an_earlier_version_may_go_on(tmp_path):
    new = config.parse(["gin/digits.gin"])
    old = new.replace("from tfvit.optimize import", "from tfvit import")
    old = old.replace("from tfvit.data.images import", "from tfvit.data import")
    old = old.replace("from tfvit.data.datasets import",
                      "from tfvit.data import")
    assert old.count("from tfvit import") == 4
    (tmp_path / "config.gin").write_text(old)
    run_config.save(new, str(tmp_path), started=True)
    with pytest.raises(ValueError, match="-optim.adamw.lr = 0.002\n"
                       "\\+optim.adamw.lr = 0.1\nTo continue"):
        run_config.save(config.parse(["gin/digits.gin"], ["optim.adamw.lr = 0.1"]),
                    str(tmp_path), started=True)
    assert (tmp_path / "config.gin").read_text() == old


@pytest.mark.parametrize("value", [
    "[@ops.value_range, @ops.decode_and_inception_crop, @ops.flip_lr]",
    "[@ops.decode_and_inception_crop, @ops.value_range, @ops.flip_lr, "
    "@ops.flip_lr]",
])
def test_a_list_in_another_order_is_another_config(value, tmp_path):
    ops = ("[@ops.decode_and_inception_crop, @ops.value_range, @ops.flip_lr]")
    first, other = (
        config.parse(["gin/digits.gin"], [f"pipeline.train.ops = {ops}"])
        for ops in (ops, value))
    assert "\\\n" in first  # A value of several lines.
    run_config.save(first, str(tmp_path), started=False)
    run_config.save(first, str(tmp_path), started=True)
    with pytest.raises(ValueError, match="-pipeline.train.ops = .*\n\\+pip"):
        run_config.save(other, str(tmp_path), started=True)


def test_a_module_of_ones_own_keeps_its_name(tmp_path, monkeypatch):
    (tmp_path / "text.py").write_text("def crop(*, size):\n    return size\n")
    (tmp_path / "own.gin").write_text(
        "from __gin__ import dynamic_registration\nimport text\n"
        "text.crop.size = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "text.crop.size = 4" in config.parse(
        [str(tmp_path / "own.gin")], ["text.crop.size = 4"])


def test_gin_files_may_lie_where_tensorflow_reads():
    for name, text in (("run", "include 'ram://tfvit_gin/part.gin'\n"),
                       ("part", "include 'gin/digits.gin'\nIMAGE_SIZE = 24\n")):
        tf.io.gfile.makedirs("ram://tfvit_gin")
        with tf.io.gfile.GFile(f"ram://tfvit_gin/{name}.gin", "w") as f:
            f.write(text)
    assert "IMAGE_SIZE = 24" in config.parse(["ram://tfvit_gin/run.gin"])


def test_a_run_without_its_config_says_so(tmp_path, caplog):
    caplog.set_level("WARNING", logger="absl")
    run_config.save("a = 1\n", str(tmp_path), started=True)
    assert "config.gin is missing" in caplog.text


def test_short_names_are_of_one_module_each():
    names = collections.Counter(
        path.stem for package in settable.PACKAGES
        for path in (pathlib.Path(config.__file__).parent / package).rglob(
            "*.py") if path.stem != "__init__")
    assert [name for name, count in names.items() if count > 1] == []
    assert names.keys() | {"experiment"} == settable.modules().keys()


def test_a_config_is_found_beside_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert os.listdir() == []
    assert "NUM_CLASSES = 10" in config.parse(["gin/digits.gin"])

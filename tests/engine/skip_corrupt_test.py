"""One switch for all of a run's data, and the advice that names it."""

import dataclasses
import json
import re

import numpy as np
from PIL import Image
import pytest

from tests import toy
from tfvit import experiment
from tfvit import trainer
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.engine import run_config

GIN = """
from __gin__ import dynamic_registration
include 'gin/base.gin'
include 'gin/data/folder.gin'
from tfvit import experiment
from tfvit.data import pipeline
from tfvit.data.datasets import sources
from tfvit.engine import writers
from tfvit.evaluators import classification
from tfvit.evaluators import fewshot
from tfvit.evaluators import multilabel
from tfvit.evaluators import sharpness
from tfvit.models import vit
from tfvit.optimize import losses
from tfvit.optimize import optim
from tfvit.optimize import schedules
from tfvit.data.images import ops

NUM_CLASSES = 2
IMAGE_SIZE = 8
experiment.Experiment.model = @vit.vit
vit.vit.num_classes = %NUM_CLASSES
vit.vit.image_size = %IMAGE_SIZE
vit.vit.patch_size = 4
vit.vit.mlp_dim = 8
vit.vit.width = 8
vit.vit.depth = 1
vit.vit.num_heads = 2
experiment.Experiment.total_steps = 4
experiment.Experiment.batch_size = 4
experiment.Experiment.steps_per_call = 1
experiment.Experiment.log_every = 2
experiment.Experiment.eval_every = 2
experiment.Experiment.checkpoint_every = 2
experiment.Experiment.loss = @losses.softmax_xent
experiment.Experiment.optimizer = @optim.adamw
optim.adamw.lr = 1e-3
optim.adamw.weight_decay = 0.1
optim.adamw.schedule = @schedules.cosine
pipeline.train.ops = [@ops.decode, @ops.resize, @ops.value_range]
classification.Classification.ops = [@ops.decode, @ops.resize, @ops.value_range]
classification.Classification.loss = @losses.softmax_xent
classification.Classification.batch_size = 4
ops.resize.size = %IMAGE_SIZE
experiment.Experiment.writers = [@writers.Jsonl]
schedules.cosine.warmup_steps = 1
"""
EVALUATORS = {
    "classification": "{'e': @val/classification.Classification}",
    "multilabel": """{'e': @multilabel.MultiLabel}
multilabel.MultiLabel.source = @val/sources.folder
multilabel.MultiLabel.ops = [@ops.decode, @ops.resize, @ops.value_range]
multilabel.MultiLabel.batch_size = 4
multilabel.MultiLabel.loss = @losses.sigmoid_xent""",
    "fewshot": """{'e': @fewshot.FewShot}
fewshot.FewShot.train_source = @train/sources.folder
fewshot.FewShot.test_source = @val/sources.folder
fewshot.FewShot.ops = [@ops.decode, @ops.resize, @ops.value_range]
fewshot.FewShot.batch_size = 4""",
    "sharpness": """{'e': @sharpness.Sharpness}
sharpness.Sharpness.source = @val/sources.folder
sharpness.Sharpness.ops = [@ops.decode, @ops.resize, @ops.value_range]
sharpness.Sharpness.batch_size = 4
sharpness.Sharpness.num_batches = None
sharpness.Sharpness.iterations = 1
sharpness.Sharpness.loss = @losses.softmax_xent""",
}


@pytest.fixture
def photos(tmp_path):
    """Makes a folder of two classes with broken files in some splits."""

    def make(*broken):
        random = np.random.default_rng(0)
        for split in ("train", "test"):
            for label in ("cat", "dog"):
                folder = tmp_path / "photos" / split / label
                folder.mkdir(parents=True, exist_ok=True)
                for i in range(6):
                    Image.fromarray(random.integers(
                        0, 256, [8, 8, 3]).astype(np.uint8)).save(
                            folder / f"{i}.png")
            if split in broken:
                (folder / "2.png").write_bytes(b"broken")
        return f"FOLDER = '{tmp_path}/photos'"

    return make


def parse(tmp_path, evaluator, *bindings):
    """(Experiment, its config as text)."""
    (tmp_path / "run.gin").write_text(
        GIN + f"experiment.Experiment.evaluators = {EVALUATORS[evaluator]}\n")
    return experiment.from_config([str(tmp_path / "run.gin")], bindings)


def advised(error):
    """The binding that a message says to give."""
    binding, = re.findall(r'--gin_bindings="([^"]+)"', str(error.value))
    return binding


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_an_evaluators_advice_works(evaluator, photos, tmp_path):
    folder = (photos("test"), "val/sources.folder.split = 'test'")
    with pytest.raises(ValueError, match="Cannot decode .*2.png") as error:
        build.build(parse(tmp_path, evaluator, *folder)[0]).evaluate()
    exp, _ = parse(tmp_path, evaluator, *folder, advised(error))
    result = build.build(exp).evaluate()
    assert (result["e/corrupt"], result["e/examples"]) == (1, 11)


@pytest.mark.slow
def test_the_advice_works_for_a_run_that_goes_on(photos, tmp_path):
    folder = (photos("train", "test"), "val/sources.folder.split = 'test'")
    workdir = tmp_path / "run"

    def train(*bindings):
        exp, text = parse(tmp_path, "classification", *folder, *bindings)
        run_config.save(text, str(workdir), started=checkpoint.steps(workdir))
        return trainer.train(exp, str(workdir))

    with pytest.raises(ValueError, match="Cannot decode .*2.png") as error:
        train("experiment.Experiment.batch_size = 12")
    skipping = advised(error)
    # In training it is as if pipeline.train.skip_corrupt alone were set, until
    # the evaluation meets the other broken file.
    only = "pipeline.train.skip_corrupt = True"
    with pytest.raises(ValueError, match="Cannot decode .*test/dog/2.png"):
        train(only)
    assert train(only, skipping)["e"]["corrupt"] == 1  # No binding is dead.
    lines = [json.loads(line) for line in
             (workdir / "metrics.jsonl").read_text().splitlines()]
    # An epoch is 12 examples, three steps of four.
    assert sum(line.get("train/skipped", 0) for line in lines) in (1, 2)
    assert skipping in (workdir / "config.gin").read_text()
    with pytest.raises(ValueError, match="config differs"):
        train(only, skipping, "experiment.Experiment.batch_size = 2")


def test_what_is_bound_for_one_evaluator_decides_for_it(photos, tmp_path):
    folder = (photos("test"), "val/sources.folder.split = 'test'")
    exp, _ = parse(tmp_path, "classification", *folder,
                   "experiment.Experiment.skip_corrupt = True",
                   "val/classification.Classification.skip_corrupt = False")
    with pytest.raises(ValueError, match="Cannot decode .*2.png"):
        build.build(exp).evaluate()


def test_an_evaluator_of_ones_own_need_not_know_of_it(caplog):

    class Own:

        def __init__(self, name, model, strategy, jit):
            pass

        def run(self, poll):
            return {"x": 1.0}

    exp = dataclasses.replace(toy.EXPERIMENT, skip_corrupt=True,
                              evaluators={"own": Own, "test": toy.EVALUATION})
    with caplog.at_level("WARNING", logger="absl"):
        result = build.build(exp).evaluate()
    assert result["own/x"] == 1 and result["test/corrupt"] == 0
    assert "evaluator 'own' has no argument skip_corrupt" in caplog.text


def test_it_is_true_or_false():
    with pytest.raises(ValueError, match="skip_corrupt='yes' must be True or"):
        dataclasses.replace(toy.EXPERIMENT, skip_corrupt="yes")

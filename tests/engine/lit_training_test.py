"""Runs that train images and texts together, at small size."""

import pathlib

import gin
import numpy as np
import pytest

from tests.data.datasets import fake_tfds
from tfvit import config
from tfvit import experiment
from tfvit import trainer
from tfvit.data.datasets import captions
from tfvit.data.datasets import shapes
from tfvit.engine import build as build_lib
from tfvit.engine import dry_run
from tfvit.weights import towers

ROOT = pathlib.Path(__file__).parents[2]


def build(file, bindings):
    config.parse([file], [f"{k} = {v}" for k, v in bindings.items()])
    return gin.get_configurable(experiment.Experiment)()


def test_held_out_combinations_are_new_but_their_pairs_are_not():
    train, test = (shapes.labelled(split=split, copies=1, size=6)
                   for split in ("train", "test"))
    assert (train.num_examples, test.num_examples) == (270, 54)
    assert not set(train.class_names) & set(test.class_names)

    def pairs(names):
        for name in names:
            colour, shape, place = name.replace(" at the ", " ").split(" ", 2)
            yield from ((colour, shape), (colour, place), (shape, place))

    assert set(pairs(test.class_names)) == set(pairs(train.class_names))


def test_pictures_show_what_their_captions_say():
    source = shapes.captioned(split="test", copies=2)
    seen = set()
    for i, example in enumerate(source.examples()):
        first = example["label"].numpy()[0].decode()
        colour, place = first.split()[1], first.split(" at the ")[1]
        pixels = example["image"].numpy().astype(float)
        # Where it is no grey or, for white, brighter than any background.
        there = (pixels.min(2) > 150 if colour == "white" else
                 pixels.max(2) - pixels.min(2) > 100)
        y, x = (int(np.mean(a)) // 12 for a in np.where(there))
        assert shapes.PLACES[3 * y + x] == place, (i, first)
        seen.add(example["image"].numpy().tobytes())
    assert len(seen) == source.num_examples == 108
    assert captions.most(source) == 3
    words = " ".join(text.decode() for e in source.examples()
                     for text in e["label"].numpy())
    assert set(words.split()) <= set(shapes.vocabulary())
    again = shapes.captioned(split="test", copies=2)
    assert next(iter(again.examples()))["image"].numpy().tobytes() in seen


@pytest.mark.slow
def test_two_towers_from_scratch_name_combinations_never_seen(tmp_path):
    exp = build("gin/lit_shapes.gin", {
        "experiment.Experiment.total_steps": 250,
        "experiment.Experiment.checkpoint_every": 250,
        "train/shapes.captioned.copies": 8,
        "test/shapes.labelled.copies": 4,
        "optim.adamw.lr": 2e-3,
    })
    found = trainer.train(exp, str(tmp_path))
    assert found["zeroshot"]["examples"] == 4 * 54
    assert found["zeroshot"]["accuracy"] > 0.5  # By chance: 1 / 54.
    assert found["retrieval"]["txt2img_recall@5"] > 0.7  # By chance: 5 / 54.
    assert not (tmp_path / "labels.txt").exists()


def test_a_locked_tower_costs_no_memory_and_no_backward_pass(tmp_path):
    free, locked = (
        dry_run.report(build("gin/lit_shapes.gin", {
            "experiment.Experiment.frozen": frozen, "vit.vit.depth": 2,
            "train/shapes.captioned.copies": 1}), str(tmp_path))
        for frozen in (None, "'img/.*'"))
    assert free["parameters"] == locked["parameters"]
    assert locked["memory of optimizer slots"] == (
        8 * locked["trained parameters"])
    assert locked["memory of activations"] < 0.5 * free["memory of activations"]
    assert (locked["training FLOPs per image"] <
            0.6 * free["training FLOPs per image"])


TOY = {
    "experiment.Experiment.total_steps": 4,
    "experiment.Experiment.batch_size": 4,
    "experiment.Experiment.log_every": 2,
    "experiment.Experiment.eval_every": 4,
    "experiment.Experiment.checkpoint_every": 4,
    "experiment.Experiment.accum_steps": 2,
    "schedules.cosine.warmup_steps": 1,
    "ops.resize.size": 32,
    "retrieval.Retrieval.batch_size": 4,
    "tokenizers.wordpiece.vocab": ["[PAD]", "[UNK]", "[CLS]", *map(str, range(60))],
    "lit.lit.out_dim": (None, 8),
    **{f"vit.vit.{k}": v for k, v in dict(
        image_size=32, patch_size=16, width=8, depth=1, num_heads=2,
        mlp_dim=8).items()},
    **{f"bert.bert.{k}": v for k, v in dict(
        vocab_size=63, width=8, depth=1, num_heads=2, mlp_dim=8).items()},
}


@pytest.mark.slow
@pytest.mark.parametrize("run", ["lit_b16b_coco", "siglip_b16b_coco"])
def test_a_run_on_coco_trains_the_text_tower_alone(run, tmp_path, monkeypatch):
    fake_tfds.write_coco_captions(tmp_path / "tfds", 9, 5)
    # There is no network: the towers stay as they are initialised.
    before = []
    monkeypatch.setattr(towers.load, "from_npz", lambda model, **_: before.extend(
        v.numpy() for v in model.trainable_variables))
    monkeypatch.setattr(towers, "from_bert", lambda *_, **__: None)
    exp = build(f"gin/{run}.gin", {
        **TOY, "DATA_DIR": repr(str(tmp_path / "tfds"))})
    runs = []
    monkeypatch.setattr(
        build_lib, "build", lambda exp, real=build_lib.build:
        runs.append(real(exp)) or runs[-1])
    found = trainer.train(exp, str(tmp_path / "run"))["retrieval"]
    assert found["examples"] == 5 and found["captions"] == 5 + 6 + 7 + 5 + 6
    params = runs[0].params
    for (name, v), value in zip(params.items(), before):
        if name.startswith("img/"):
            np.testing.assert_array_equal(v.numpy(), value)
    changed = [name for (name, v), value in zip(params.items(), before)
               if not np.array_equal(v.numpy(), value)]
    assert "t" in changed and "txt/head/kernel" in changed

"""Recipes leave alone what the labels of a dataset depend on."""

import itertools
import pathlib

from absl import logging
import gin
import numpy as np
import pytest

from tfvit import config
from tfvit import experiment
from tfvit.data import pipeline
from tfvit.data.datasets import sources
from tfvit.data.images import keep
from tfvit.data.images import ops

ROOT = pathlib.Path(__file__).parents[2]
RECIPE = "gin/recipes/augreg.gin"
MIRRORED = {"flip_lr"}
MOVED = {"decode_and_inception_crop", "resize_small", "central_crop",
         "random_crop", "random_shift", "randaugment", "autoaugment",
         "random_erasing"}
# What the label of each task of VTAB does not survive: digits have a right and
# a left; places, counts, angles and distances are those of the whole image.
# The other tasks do with it what task_adaptation does: nothing.
TASKS = {
    "svhn": MIRRORED | MOVED,
    **dict.fromkeys([
        "clevr_count", "clevr_dist", "dmlab", "dsprites_loc", "dsprites_ori",
        "kitti_dist", "smallnorb_azi", "smallnorb_elev"], MIRRORED | MOVED),
    **dict.fromkeys([
        "caltech101", "cifar100", "diabetic_retinopathy", "dtd", "eurosat",
        "flowers102", "patch_camelyon", "pets", "resisc45", "sun397"],
                    MIRRORED | MOVED),
}
DATA = {**{f"gin/data/vtab/{name}.gin": bad for name, bad in TASKS.items()},
        "gin/data/kitti.gin": MOVED, "gin/data/digits.gin": MIRRORED}
PRESETS = [f"gin/recipes/{path.name}"
           for path in sorted((ROOT / "gin/recipes").glob("aug_*.gin"))]


def parse(files, *bindings):
    return config.parse(files, ["AUGREG = 'Ti_16'", *bindings])


def names(parameter="pipeline.train.ops"):
    return [reference.selector.split(".")[-1]
            for reference in gin.query_parameter(parameter)]


def test_every_task_is_listed():
    files = {path.stem for path in (ROOT / "gin/data/vtab").glob("*.gin")}
    assert files == TASKS.keys() and len(files) == 19


def test_the_command_of_the_page_is_the_one_that_is_tried():
    lines = (ROOT / "tools/docs/recipes.md").read_text().splitlines()
    (line,) = [line for line in lines if "gin/data/vtab/" in line]
    assert f"`{RECIPE} --gin_file=gin/data/vtab/clevr_count.gin" in line


@pytest.mark.parametrize("task", TASKS)
def test_vtab_trains_on_the_whole_image_as_it_is(task):
    file = f"gin/data/vtab/{task}.gin"
    text = parse([RECIPE, file])
    assert names() == ["decode", "resize", "to_uint8"]
    assert "decode_and_inception_crop" not in text  # No dead binding either.
    assert parse([file, RECIPE]) == text


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("data", ["gin/data/vtab/dsprites_loc.gin",
                                  "gin/data/kitti.gin", "gin/data/digits.gin"])
def test_no_preset_in_any_order_does_what_the_label_does_not_survive(
        data, preset):
    for files in itertools.permutations([RECIPE, data, preset]):
        parse(files)
        assert not DATA[data] & set(names())
        assert names()[-1] == "to_uint8"
        assert names("experiment.Experiment.device_ops") == ["value_range"]
        if MOVED <= DATA[data]:
            assert gin.config._CONFIG["", "tfvit.experiment.Experiment"].get(
                "mix") is None


@pytest.mark.parametrize("recipe", ["pretrain_augreg", "pretrain_plain",
                                    "pretrain_vit_i1k", "sam", "gsam"])
def test_other_recipes_evaluate_on_the_whole_image_too(recipe):
    files = [f"gin/recipes/{recipe}.gin", "gin/data/vtab/clevr_dist.gin",
             "gin/recipes/aug_strong2.gin"]
    config.parse(files, ["experiment.Experiment.total_steps = 1"])
    for parameter, last in (
            ("pipeline.train.ops", "to_uint8"),
            ("classification.Classification.ops", "value_range")):
        assert names(parameter) == ["decode", "resize", last]
    size = gin.query_parameter("ops.resize.size")
    assert size.scoped_selector == "IMAGE_SIZE/gin.macro"


def test_digits_keep_their_augmentation_but_for_the_mirror():
    parse([RECIPE, "gin/data/digits.gin", "gin/recipes/aug_strong1.gin"])
    assert names() == ["decode_and_inception_crop", "randaugment",
                       "to_uint8"]
    assert gin.query_parameter("ops.decode_and_inception_crop.area_min") == 50
    assert gin.query_parameter("mixup.mixup.alpha") == 0.5
    config.parse(["gin/digits.gin", "gin/recipes/aug_none.gin"])
    assert "flip_lr" not in names()


def test_data_that_survives_keeps_the_recipe_of_the_paper():
    for data in ("cifar10", "oxford_iiit_pet", "resisc45", "imagenet2012"):
        parse([RECIPE, f"gin/data/{data}.gin"])
        assert names() == ["decode_and_inception_crop", "flip_lr",
                           "to_uint8"]


def test_images_come_out_pixel_for_pixel_and_always_the_same():
    parse([RECIPE, "gin/data/vtab/dsprites_loc.gin",
           "gin/recipes/aug_medium2.gin"], "IMAGE_SIZE = 8")
    pixels = np.random.default_rng(0).integers(0, 256, [3, 8, 8, 3], np.uint8)
    source = sources.arrays(images=pixels, labels=[0, 1, 2], class_names="abc")
    train = gin.get_configurable(experiment.Experiment)().train_data
    batches = train(source=source, batch_size=3, seed=1)
    for batch in batches.take(4):
        expected = pixels[batch["labels"]]
        np.testing.assert_array_equal(batch["images"], expected)


def test_what_leaves_is_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(
        text % args))
    parse([RECIPE, "gin/data/vtab/dmlab.gin", "gin/recipes/aug_light2.gin"])
    (line,) = lines
    for word in ("flip_lr", "randaugment", "mixup.mixup.alpha", "keep = 'all'",
                 "Set it to None"):
        assert word in line


def test_the_command_line_may_ask_for_the_recipe_as_it_is():
    parse([RECIPE, "gin/data/vtab/pets.gin"], "pipeline.train.keep = None")
    assert names() == ["decode_and_inception_crop", "flip_lr", "to_uint8"]
    parse([RECIPE, "gin/data/cifar10.gin"], "pipeline.train.keep = 'sides'")
    assert names() == ["decode_and_inception_crop", "to_uint8"]


def test_a_saved_config_says_what_was_trained(tmp_path):
    text = parse([RECIPE, "gin/data/vtab/svhn.gin"])
    (tmp_path / "config.gin").write_text(text)
    assert config.parse([str(tmp_path / "config.gin")]) == text


@pytest.mark.parametrize("bindings, dead", [
    (["ops.decode_and_inception_crop.area_min = 90"], "area_min"),
    (["randaug.randaugment.magnitude = 5"], "magnitude"),
])
def test_a_setting_of_what_is_gone_is_no_silent_one(bindings, dead):
    with pytest.raises(ValueError, match=dead):
        parse([RECIPE, "gin/data/vtab/svhn.gin"], *bindings)
        config.check_bindings_used()


@pytest.mark.parametrize("value, op", [
    ("sides", ops.flip_lr), ("all", ops.flip_lr),
    ("all", ops.decode_and_inception_crop), ("all", ops.random_shift)])
def test_what_the_command_line_puts_back_is_refused(value, op):
    source = sources.arrays(images=np.zeros([2, 4, 4, 3]), labels=[0, 1],
                            class_names="ab")
    with pytest.raises(ValueError, match=f"{op.__name__}, .*keep = '{value}'"):
        pipeline.train(source=source, ops=[op], batch_size=1, seed=0,
                       keep=value)
    with pytest.raises(ValueError, match="none of 'sides', 'all' and None"):
        keep.check("whole")


def test_the_device_mirrors_no_digit_either():
    parse([RECIPE, "gin/recipes/augment_on_device.gin", "gin/data/digits.gin"])
    assert names("experiment.Experiment.device_ops") == [
        "randaugment", "value_range"]
    exp = gin.get_configurable(experiment.Experiment)()
    with pytest.raises(ValueError, match="Experiment.device_ops has flip_lr"):
        keep.check("sides", [ops.flip_lr], "Experiment.device_ops")
    assert config.settings(exp.train_data)["keep"] == "sides"


def test_files_from_before_uint8_map_values_once():
    parse(["gin/recipes/augreg.gin", "gin/data/cifar10.gin"],
          "pipeline.train.ops = [@ops.decode_and_inception_crop, "
          "@ops.value_range]")
    assert names()[-1] == "value_range"
    assert names("experiment.Experiment.device_ops") == []

"""Computed labels, and gin/data against what TFDS says of its datasets."""

import pathlib

import gin
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets

from tests.data.datasets import fake_tfds
from tfvit import config
from tfvit.data.datasets import sources
from tfvit.data.datasets import targets

ROOT = pathlib.Path(__file__).parents[3]
DATA = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "gin/data").rglob("*.gin")
    if path.stem not in ("digits", "folder", "vtab", "imagenet21k",
                         "coco_captions") and  # Which has no classes.
    "sources.tfds.name" in path.read_text() + "sources.tfds.name" *
    ("vtab" in path.parts))


def features(name):
    return tensorflow_datasets.builder(name, data_dir="/nowhere").info.features


def objects(**values):
    return {"objects": {k: tf.constant(v) for k, v in values.items()}}


@pytest.mark.parametrize("count", [3, 10])
def test_clevr_counts_from_three(count):
    target = targets.clevr_count(None)
    assert target.label(objects(size=[0] * count)) == count - 3
    assert len(target.class_names) == 8


# task_adaptation: the last of 0, 8, 8.5, 9, 9.5, 10 that is below the distance.
@pytest.mark.parametrize("nearest, label", [(7.9, 0), (8.0, 0), (8.1, 1),
                                            (9.7, 4), (30.0, 5)])
def test_clevr_distance_is_that_of_the_nearest_object(nearest, label):
    target = targets.clevr_distance(None)
    coordinates = [[0.0, 0.0, 40.0], [1.0, 2.0, nearest]]
    assert target.label(objects(pixel_coords=coordinates)) == label
    assert len(target.class_names) == 6


@pytest.mark.parametrize("kinds, depths, label", [
    ([0, 7], [30.0, 1.0], 2), ([2, 1], [30.0, 7.0], 0), ([0], [8.5], 1),
    ([3, 7], [1.0, 2.0], 3), ([], np.zeros(0), 3)])
def test_kitti_looks_at_vehicles_alone(kinds, depths, label):
    location = np.stack([np.zeros(len(depths))] * 2 + [depths], 1)
    target = targets.kitti_distance(None)
    assert target.label(objects(type=np.array(kinds, np.int64),
                                location=location.astype(np.float32))) == label


@pytest.mark.parametrize("key, count", [("label_x_position", 32),
                                        ("label_orientation", 40)])
def test_groups_are_those_of_a_floored_division(key, count):
    target = targets.grouped(features("dsprites"), key=key, num_classes=16)
    ours = [int(target.label({key: tf.constant(i)})) for i in range(count)]
    assert ours == [int(i // (count / 16)) for i in range(count)]


@pytest.mark.parametrize("key, num", [("label_x_position", 33), ("image", 2)])
def test_groups_of_what_has_fewer_classes_are_refused(key, num):
    with pytest.raises(ValueError, match=f"num_classes={num} .*key='{key}'"):
        targets.grouped(features("dsprites"), key=key, num_classes=num)


def test_several_labels_become_zeros_and_ones():
    target = targets.several(features("imagenet2012_real"), key="real_label")
    assert len(target.class_names) == 1_000
    assert target.class_names[0] == "n01440764"
    label = target.label({"real_label": tf.constant([3, 999, 3])}).numpy()
    assert np.flatnonzero(label).tolist() == [3, 999] and label.max() == 1
    nothing = target.label({"real_label": tf.zeros([0], tf.int64)})
    assert nothing.shape == [1_000] and not nothing.numpy().any()


def test_several_labels_may_lie_within_a_sequence():
    target = targets.several(features("voc/2007"), key="objects/label")
    label = target.label(objects(label=[19, 0])).numpy()
    assert np.flatnonzero(label).tolist() == [0, 19]


@pytest.mark.parametrize("key", ["label", "nothing", "objects/nothing"])
def test_several_labels_of_no_sequence_are_refused(key):
    with pytest.raises(ValueError, match="targets.several.key"):
        targets.several(features("kitti"), key=key)


def test_tfds_computes_the_label_of_an_image_of_zeros_and_ones(tmp_path):
    values = {f"value_{k}": 0.0 for k in ("scale", "orientation", "x_position",
                                          "y_position")}
    fake_tfds.write("dsprites", tmp_path, {"train": [{
        "image": np.full([64, 64, 1], i % 2, np.uint8), "label_shape": 0,
        "label_scale": 0, "label_orientation": 0, "label_x_position": 4 * i,
        "label_y_position": 0, "value_shape": 1.0, **values
    } for i in range(4)]})
    source = sources.tfds(
        name="dsprites", split="train[:2]+train[3:]", data_dir=str(tmp_path),
        image_op=targets.binary, target=lambda f: targets.grouped(
            f, key="label_x_position", num_classes=16))
    read = list(source.examples())
    assert [int(r["label"]) for r in read] == [0, 2, 6]
    assert [int(tf.reduce_max(r["image"])) for r in read] == [0, 255, 255]
    assert source.num_examples == 3 and len(source.class_names) == 16


def test_tfds_reads_nested_features(tmp_path):
    one = {"color": 0, "material": 0, "shape": 0, "size": 0, "rotation": 0.0,
           "3d_coords": np.zeros(3, np.float32),
           "pixel_coords": np.array([0, 0, 9.2], np.float32)}
    fake_tfds.write("clevr", tmp_path, {"train": [{
        "image": np.zeros([8, 8, 3], np.uint8), "file_name": "x",
        "objects": [one] * count, "question_answer": []
    } for count in (3, 7)]})
    for target, labels in ((targets.clevr_count, [0, 4]),
                           (targets.clevr_distance, [3, 3])):
        source = sources.tfds(name="clevr", split="train",
                              data_dir=str(tmp_path), target=target)
        assert [int(r["label"]) for r in source.examples()] == labels


@pytest.mark.parametrize("file", DATA)
def test_data_files_name_what_tfds_has(file):
    config.parse([file, "gin/base.gin"])
    try:
        query = gin.query_parameter

        def bound(name, otherwise=None):
            try:
                return query(f"sources.tfds.{name}")
            except ValueError:
                return otherwise

        name = bound("name")
        if not isinstance(name, str):  # A macro.
            name = query("TFDS_NAME/gin.macro.value")
        info = features(name)
        target = bound("target")
        if target is None:
            num_classes = info[bound("label_key", "label")].num_classes
        else:
            num_classes = len(
                target.scoped_configurable_fn(info).class_names)
        assert query("NUM_CLASSES/gin.macro.value") == num_classes
    finally:
        gin.clear_config()


def test_vtab_has_its_nineteen_tasks():
    assert len([f for f in DATA if "/vtab/" in f]) == 19

"""Stages of the input are timed, and the arithmetic on them holds."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data import input_speed
from tfvit.data.images import ops

OPS = [functools.partial(ops.decode_and_inception_crop, size=16), ops.flip_lr,
       ops.to_uint8]


@pytest.fixture(scope="module")
def report():
    source = input_speed.photos(640, 480, 4)  # What is more than noise.
    return input_speed.report(source, OPS, batch_size=8, count=16, rounds=1,
                              rate=1e5)


@pytest.mark.slow
def test_every_stage_and_way_is_there(report):
    spent = [name.split(":")[0] for name in report
             if name.endswith(": CPU ms per image")]
    assert spent == ["read", "decode_and_inception_crop", "flip_lr", "to_uint8",
                     "batch", "all"]
    assert {name.split(":")[0] for name in report
            if name.startswith("decoding")} == {
                "decoding whole", "decoding part", "decoding scaled",
                "decoding prepared"}
    assert report["decode_and_inception_crop: CPU ms per image"] > 0


@pytest.mark.slow
def test_the_cores_needed_follow(report):
    parts = [report[f"{name}: CPU ms per image"] for name in (
        "read", "decode_and_inception_crop", "flip_lr", "to_uint8", "batch")]
    whole = report["all: CPU ms per image"]
    assert sum(parts) == pytest.approx(whole)
    assert report["all: img/s per core"] == pytest.approx(1e3 / whole)
    assert report["cores needed"] == math.ceil(1e5 * whole / 1e3)
    assert report["decode workers like this machine"] == math.ceil(
        1e5 * whole / 1e3 / report["cores here"]) - 1
    assert report["to copy to the device, MB/s"] == pytest.approx(
        1e5 * 16 * 16 * 3 / 1e6)


def test_photos_differ_and_have_their_size(monkeypatch):
    monkeypatch.setattr(input_speed, "_BASES", 3)
    source = input_speed.photos(50, 40, 8)
    images = [tf.io.decode_jpeg(e["image"]).numpy() for e in source.examples()]
    assert len({image.tobytes() for image in images}) == 8
    assert {image.shape for image in images} == {(40, 50, 3)}
    assert np.std(images[0]) > 20


def test_prepared_files_have_a_short_side_of_512():
    kept = input_speed.kept_in_memory(input_speed.photos(900, 600, 1), 3)
    (image, *_) = [tf.io.decode_jpeg(e["image"])
                   for e in input_speed._prepared(kept).examples()]
    assert image.shape == (512, 768, 3)
    small = input_speed.photos(60, 40, 1)
    (image,) = [tf.io.decode_jpeg(e["image"])
                for e in input_speed._prepared(small).examples()]
    assert image.shape == (40, 60, 3)  # Nothing is enlarged.


def test_a_pipeline_without_crops_has_no_ways():
    source = input_speed.photos(50, 40, 2)
    assert input_speed.ways(source, [ops.decode], count=2, rounds=1) == {}

"""Augmentation of a batch, compiled by XLA, does what that of images does."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data.images import batchwise
from tfvit.data.images import decoding
from tfvit.data.images import distort
from tfvit.data.images import ops
from tfvit.data.images import pixels
from tfvit.data.images import randaug

B, H, W = 6, 24, 36
SEEDS = batchwise.seeds(3, tf.range(B))


@pytest.fixture(scope="module")
def images():
    """Smooth colours that reach 0 and 255, uint8 [B, H, W, 3]."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, [B, 6, 9, 3]).astype(np.float32)
    large = tf.image.resize(small, [H, W], "bicubic")
    return ops.to_uint8(large * 1.2 - 25)


@pytest.mark.parametrize("key, counter, expected", [
    ((0, 0), (0, 0), (0x6b200159, 0x99ba4efe)),
    ((0xffffffff, 0xffffffff), (0xffffffff, 0xffffffff),
     (0x1cb996fc, 0xbb002be7)),
    ((0x13198a2e, 0x03707344), (0x243f6a88, 0x85a308d3),
     (0xc4923a9c, 0x483df7a0)),
])
def test_threefry_gives_the_known_answers_of_random123(key, counter, expected):
    words = [[tf.constant([word], tf.int64) for word in pair]
             for pair in (key, counter)]
    assert [int(word[0]) for word in batchwise.threefry(*words)] == [*expected]


def test_numbers_are_uniform_and_each_example_has_its_own():
    seeds = batchwise.seeds(-5, tf.range(200))
    drawn = batchwise.uniform(seeds, 500).numpy()
    assert 0 <= drawn.min() and drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 4 / np.sqrt(12 * drawn.size)
    assert np.histogram(drawn, 16)[0] == pytest.approx(drawn.size / 16, rel=0.06)
    between = np.corrcoef(drawn)[~np.eye(200, dtype=bool)]
    assert abs(between).max() < 0.3 and len(np.unique(drawn)) > 0.99 * drawn.size
    later = batchwise.uniform(batchwise.seeds(-5, tf.range(100, 200)), 500)
    np.testing.assert_array_equal(later, drawn[100:])
    assert not np.array_equal(
        batchwise.uniform(batchwise.fold_in(seeds, 1), 500), drawn)


@pytest.fixture(scope="module")
def each():
    """(images, number, sign, row, column) -> images, compiled once."""
    return tf.function(
        lambda images, number, sign, *at: randaug.apply_to_batch(
            images, number, sign, at, 7, randaug._operations(9, 10, True, True),
            9, 10), jit_compile=True)


@pytest.mark.parametrize("name", randaug._NAMES)
def test_each_operation_is_that_of_single_images(name, images, each):
    sign = np.where(np.arange(B) % 2, -1, 1).astype(np.float32)
    at = np.random.default_rng(1).random([2, B]).astype(np.float32)
    shaped = [tf.constant(v.reshape(B, 1, 1)) for v in (sign, *at)]
    found = each(images, tf.fill([B, 1, 1], randaug._NAMES.index(name)),
                 *shaped).numpy().astype(int)
    operations = randaug._operations(9, 10, True, True)
    level = sign * 0.7
    moves = {  # As randaug draws them, of one image.
        "Rotate": lambda i: pixels.rotate(images[i], level[i] * 30),
        "ShearX": lambda i: pixels.shear_x(images[i], level[i] * 0.3),
        "ShearY": lambda i: pixels.shear_y(images[i], level[i] * 0.3),
        "TranslateX": lambda i: pixels.translate_x(images[i], level[i] * 10),
        "TranslateY": lambda i: pixels.translate_y(images[i], level[i] * 10),
        "Cutout": lambda i: pixels.cutout(
            images[i], int(at[0, i] * H), int(at[1, i] * W), 6),
    }
    plain = lambda i: operations[name](images[i], 7, None)
    expected = np.stack([moves.get(name, plain)(i) for i in range(B)])
    off = np.abs(found - expected.astype(int))
    assert off.max() <= 1 and (off > 0).mean() < 0.01


@pytest.mark.parametrize("strength", [
    {"brightness": 0.5}, {"contrast": 0.5}, {"saturation": 0.5}, {"hue": 0.3}])
def test_jitter_is_that_of_single_images(strength, images):
    (name,) = strength
    strengths = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0,
                 **strength}
    found = distort.color_jitter(images, SEEDS, **strength).numpy().astype(int)
    draws = tf.unstack(batchwise.uniform(SEEDS, 5)[:, :4], axis=1)
    amount = distort._amounts(strengths, draws)[name]
    expected = [distort._JITTERS[name](image, value).numpy()
                for image, value in zip(images, amount)]
    off = np.abs(found - np.array(expected).astype(int))
    assert off.max() <= 1 and (off > 0).mean() < 0.01
    assert np.abs(found - images.numpy()).max() > 9  # It does something.


def test_flips_half_of_the_images(images):
    many = tf.repeat(images[:1], 400, 0)[:, :4, :6]
    found = ops.flip_lr(many, batchwise.seeds(0, tf.range(400))).numpy()
    turned = (found == many.numpy()[:, :, ::-1]).all((1, 2, 3))
    assert ((found == many.numpy()).all((1, 2, 3)) == ~turned).all()
    assert abs(turned.mean() - 0.5) < 0.1


def test_every_operation_is_drawn_equally_often():
    seeds = batchwise.fold_in(batchwise.seeds(0, tf.range(16_000)), 0)
    number = np.floor(batchwise.uniform(seeds, 4)[:, 0] * len(randaug._NAMES))
    counts = np.bincount(number.astype(int), minlength=16)
    assert counts.sum() == 16_000 and (abs(counts - 1_000) < 130).all()


@pytest.mark.slow
def test_it_depends_on_the_number_of_an_example_and_not_on_the_batch(images):
    augment = functools.partial(
        decoding.on_device,
        [ops.flip_lr, functools.partial(
            distort.color_jitter, brightness=0.4, hue=0.1), ops.value_range],
        seed=7)
    whole = augment(images, first=30)
    assert whole.dtype == tf.float32 and float(tf.reduce_max(abs(whole))) <= 1
    parts = [augment(images[i:i + 3], first=30 + i) for i in (0, 3)]
    np.testing.assert_array_equal(whole, tf.concat(parts, 0))
    assert not np.array_equal(whole, augment(images, first=0))


@pytest.mark.slow
def test_randaugment_compiles_and_repeats(images):
    call = functools.partial(decoding.on_device, [functools.partial(
        randaug.randaugment, layers=2, magnitude=10)], images, seed=1)
    first = call()
    np.testing.assert_array_equal(first, call())
    changed = (first.numpy() != images.numpy()).any((1, 2, 3))
    assert changed.mean() > 0.5

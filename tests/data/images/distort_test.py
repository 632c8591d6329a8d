"""Random erasing by its properties, colour jitter against PIL."""
import colorsys
import functools

import numpy as np
from PIL import Image
from PIL import ImageEnhance
import pytest
from scipy import stats
import tensorflow as tf

from tfvit.data.images import distort

RNG = np.random.default_rng(0)
PIXELS = np.kron(RNG.integers(20, 230, (4, 5, 3)), np.ones((8, 8, 1)))
PIXELS = PIXELS.astype(np.uint8)  # [32, 40, 3]
STRENGTHS = {"brightness": .4, "contrast": .3, "saturation": .9, "hue": .1}


def in_dataset(op, image, seeds):
    """Results of an op in tf.data, which eager ones must equal."""
    dataset = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda seed: op(tf.constant(image), seed))
    assert dataset.element_spec.shape == image.shape
    results = [x.numpy() for x in dataset]
    np.testing.assert_array_equal(results[0], op(image, seeds[0]))
    return results


def seeds(count):
    return np.stack([np.arange(count), np.full(count, 7)], 1)


@pytest.fixture(scope="module")
def boxes():
    """(top, left, height, width) of 1000 rectangles, shares of the sides."""
    image = np.full((60, 90, 3), 9, np.uint8)
    op = functools.partial(distort.random_erasing, area_min=5, area_max=30,
                           aspect_min=0.5, aspect_max=3, value=200)
    found = []
    for result in in_dataset(op, image, seeds(1000)):
        erased = result[..., 0] == 200
        np.testing.assert_array_equal(
            result, np.where(erased[..., None], 200, image))
        if erased.any():
            rows, columns = (np.flatnonzero(erased.any(a)) for a in (1, 0))
            assert erased.sum() == len(rows) * len(columns)
            found.append((rows[0], columns[0], len(rows), len(columns)))
    return np.array(found) / np.array([60, 90, 60, 90])


def test_half_of_the_images_lose_a_rectangle(boxes):
    assert 450 <= len(boxes) <= 550


def test_areas_and_aspects_are_those_asked_for(boxes):
    area = boxes[:, 2] * boxes[:, 3]
    aspect = boxes[:, 3] * 90 / (boxes[:, 2] * 60)
    # Sides are rounded to pixels: by 1 in 10 at most.
    assert 0.045 < area.min() < 0.07 and 0.27 < area.max() < 0.32
    assert 0.45 < aspect.min() < 0.6 and 2.6 < aspect.max() < 3.3
    assert stats.kstest(area, "uniform", (0.05, 0.25)).pvalue > 0.01
    assert stats.kstest(np.log(aspect), "uniform",
                        (np.log(0.5), np.log(6))).pvalue > 0.01


def test_rectangles_lie_anywhere_inside(boxes):
    for begin, size in (boxes[:, 0], boxes[:, 2]), (boxes[:, 1], boxes[:, 3]):
        places = begin / (1 - size)
        assert (places < 1 + 1e-9).all()
        assert stats.kstest(places, "uniform").pvalue > 0.01


def test_erasing_writes_noise_and_keeps_the_type():
    image = np.full((40, 40, 3), 300., np.float32)  # No byte: so it shows.
    op = functools.partial(distort.random_erasing, probability=1.)
    for result in in_dataset(op, image, seeds(5)):
        noise = result[result != 300]
        assert result.dtype == np.float32 and len(noise) > 90
        assert stats.kstest(noise, "uniform", (0, 256)).pvalue > 0.001
    np.testing.assert_array_equal(
        distort.random_erasing(image, [1, 2], probability=0.), image)


def test_a_rectangle_that_never_fits_erases_nothing():
    image = np.zeros((10, 10, 3), np.uint8)
    erased = distort.random_erasing(image, [0, 0], probability=1., value=9,
                                    area_min=90, aspect_min=4, aspect_max=5)
    assert not erased.numpy().any()


def turn(image, hue):
    hsv = [colorsys.rgb_to_hsv(*p) for p in image.reshape(-1, 3) / 255]
    rgb = [colorsys.hsv_to_rgb((h + hue) % 1, s, v) for h, s, v in hsv]
    return np.round(255 * np.array(rgb)).reshape(image.shape).astype(np.uint8)


def test_jitter_is_what_pil_does_in_the_order_that_was_drawn():
    enhance = {"brightness": ImageEnhance.Brightness,
               "contrast": ImageEnhance.Contrast,
               "saturation": ImageEnhance.Color}
    op = functools.partial(distort.color_jitter, **STRENGTHS)
    for seed, ours in zip(seeds(8), in_dataset(op, PIXELS, seeds(8))):
        order, amounts = distort.draw_jitter(seed, STRENGTHS)
        image = PIXELS
        for name in (list(STRENGTHS)[i] for i in order.numpy()):
            amount = float(amounts[name])
            image = turn(image, amount) if name == "hue" else np.array(
                enhance[name](Image.fromarray(image)).enhance(amount))
        # Each of the four may round a byte otherwise, and the next enlarge it.
        assert np.abs(ours.astype(int) - image).max() <= 6
        assert np.abs(ours.astype(int) - image).mean() < 1
        assert np.abs(ours.astype(int) - PIXELS).mean() > 3


def test_draws_of_jitter_are_uniform_and_orders_all_occur():
    draws = [distort.draw_jitter(seed, STRENGTHS) for seed in seeds(300)]
    assert len({tuple(order.numpy()) for order, _ in draws}) == 24
    for name, strength in STRENGTHS.items():
        low = -strength if name == "hue" else 1 - strength
        values = [amounts[name].numpy() for _, amounts in draws]
        assert stats.kstest(values, "uniform",
                            (low, 2 * strength)).pvalue > 0.01


@pytest.mark.parametrize("name", STRENGTHS)
def test_each_property_can_be_changed_alone(name):
    image = distort.color_jitter(PIXELS, [3, 4], **{name: STRENGTHS[name]})
    assert np.abs(image.numpy().astype(int) - PIXELS).mean() > 1
    np.testing.assert_array_equal(distort.color_jitter(PIXELS, [3, 4]), PIXELS)


@pytest.mark.parametrize("name, value", [("hue", 0.6), ("contrast", -1)])
def test_jitter_out_of_range_is_an_error(name, value):
    with pytest.raises(ValueError, match=f"color_jitter.{name}={value} must"):
        distort.color_jitter(PIXELS, [0, 0], **{name: value})

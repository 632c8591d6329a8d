"""Pixel operations against tf-models-official and PIL, bit for bit."""
import functools

import numpy as np
from official.vision.ops import augment
from PIL import Image
from PIL import ImageEnhance
from PIL import ImageOps
import pytest
import tensorflow as tf

from tfvit.data.images import pixels

RNG = np.random.RandomState(0)
SMOOTH = np.kron(RNG.randint(20, 200, (4, 5, 3)), np.ones((6, 6, 1)))
IMAGES = {
    "blocks": SMOOTH.astype(np.uint8),  # [24, 30]
    "noise": RNG.randint(0, 256, (30, 21, 3)).astype(np.uint8),
    "flat": np.full((20, 20, 3), 77, np.uint8),
    "dark": np.uint8(RNG.randint(0, 256, (40, 40, 3)) * (RNG.rand(40, 40, 3) > .9)),
}


def twice(op, image):
    """Runs an op eagerly and in tf.data, which must agree."""
    eager = op(tf.constant(image))
    dataset = tf.data.Dataset.from_tensors(image).map(op)
    np.testing.assert_array_equal(next(iter(dataset)), eager)
    assert eager.dtype == tf.uint8
    return eager.numpy()


def moved(matrix):
    """Official's transform, with grey where nothing is."""

    def op(image):
        image = augment.transform(augment.wrap(image), matrix,
                                  fill_mode="constant")
        return augment.unwrap(image, [128] * 3)

    return op


def turned(degrees, image):
    shape = [np.float32(image.shape[1]), np.float32(image.shape[0])]
    matrix = augment._convert_angles_to_transform(  # pylint: disable=protected-access
        np.float32(degrees * np.pi / 180), *shape)
    return moved(matrix)(image)


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("name, ours, reference", [
    ("autocontrast", pixels.autocontrast, augment.autocontrast),
    ("equalize", pixels.equalize, augment.equalize),
    ("invert", pixels.invert, augment.invert),
    *[(f"posterize {b}", functools.partial(pixels.posterize, bits=b),
       functools.partial(augment.posterize, bits=b)) for b in (1, 4, 6, 8)],
    ("solarize", functools.partial(pixels.solarize, threshold=100),
     functools.partial(augment.solarize, threshold=100)),
    ("solarize_add", functools.partial(pixels.solarize_add, addition=55),
     functools.partial(augment.solarize_add, addition=55)),
    *[(f"{name} {f}", functools.partial(getattr(pixels, name), factor=f),
       functools.partial(getattr(augment, name), factor=f))
      for name in ("color", "brightness", "sharpness") for f in (0.3, 1.9)],
    ("translate_x", functools.partial(pixels.translate_x, pixels=-7.),
     moved([1., 0, -7, 0, 1, 0, 0, 0])),
    ("translate_y", functools.partial(pixels.translate_y, pixels=7.),
     moved([1., 0, 0, 0, 1, 7, 0, 0])),
    ("shear_x", functools.partial(pixels.shear_x, level=.3),
     moved([1., .3, 0, 0, 1, 0, 0, 0])),
    ("shear_y", functools.partial(pixels.shear_y, level=-.2),
     moved([1., 0, 0, -.2, 1, 0, 0, 0])),
    ("rotate", functools.partial(pixels.rotate, degrees=-25.),
     functools.partial(turned, -25.)),
])  # yapf: disable
def test_equals_official(image, name, ours, reference):
    del name
    np.testing.assert_array_equal(twice(ours, image),
                                  reference(tf.constant(image)))


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("factor", [0.28, 1.0, 1.9])
def test_contrast_equals_pil(image, factor):
    expected = ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor)
    ours = twice(functools.partial(pixels.contrast, factor=factor), image)
    # PIL's grey may be one off, too.
    assert np.abs(ours.astype(int) - np.array(expected)).max() <= 2


@pytest.mark.parametrize("name", ["equalize", "invert"])
def test_equals_pil(name):
    for image in IMAGES.values():
        expected = getattr(ImageOps, name)(Image.fromarray(image))
        np.testing.assert_array_equal(getattr(pixels, name)(image), expected)


def test_contrast_of_the_papers_starts_from_the_number_of_pixels():
    image = IMAGES["blocks"]  # 24 * 30 / 256 = 2.8
    expected = 2 + 0.5 * (image.astype(float) - 2)
    ours = pixels.contrast_of_the_papers(image, 0.5)
    np.testing.assert_array_equal(ours, expected.astype(np.uint8))


def test_solarize_takes_thresholds_beyond_a_byte():
    image = IMAGES["noise"]
    np.testing.assert_array_equal(pixels.solarize(image, 256), image)
    np.testing.assert_array_equal(pixels.solarize(image, 0), 255 - image)


def test_posterize_to_no_bits_is_black():
    assert not np.any(pixels.posterize(IMAGES["noise"], 0))


def test_cutout_greys_a_square_and_stops_at_the_border():
    image = IMAGES["noise"]
    expected = image.copy()
    expected[0:5, 9:15] = 128
    np.testing.assert_array_equal(pixels.cutout(image, 2, 12, 3), expected)

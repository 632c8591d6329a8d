"""Images in every form programs have them in become files' bytes."""

import io
import pathlib

import numpy as np
import pandas as pd
from PIL import Image
import pytest
import tensorflow as tf

from tfvit.api import pictures
from tfvit.serving import formats

PIXELS = np.random.default_rng(0).integers(0, 256, [6, 9, 3], np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    found = tmp_path_factory.mktemp("images") / "a.png"
    Image.fromarray(PIXELS).save(found)
    return found


def decoded(contents):
    """Pillow's, which did not write all of them."""
    return np.asarray(Image.open(io.BytesIO(contents)))


def test_one_image_in_any_form(path):
    photo = Image.open(path)
    forms = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()),
             memoryview(path.read_bytes()), io.BytesIO(path.read_bytes()),
             path.open("rb"), photo, PIXELS, np.asfortranarray(PIXELS),
             tf.constant(PIXELS), PIXELS.astype(object).astype(np.uint8)]
    for form in forms:
        ((_, contents),) = pictures.encoded(form)
        np.testing.assert_array_equal(decoded(contents), PIXELS)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "LA"])
def test_pil_images_of_other_modes_are_as_pil_shows_them(mode):
    photo = Image.fromarray(PIXELS).convert(mode)
    ((_, contents),) = pictures.encoded(photo)
    np.testing.assert_array_equal(decoded(contents),
                                  np.asarray(photo.convert("RGB")))


def test_several_images(path):
    name = str(path)
    several = [[name, PIXELS], (name, name), {name: 1}.keys(),
               (name for _ in range(2)), np.array([name, name]),
               pd.Series([name, name]), PIXELS[None], tf.constant(PIXELS[None]),
               np.array([name], object), [PIXELS[:2], PIXELS[..., :1]]]
    counts = [2, 2, 1, 2, 2, 2, 1, 1, 1, 2]
    for images, count in zip(several, counts):
        assert len(pictures.encoded(images)) == count
    assert not pictures.encoded([]) and not pictures.encoded(PIXELS[None][:0])


class Large:
    """An array that is too large to be made here."""
    shape, dtype = (formats.MAX_PIXELS, 2, 3), np.dtype(np.uint8)

    def __array__(self, *unused_args, **unused_kwargs):
        return np.broadcast_to(np.uint8(0), self.shape)


@pytest.mark.parametrize("image, said", [
    (PIXELS.astype(np.uint16), "uint16 (6, 9, 3), and must be uint8"),
    (PIXELS / np.float32(255), "float32 (6, 9, 3), and must be uint8"),
    (PIXELS * np.nan, "float64 (6, 9, 3), and must be uint8"),
    (PIXELS > 3, "bool (6, 9, 3), and must be uint8"),
    (PIXELS.astype(int), "int64 (6, 9, 3), and must be uint8"),
    (PIXELS[..., :2], "uint8 (6, 9, 2), and must be uint8"),
    (PIXELS[0, 0], "uint8 (), and must be uint8"),
    (np.uint8(3), "uint8 (), and must be uint8"),
    (PIXELS[None, None], "uint8 (1, 6, 9, 3), and must be uint8"),
    (PIXELS[:0], "(0, 9, 3), and must have pixels."),
    (Large(), "no more than 50,000,000 pixels."),
    (Image.fromarray(PIXELS[..., 0].astype(np.uint16)), "mode I;16"),
    (Image.fromarray(PIXELS).convert("F"), "mode F"),
    (None, "images=None must be the path of a file"),
    (3, "images=3 must be the path of a file"),
    ({"a": 1}, "images={'a': 1} must be the path"),
    ([None], "image 0 is a NoneType, and must be the path"),
    ([PIXELS, [PIXELS]], "image 1 is a list, and must be the path"),
    (PIXELS.tolist(), "image 0 is a list, and must be the path"),
    ("", "image 0 is '', and must be an image"),
])
def test_what_is_no_image_is_said_in_a_sentence(image, said):
    with pytest.raises(ValueError) as error:
        pictures.encoded(image)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="^nowhere.jpg: "):
        pictures.encoded(["nowhere.jpg"])
    with pytest.raises(ValueError, match="image 0 is .*must be an image"):
        pictures.encoded(pathlib.Path(tmp_path))

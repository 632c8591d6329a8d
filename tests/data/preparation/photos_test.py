"""What becomes of an image, judged by Pillow."""

import io

import numpy as np
from PIL import Image
from PIL import ImageOps
import pytest
import tensorflow as tf

from tfvit.data.preparation import photos


def photo(width, height):
    """A smooth picture with some noise, as photos are."""
    random = np.random.default_rng(width)
    small = random.integers(0, 256, [6, 8, 3]).astype(np.uint8)
    smooth = Image.fromarray(small).resize((width, height), Image.BICUBIC)
    noisy = np.asarray(smooth) + random.normal(0, 3, [height, width, 3])
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **{"quality": 95, **options})
    return buffer.getvalue()


def opened(contents):
    return Image.open(io.BytesIO(contents))


def assert_near(first, second, most):
    """Nowhere more than `most` of 255 apart."""
    apart = np.abs(np.asarray(first, int) - np.asarray(second, int))
    assert apart.max() <= most, apart.max()


def means(pixels, count, axis):
    """Of parts of equal length along an axis, also where they cut pixels."""
    ends = np.arange(count + 1) * pixels.shape[axis] / count
    whole = np.arange(pixels.shape[axis])
    weights = np.clip(np.minimum(whole + 1, ends[1:, np.newaxis]) - np.maximum(
        whole, ends[:-1, np.newaxis]), 0, None) / np.diff(ends)[:, np.newaxis]
    return np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)


@pytest.mark.parametrize("width, height, after", [
    (128, 96, (43, 32)), (96, 128, (32, 43)), (160, 32 * 5, (32, 32)),
    (96, 64, (48, 32))])
def test_larger_images_shrink_as_pillow_shrinks_them(width, height, after):
    # Without loss before, so that nothing but the mean and one JPEG differs.
    image = photo(width, height)
    found = photos.maker(32, 95)(encoded(image, "PNG"))
    assert found.before == (height, width) and not found.copied
    kept = opened(found.contents)
    assert kept.format == "JPEG" and kept.mode == "RGB"
    assert kept.size == after and found.after == after[::-1]
    exact = Image.fromarray(np.round(means(means(np.asarray(
        image, float), after[1], 0), after[0], 1)).astype(np.uint8))
    # Our JPEG is Pillow's of the exact means: both take libjpeg's tables for
    # the quality, its slow cosine transform and half the colours.
    if width % after[0] == height % after[1] == 0:
        np.testing.assert_array_equal(kept, opened(encoded(exact)))
        # Pillow rounds twice, after columns and rows: by half of 255ths each.
        assert_near(exact, image.resize(after, Image.BOX), 1)
    else:  # Where parts are cut, float32 may round the other way at a half.
        assert_near(kept, opened(encoded(exact)), 1)
        assert np.mean(np.not_equal(kept, opened(encoded(exact)))) < 0.05


def test_what_needs_nothing_is_copied_byte_by_byte():
    make = photos.maker(64, 50)
    for contents in (encoded(photo(64, 80)), encoded(photo(30, 20), "PNG"),
                     encoded(photo(64, 64).convert("L")),
                     encoded(photo(40, 30), "WEBP"),
                     encoded(photo(40, 30).convert("RGBA"), "PNG"),
                     encoded(photo(40, 30), "GIF"), encoded(photo(9, 9), "BMP")):
        found = make(contents)
        assert found.contents == contents and found.copied
        assert found.before == found.after


def test_exif_is_applied_and_colours_become_rgb():
    image = photo(80, 48)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = photos.maker(None, 95)(encoded(image, exif=exif.tobytes()))
    kept = opened(found.contents)
    assert kept.size == (48, 80) and found.before == (80, 48)
    assert kept.getexif().get(0x0112, 1) == 1
    # Once more Pillow's JPEG, of pixels that Pillow turns.
    read = Image.fromarray(tf.io.decode_jpeg(encoded(image)).numpy())
    read.getexif()[0x0112] = 6
    upright = ImageOps.exif_transpose(read)
    np.testing.assert_array_equal(kept, opened(encoded(upright)))
    cmyk = encoded(image.convert("CMYK"))
    kept = opened(photos.maker(None, 95)(cmyk).contents)
    assert kept.mode == "RGB"
    read = tf.io.decode_jpeg(cmyk, channels=3).numpy()
    np.testing.assert_array_equal(kept, opened(encoded(Image.fromarray(read))))
    # TensorFlow decodes by libjpeg's fast cosine transform, Pillow by the slow:
    # so far apart is one colour, and red is the product of cyan and black.
    greys = [encoded(band) for band in image.convert("CMYK").split()]
    apart = max(np.abs(tf.io.decode_jpeg(grey).numpy()[..., 0].astype(int) -
                       np.asarray(opened(grey), int)).max() for grey in greys)
    assert_near(read, opened(cmyk).convert("RGB"), 2 * apart + 1)


def test_arrays_become_png_and_panoramas_stay_whole():
    pixels = np.random.default_rng(0).integers(0, 256, [8, 9, 1])
    found = photos.maker(None, 95)(pixels.astype(np.uint8))
    np.testing.assert_array_equal(np.asarray(opened(found.contents)),
                                  pixels[..., 0])
    wide = photos.maker(8, 95)(encoded(photo(600, 16)))
    assert opened(wide.contents).size == (300, 8)


@pytest.mark.parametrize("contents", [
    b"", b"no image", encoded(photo(64, 64), progressive=True)[:500],
    encoded(photo(64, 64))[:-2]])
def test_what_cannot_be_decoded_is_an_error(contents, capfd):
    with pytest.raises(tf.errors.OpError):
        photos.maker(32, 95)(contents)
    # libjpeg says nothing of files that are cut short.
    assert "Improper" not in capfd.readouterr().err

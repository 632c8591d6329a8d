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


def psnr(first, second):
    error = np.mean((np.asarray(first, float) - np.asarray(second, float))**2)
    return 10 * np.log10(255**2 / max(error, 1e-9))


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
    theirs = image.resize(after, Image.BOX)
    if width % after[0] == height % after[1] == 0:
        # As near to Pillow's mean as Pillow's own JPEG of it.
        assert psnr(kept, theirs) > psnr(opened(encoded(theirs)), theirs) - 1
    else:  # Where sides are no multiples, Pillow takes whole pixels, not parts.
        assert psnr(kept, theirs) > 25


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
    upright = ImageOps.exif_transpose(opened(encoded(
        image, exif=exif.tobytes())))
    assert psnr(kept, upright) > 38
    cmyk = encoded(image.convert("CMYK"))
    kept = opened(photos.maker(None, 95)(cmyk).contents)
    assert kept.mode == "RGB"
    assert psnr(kept, opened(cmyk).convert("RGB")) > 35


def test_arrays_become_png_and_panoramas_stay_whole():
    pixels = np.random.default_rng(0).integers(0, 256, [8, 9, 1])
    found = photos.maker(None, 95)(pixels.astype(np.uint8))
    np.testing.assert_array_equal(np.asarray(opened(found.contents)),
                                  pixels[..., 0])
    wide = photos.maker(8, 95)(encoded(photo(600, 16)))
    assert opened(wide.contents).size == (300, 8)


@pytest.mark.parametrize("contents", [b"", b"no image", encoded(photo(64, 64))[
    :500]])
def test_what_cannot_be_decoded_is_an_error(contents):
    with pytest.raises(tf.errors.OpError):
        photos.maker(32, 95)(contents)

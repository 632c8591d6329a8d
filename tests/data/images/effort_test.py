"""What counts more than its pixels, of files by Pillow and by hand."""
import io

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from tests.serving import bombs
from tfvit.data.images import effort
from tfvit.data.images import headers

PIXELS = np.random.default_rng(0).integers(0, 256, [40, 60, 3], np.uint8)


def encode(kind, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, kind, **options)
    return file.getvalue()


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def times(image):
    """(what it counts, what it counts at most) for each pixel."""
    pixels = headers.num_pixels(image)
    return (effort.effort(image, pixels) / pixels,
            effort.most(image, pixels) / pixels)


def preview():
    """EXIF with a progressive JPEG inside."""
    exif = Image.Exif()
    exif[0x010e] = encode("JPEG", quality=10).decode("latin1")
    return exif


@pytest.mark.parametrize("file, expected", [
    *((encode("JPEG", mode), 1) for mode in ("RGB", "L", "CMYK")),
    *((encode("JPEG", mode, progressive=True), 2) for mode in (
        "RGB", "L", "CMYK")),
    (encode("JPEG", exif=preview()), 1), (encode("JPEG", subsampling=2), 1),
    *((encode("PNG", mode), 1) for mode in ("RGB", "L", "P", "RGBA", "1")),
    (encode("PNG", "I;16"), 2), (encode("BMP"), 1), (encode("GIF"), 2),
    (encode("WEBP"), 2), (encode("WEBP", lossless=True), 2),
    (bombs.jpeg(6400, apart=True), 2), (bombs.png(6400, interlaced=True), 2),
    (bombs.jpeg(6400, progressive=True, scans=400), 8),
    (bombs.png(6400, bits=16, interlaced=True), 4),
])
def test_what_takes_more_than_its_pixels_counts_more(file, expected):
    assert times(file)[0].numpy() == expected


def test_a_photo_on_its_side_counts_once_and_a_blank_one_more():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert times(encode("JPEG", exif=exif))[0].numpy() == 1
    blank = bombs.jpeg(640_000, upside=6)
    assert times(blank)[0].numpy() == 1.5


def test_many_compressed_texts_are_too_many():
    few, many = (bombs.png(6400, before=bombs.texts(b"zTXt", count, 6_000_000))
                 for count in (20, 21))
    assert min(len(few), len(many)) > 100_000
    assert times(few)[0].numpy() == 1 and times(many)[0].numpy() > 1e6


def test_no_file_takes_more_than_what_is_seen_at_once():
    for name, file in bombs.all_of(60_000).items():
        if headers.num_pixels(file).numpy():
            takes, most = times(file)
            assert takes <= most, name

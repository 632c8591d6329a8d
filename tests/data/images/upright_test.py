"""EXIF orientations of JPEG, PNG and WebP files against Pillow."""
import functools
import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image
from PIL import ImageOps
import pytest
import tensorflow as tf

from tests.data.images import ops_test
from tfvit.data.images import headers
from tfvit.data.images import ops

# Smooth, and different in every corner.
ROWS, COLUMNS = np.meshgrid(np.arange(40), np.arange(56), indexing="ij")
PIXELS = np.stack([ROWS * 6, COLUMNS * 4, 255 - ROWS - COLUMNS], -1).astype(
    np.uint8)


def tiff(value, order="<", kind=3, count=1, tag=0x0112, pad=0):
    """An EXIF directory of a maker's name and an orientation, by TIFF 6.0."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = [struct.pack(order + "HHLL", 0x010f, 2, 6, 8 + pad + 30)]
    field = {1: "Bxxx", 2: "Bxxx", 3: "Hxx", 4: "L", 8: "hxx", 9: "l"}[kind]
    entries.append(struct.pack(order + "HHL" + field, tag, kind, count, value))
    return (mark + struct.pack(order + "L", 8 + pad) + bytes(pad) +
            struct.pack(order + "H", 2) + b"".join(entries) + bytes(4) +
            b"Canon\0")


def encode(kind, exif=b"", before=(), pixels=PIXELS):
    """A file with EXIF; of a JPEG also with segments in front of it."""
    file = io.BytesIO()
    options = {"JPEG": {"quality": 95, "subsampling": 0},
               "WEBP": {"lossless": True, "exif": exif}}.get(kind, {})
    Image.fromarray(pixels).save(file, kind, **options)
    data = file.getvalue()
    if kind == "JPEG":
        segments = b"".join(
            b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body
            for marker, body in [*before, (0xe1, b"Exif\0\0" + exif)])
        return data[:2] + segments + data[2:]
    if kind == "PNG":
        chunk = b"eXIf" + exif
        return (data[:33] + struct.pack(">L", len(exif)) + chunk +
                struct.pack(">L", zlib.crc32(chunk)) + data[33:])
    return data


def by_pillow(contents):
    image = Image.open(io.BytesIO(contents))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = ImageOps.exif_transpose(image)
        except (SyntaxError, struct.error):  # Its word for broken EXIF.
            pass
    return np.array(image.convert("RGB"))


def check(contents):
    """That the decoded file looks as Pillow turns it."""
    expected = by_pillow(contents)
    image = DECODE(contents).numpy()
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= 4
    return image


DECODE = tf.function(functools.partial(ops.decode, upright=True),
                     input_signature=[tf.TensorSpec([], tf.string)])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_all_orientations_are_those_of_pillow(kind, order):
    seen = set()
    for value in range(1, 9):
        contents = encode(kind, tiff(value, order))
        seen.add(check(contents).tobytes())
        assert headers.orientation(contents).numpy() == value
    assert len(seen) == 8
    image, spec = ops_test.twice(functools.partial(ops.decode, upright=True),
                                 contents)
    assert spec.shape.as_list() == [None, None, 3] and image.shape[0] == 56


@pytest.mark.parametrize("before", [
    [(0xe0, b"JFIF\0\1\2\0\0\1\0\1\0\0")],
    [(0xe1, b"http://ns.adobe.com/xap/1.0/\0" + b"Exif\0\0" * 50)],
    [(0xe2, b"ICC_PROFILE\0" + bytes(60_000))] * 3 + [(0xfe, b"a comment")],
    [(0xfe, b"\xff\xda\xff\xd9" * 9)],
])
def test_exif_need_not_be_the_first_segment(before):
    contents = encode("JPEG", tiff(6, ">", pad=13), before)
    assert check(contents).shape == (56, 40, 3)


BROKEN = {
    "nothing": b"", "short": tiff(6)[:5], "cut": tiff(6)[:40],
    "mark": b"XX" + tiff(6)[2:], "far": tiff(6)[:4] + b"\xff\xff\xff\x7f",
    "0": tiff(0), "9": tiff(9), "65535": tiff(65_535), "text": tiff(6, kind=2),
    "byte": tiff(6, kind=1), "none": tiff(6, tag=0x0113),
    "no values": tiff(6, count=0), "many": tiff(6, count=40_000),
    "outside": tiff(6)[:-6], "negative": tiff(-6, kind=9),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_broken_exif_turns_nothing(kind):
    for name, exif in BROKEN.items():
        contents = encode(kind, exif)
        assert headers.orientation(contents).numpy() == 1, name
        assert check(contents).shape == PIXELS.shape, name


@pytest.mark.parametrize("exif", [
    tiff(8, kind=4), tiff(8, ">", kind=4), tiff(8, kind=8), tiff(8, count=2),
    b"Exif\0\0" + tiff(8, ">"), tiff(8)[:38]])
def test_unusual_exif_is_read_as_pillow_does(exif):
    check(encode("PNG", exif))
    check(encode("JPEG", exif))


@pytest.mark.parametrize("contents", [
    b"", b"\xff\xd8\xff", b"\x89PNG", b"RIFF\0\0\0\0WEBPVP8X", b"rubbish",
    b"\xff\xd8\xff\xe1\0\0", b"\x89PNG\r\n\x1a\n" + bytes(4000)])
def test_what_is_no_image_has_no_orientation(contents):
    assert headers.orientation(contents).numpy() == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_is_one_of_the_upright_image(kind, channels):
    noise = np.random.RandomState(0).randint(0, 256, (50, 70, 3)).astype(
        np.uint8)
    crop = functools.partial(ops.decode_and_inception_crop, size=(9, 16),
                             channels=channels)

    @tf.function(input_signature=[tf.TensorSpec([], tf.string),
                                  tf.TensorSpec([2], tf.int32)])
    def both(contents, seed):
        whole = ops.decode(contents, upright=True, channels=channels)
        return crop(contents, seed, upright=True), crop(whole, seed)

    for value in range(1, 9):
        contents = encode(kind, tiff(value), pixels=noise)
        for seed in range(4):
            np.testing.assert_array_equal(*both(contents, [seed, value]))
    assert both(contents, [0, 0])[0].shape == (9, 16, channels)


@pytest.mark.parametrize("value", [3, 6, 7])
def test_scaled_decoding_keeps_the_upright_axes(value):
    # As the stored image is decoded at half its size, so is the upright one.
    contents = encode("JPEG", tiff(value))
    crop = functools.partial(ops.decode_and_inception_crop, area_min=99.9,
                             aspect_min=0.1, aspect_max=10., upright=True)
    height, width = by_pillow(contents).shape[:2]
    full, half = (crop(tf.constant(contents), [1, 2], scaled_decoding=scaled,
                       size=(height // 2, width // 2)).numpy()
                  for scaled in (False, True))
    assert not np.array_equal(full, half)
    assert np.abs(full - half).max() < 8


def test_files_lie_as_stored_unless_asked_for():
    contents = encode("JPEG", tiff(6))
    assert ops.decode(contents).shape == PIXELS.shape
    np.testing.assert_array_equal(
        ops.decode(contents), ops.decode(encode("JPEG", tiff(1))))
    np.testing.assert_array_equal(ops.decode(PIXELS, upright=True), PIXELS)

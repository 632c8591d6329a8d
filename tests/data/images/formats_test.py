"""Formats that TensorFlow decodes otherwise than Pillow, right or refused."""
import functools
import io
import struct

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from tests.data.images import ops_test
from tfvit.data.images import decoding
from tfvit.data.images import headers
from tfvit.data.images import ops

RNG = np.random.default_rng(0)
PIXELS = np.kron(RNG.integers(0, 256, (5, 7, 3)), np.ones((3, 3, 1))).astype(
    np.uint8)  # 15 rows of 21
DECODE = tf.function(ops.decode, input_signature=[
    tf.TensorSpec([], tf.string)], autograph=False)


def encode(kind, image=None, **options):
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **options)
    return bytearray(file.getvalue())


def by_pillow(contents, mode="RGB"):
    return np.array(Image.open(io.BytesIO(bytes(contents))).convert(mode))


def palette(colours):
    return Image.fromarray(PIXELS).quantize(colours)


def bmp(bits, height=3, colours=None, packing=0, header=40):
    """A BMP of 5 columns by its description, made by hand."""
    row = (5 * bits + 31) // 32 * 4
    table = RNG.integers(0, 256, [colours or 2**bits, 4], np.uint8).tobytes()
    begin = 14 + header + len(table)
    data = RNG.integers(0, 256, row * abs(height), np.uint8).tobytes()
    info = struct.pack("<LllHHLLllLL", header, 5, height, 1, bits, packing, 0,
                       0, 0, colours or 0, 0)
    return struct.pack("<2sLLL", b"BM", begin + len(data), 0,
                       begin) + info + bytes(header - 40) + table + data


@pytest.mark.parametrize("contents", [
    *(encode("BMP", palette(n)) for n in (2, 16, 200)),
    encode("BMP", Image.fromarray(PIXELS).convert("1")),
    encode("BMP", Image.fromarray(PIXELS).convert("L")),
    *(bmp(bits, height) for bits in (1, 4, 8) for height in (3, -4)),
    bmp(8, header=124), bmp(4, colours=16)], ids=str)
def test_a_bmp_has_the_colours_of_its_palette(contents):
    contents = bytes(contents)
    np.testing.assert_array_equal(DECODE(contents), by_pillow(contents))


def test_colours_beyond_a_short_palette_are_black():
    image = DECODE(bmp(8, colours=2)).numpy()
    assert set(map(tuple, image.reshape(-1, 3))) >= {(0, 0, 0)}


@pytest.mark.parametrize("contents, message", [
    (bmp(8, packing=1), "BMP of 8 bits, header of 40 bytes, compression 1"),
    (bmp(16, colours=1), "BMP of 16 bits"),
    (bmp(32, colours=1, packing=3), "compression 3"),
    (b"BM" + bytes(12) + struct.pack("<LHHHH", 12, 5, 3, 1, 24) + bytes(60),
     "header of 12 bytes"), (bmp(8)[:-1], "cut short"),
    (bmp(1)[:22] + struct.pack("<l", 2**30) + bmp(1)[26:], "more than"),
    (b"\0\0\0\x20ftypheic" + bytes(20), "It is HEIC. .*convert it to JPEG"),
    (b"\0\0\0\x20ftypavif" + bytes(20), "It is AVIF"),
    (encode("TIFF"), "It is TIFF"), (b"%PDF-1.4" + bytes(20), "It is PDF"),
])
def test_what_cannot_be_right_is_refused_by_name(contents, message):
    contents = bytes(contents)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        DECODE(contents)
    assert tf.strings.regex_full_match(decoding.error(contents),
                                       f".*({message}).*")
    assert "assertion" not in decoding.error(contents)


@pytest.mark.parametrize("kind", ["AVIF", "TIFF"])
def test_formats_that_are_not_read_are_recognized(kind):
    number = headers.foreign(bytes(encode(kind))).numpy()
    assert headers.FOREIGN[number] == kind
    for good in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        assert headers.foreign(bytes(encode(good))).numpy() == 0


def frames(canvas, *boxes, local=False, loops=b"", transparent=None):
    """A GIF of frames (left, top, width, height, colours) by Pillow's LZW."""
    first, parts = None, []
    for left, top, width, height, seed in boxes:
        colours = np.random.default_rng(seed).integers(0, 8, [height, width])
        image = Image.fromarray(colours.astype(np.uint8), "L")
        file = io.BytesIO()
        image.putpalette(PALETTE)
        image.save(file, "GIF", optimize=False)
        data = file.getvalue()
        size = 3 * 2**(data[10] % 8 + 1)
        first = first or data[:13 + size]
        at = data.index(b"\x2c", 13 + size)
        place = struct.pack("<HHHH", left, top, width, height)
        flags = data[10] % 8 + 0x80 if local else 0
        control = b"" if transparent is None else b"\x21\xf9\4\1\0\0" + bytes(
            [transparent, 0])
        parts.append(control + b"\x2c" + place + bytes([flags]) +
                     data[13:13 + size] * local + data[at + 10:-1])
    return (first[:6] + struct.pack("<HH", *canvas) + first[10:] + loops +
            b"".join(parts) + b";")


PALETTE = bytes(RNG.integers(0, 256, 768, np.uint8))
NETSCAPE = b"\x21\xff\x0bNETSCAPE2.0\3\1\0\0\0"


@pytest.mark.parametrize("contents", [
    frames((9, 7), (0, 0, 9, 7, 1)), frames((9, 7), (2, 3, 4, 2, 1)),
    frames((9, 7), (5, 0, 4, 7, 1), loops=NETSCAPE),
    frames((9, 7), (2, 3, 4, 2, 1), local=True),
    frames((1, 1), (0, 0, 9, 7, 1)), frames((4, 4), (2, 3, 9, 7, 1)),
    frames((9, 7), (0, 0, 9, 7, 1), (1, 1, 3, 3, 2), (0, 0, 9, 7, 3)),
    frames((9, 7), (1, 1, 3, 3, 2), (0, 0, 9, 7, 3), loops=NETSCAPE),
])
def test_the_first_frame_of_a_gif_lies_on_its_canvas(contents):
    expected = by_pillow(contents)
    np.testing.assert_array_equal(DECODE(contents), expected)
    assert headers.num_pixels(contents).numpy() == np.prod(expected.shape[:2])


def test_around_a_frame_that_is_transparent_is_black():
    contents = frames((9, 7), (2, 3, 4, 2, 1), transparent=5)
    alpha = by_pillow(contents, "RGBA")
    expected = np.where(alpha[..., 3:] > 0, alpha[..., :3], 0)
    np.testing.assert_array_equal(DECODE(contents), expected)


def test_of_a_gif_one_frame_is_decoded():
    # The second frame says 60,000 x 60,000, and is rubbish.
    good = frames((9, 7), (0, 0, 9, 7, 1))
    contents = good[:-1] + b"\x2c\0\0\0\0" + b"\x60\xea" * 2 + b"\0\x08\3abc\0;"
    np.testing.assert_array_equal(DECODE(contents), by_pillow(good))
    bomb = frames((1, 1), (0, 0, 1, 1, 1))
    at = bomb.index(b"\x2c\0\0\0\0\1\0")
    bomb = bomb[:at + 5] + b"\x60\xea" * 2 + bomb[at + 9:]
    assert headers.num_pixels(bomb).numpy() == 60_000**2
    with pytest.raises(tf.errors.InvalidArgumentError, match="3600000000 pix"):
        DECODE(bomb)


GREY = [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"),
        ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "LA"), ("PNG", "1"),
        ("GIF", "RGB"), ("BMP", "RGB"), ("BMP", "P"), ("WEBP", "RGB")]


@pytest.mark.parametrize("kind, mode", GREY)
def test_every_format_becomes_grey(kind, mode):
    smooth = Image.fromarray(PIXELS).resize((40, 30)).convert(mode)
    options = {"quality": 95} if kind == "JPEG" else {}
    options.update({"lossless": True} if kind == "WEBP" else {})
    contents = bytes(encode(kind, smooth, **options))
    image, spec = ops_test.twice(functools.partial(ops.decode, channels=1),
                                 contents)
    assert spec.shape.as_list() == [None, None, 1]
    expected = np.array(Image.open(io.BytesIO(contents)).convert("RGB").convert(
        "L")).astype(int)
    # In a JPEG the brightness has its own plane, and is not cut to 0..255.
    difference = np.abs(image[..., 0] - expected)
    assert np.median(difference) <= 3 and difference.max() <= (
        12 if kind == "JPEG" else 1)


@pytest.mark.parametrize("kind, mode", [
    ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB")])
def test_a_grey_crop_is_one_of_the_grey_image(kind, mode):
    contents = tf.constant(bytes(encode(kind, Image.fromarray(
        PIXELS).convert(mode))))
    crop = functools.partial(ops.decode_and_inception_crop, size=8, channels=1)
    whole = ops.decode(contents, channels=1)
    for seed in range(3):
        part = crop(contents, [seed, 1])
        np.testing.assert_array_equal(part, crop(whole, [seed, 1]))
    assert part.shape == (8, 8, 1)


@pytest.mark.parametrize("bits, mode", [(16, "I;16"), (1, "1")])
def test_png_of_other_depths(bits, mode):
    wide = RNG.integers(0, 2**16, [4, 6], np.uint16)
    image = (Image.fromarray(wide) if bits == 16 else
             Image.fromarray(wide > 2**15))
    assert image.mode == mode
    expected = wide >> 8 if bits == 16 else (wide > 2**15) * 255
    np.testing.assert_array_equal(DECODE(bytes(encode("PNG", image)))[..., 1],
                                  expected)

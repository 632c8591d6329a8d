"""Files as people have them: odd ones train, broken ones are named."""

import functools
import io
import struct
import zlib

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.datasets import sources
from tfvit.data.images import ops

PIXELS = np.random.default_rng(0).integers(0, 256, [9, 12, 3]).astype(np.uint8)
OPS = [functools.partial(ops.decode_and_inception_crop, size=4, area_min=99),
       ops.value_range]


def encode(file_format, mode="RGB", **arguments):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, file_format, **arguments)
    return buffer.getvalue()


def wide_png():
    grey = tf.constant(PIXELS[..., :1], tf.uint16) * 257
    return tf.io.encode_png(grey).numpy()


ODD = {
    "cmyk.jpg": encode("JPEG", "CMYK"),
    "grey.jpg": encode("JPEG", "L"),
    "progressive.jpg": encode("JPEG", progressive=True),
    "16_bits.png": wide_png(),
    "palette.png": encode("PNG", "P"),
    "moves.gif": encode("GIF", save_all=True,
                        append_images=[Image.new("RGB", (12, 9), "red")]),
    "png_inside.jpg": encode("PNG"),
    "jpeg_inside.png": encode("JPEG"),
    "webp_inside.gif": encode("WEBP"),
}


def huge(file_format):
    """A file of a few bytes that says it has 60,000 x 60,000 pixels."""
    size = 60_000
    if file_format == "png":
        header = b"IHDR" + struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
        return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header +
                struct.pack(">I", zlib.crc32(header)))
    contents = bytearray(encode(file_format))
    if file_format == "jpeg":
        at = contents.index(b"\xff\xc0") + 5
        contents[at:at + 4] = struct.pack(">HH", size, size)
    else:
        contents[18:26] = struct.pack("<ii", size, size)
    return bytes(contents)


BROKEN = {
    "empty.jpg": (b"", "Input is empty"),
    "text.jpg": (b"<html>404</html>", "Unknown image file format"),
    "short.jpg": (encode("JPEG")[:300], "Invalid JPEG"),
    "short.png": (encode("PNG")[:60], "Invalid PNG"),
    **{f"huge.{kind}": (huge(kind), "") for kind in ("png", "jpeg", "bmp")},
}


def folder(root, files):
    """A source of {name: contents} and a good image in each of two classes."""
    for name in ("a", "b"):
        (root / "train" / name).mkdir(parents=True, exist_ok=True)
        (root / "train" / name / "good.png").write_bytes(encode("PNG"))
    for name, contents in files.items():
        (root / "train/b" / name).write_bytes(contents)
    return sources.folder(path=str(root), split="train")


def batch(source, **arguments):
    """All examples, as the first training batch."""
    dataset = pipeline.train(source=source, ops=OPS, seed=0,
                             batch_size=source.num_examples, **arguments)
    return next(iter(dataset.take(1)))


def test_odd_files_train(tmp_path):
    images = batch(folder(tmp_path, ODD))["images"].numpy()
    assert images.shape == (len(ODD) + 2, 4, 4, 3)
    # A black or white picture would be one that was not understood.
    assert (images.std(axis=(1, 2, 3)) > 0.1).all()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_or_skipped(tmp_path, name):
    contents, reason = BROKEN[name]
    source = folder(tmp_path, {name: contents})
    with pytest.raises(tf.errors.OpError):
        batch(source)
    culprit = pipeline.blame(source, batch_size=3, seed=0)
    assert f"Cannot decode {tmp_path}/train/b/{name}: " in culprit
    assert reason in culprit and "skip_corrupt = True" in culprit
    weights = batch(source, skip_corrupt=True)["weights"]
    assert sorted(weights.numpy()) == [0, 1, 1]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    # Not by its permissions, which root ignores.
    (tmp_path / "train/b/folder.jpg").mkdir(parents=True)
    source = folder(tmp_path, {})
    with pytest.raises(tf.errors.OpError):
        batch(source)
    for seed in (None, 0):
        assert pipeline.blame(source, batch_size=3, seed=seed) == (
            f"Cannot read {tmp_path}/train/b/folder.jpg; Is a directory.")


@pytest.mark.parametrize("name, message", [
    ("short.png", "Cannot decode .*/short.png: Invalid PNG"),
    ("folder.jpg", "Cannot read .*/folder.jpg; Is a directory")])
def test_the_preview_names_it_too(tmp_path, name, message):
    if name == "folder.jpg":
        (tmp_path / "train/b" / name).mkdir(parents=True)
    source = folder(tmp_path, {name: BROKEN[name][0]} if name in BROKEN else {})
    build = functools.partial(pipeline.train, ops=OPS)
    with pytest.raises(ValueError, match=message):
        pipeline.preview(build, source, seed=0, num_images=3)

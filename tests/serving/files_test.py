"""Image files that lie about themselves, to a server."""
import functools
import io
import struct
import zlib

from numpy import testing
import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from tests.data.images import formats_test
from tests.data.images import upright_test
from tests.serving import samples
from tfvit.data.images import ops
from tfvit.serving import saved
from tfvit.serving import signatures as signatures_lib


@pytest.fixture(scope="module")
def classify():
    return samples.server(max_pixels=100_000).signatures()["serving_default"]


def test_an_export_sees_photos_as_the_evaluation_did(tmp_path):
    server = signatures_lib.Server(
        model=samples.model(), class_names=samples.NAMES,
        ops=[functools.partial(ops.decode, upright=True), *samples.OPS[1:]])
    path = saved.write(server, out=str(tmp_path), step=1, config="",
                       class_names=samples.NAMES, model_name="toy",
                       record={"model": "toy", "step": 1, "link": "softmax",
                               "precision": "float32", "preprocessing": []},
                       warmup_batches=[])
    exported = tf.saved_model.load(path).signatures
    files = [upright_test.encode(kind, upright_test.tiff(value))
             for kind in ("JPEG", "PNG", "WEBP") for value in range(1, 9)]
    out = exported["serving_default"](image_bytes=tf.constant(files))
    assert not any(out["error"].numpy())
    # Of pixels there is no EXIF. (DECODE is held against Pillow.)
    expected = np.concatenate([exported["uint8_images"](
        images=upright_test.DECODE(file)[None])["probabilities"]
                               for file in files])
    testing.assert_allclose(out["probabilities"], expected, atol=1e-6)
    assert np.ptp(expected[:8], axis=0).max() > 1e-3  # They differ.


def test_files_of_other_formats_are_told_what_they_are(classify):
    files = [b"\0\0\0\x20ftypheic" + bytes(20), b"MM\0*" + bytes(40),
             samples.encoded(), samples.encoded("TIFF"), b"\xff\x0a" * 9]
    error = classify(image_bytes=tf.constant(files))["error"].numpy()
    assert [e.split(b".")[0] for e in error] == [
        b"It is HEIC", b"It is TIFF", b"", b"It is TIFF", b"It is JPEG XL"]


def test_a_gif_is_as_large_as_its_first_frame(classify):
    frame = (0, 0, 9, 7, 1)
    bomb = bytearray(formats_test.frames((1, 1), frame))
    at = bomb.index(b"\x2c\0\0\0\0\x09\0")
    bomb[at + 5:at + 9] = struct.pack("<HH", 8000, 8000)
    files = [bytes(bomb), formats_test.frames((9, 7), *[frame] * 60),
             formats_test.frames((9, 7), frame),
             formats_test.frames((400, 400), frame)]
    out = classify(image_bytes=tf.constant(files))
    assert [e[:24] for e in out["error"].numpy()] == [
        b"The image has more than ", b"", b"", b"The image has more than "]
    testing.assert_array_equal(*out["probabilities"].numpy()[1:3])


def test_a_line_of_pixels_is_answered():
    crop = [ops.decode, functools.partial(ops.resize_small, smaller_size=20),
            functools.partial(ops.central_crop, size=16), ops.value_range]
    server = signatures_lib.Server(model=samples.model(), ops=crop,
                          class_names=samples.NAMES)
    files = []
    for size in ((3000, 1), (1, 3000), (1, 1)):
        file = io.BytesIO()
        Image.new("L", size, 90).save(file, "PNG")
        files.append(file.getvalue())
    images, error = server.preprocess(tf.constant(files))
    assert not any(error.numpy())
    testing.assert_allclose(images, 90 / 127.5 - 1, atol=1e-5)


EXTREMES = (0, 1, 2, 255, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
            0xffffffff)


def lies(count, seed=0, good=()):
    """Files whose headers are wrong, or that are cut short."""
    rng = np.random.default_rng(seed)
    good = good or _sound()
    for i in range(count):
        data = bytearray(good[i % len(good)])
        damage = i // len(good) % 4
        if damage == 0:  # Cut short.
            yield bytes(data[:rng.integers(len(data))])
            continue
        for _ in range(damage):  # A field, mostly of the header.
            value = int(rng.choice(EXTREMES))
            size = int(rng.choice([1, 2, 4]))
            order = str(rng.choice(["little", "big"]))
            most = min(64, len(data) - 4) if rng.random() < 0.8 else len(
                data) - 4
            at = int(rng.integers(4, most))
            data[at:at + size] = (value % 256**size).to_bytes(size, order)
        if data[:4] == b"\x89PNG":  # Else the checksum alone is complained of.
            data[29:33] = struct.pack(">L", zlib.crc32(data[12:29]))
        yield bytes(data)


def _sound():
    kinds = [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P"),
             ("GIF", "RGB"), ("BMP", "RGB"), ("BMP", "P"), ("BMP", "1"),
             ("WEBP", "RGB"), ("WEBP", "RGBA")]
    good = [samples.encoded(*kind) for kind in kinds]
    good += [formats_test.frames((9, 7), (1, 2, 3, 4, 1), (0, 0, 9, 7, 2),
                                 loops=formats_test.NETSCAPE),
             formats_test.bmp(4), upright_test.encode(
                 "JPEG", upright_test.tiff(6, ">"))]
    return good


def survive(classify, files, batch=20):
    """Classifies files between good ones; returns the number of errors."""
    good = samples.encoded()
    expected = classify(image_bytes=tf.constant([good]))["probabilities"]
    flagged = 0
    for begin in range(0, len(files), batch):
        out = classify(image_bytes=tf.constant(
            [good, *files[begin:begin + batch], good]))
        error = out["error"].numpy() != b""
        values = out["probabilities"].numpy()
        assert not error[0] and not error[-1]
        testing.assert_allclose(values[[0, -1]], np.repeat(expected, 2, 0),
                                atol=1e-6)
        testing.assert_allclose(values.sum(-1), ~error, atol=1e-5)
        flagged += error.sum()
    return flagged


def test_files_that_lie_cost_their_own_row(classify):
    assert survive(classify, list(lies(208))) > 80


def test_a_file_without_its_end_is_flagged(classify):
    files = [samples.encoded(kind)[:30] for kind in (
        "JPEG", "PNG", "GIF", "BMP", "WEBP")]
    assert survive(classify, files) == 5

"""Tests of the functions that a SavedModel consists of."""

import base64
import io
import resource
import struct
import zlib

from numpy import testing
import numpy as np
from PIL import Image
import pytest
import tensorflow as tf
import tf_keras

from tests.serving import samples
from tfvit.data.images import headers
from tfvit.serving import signatures as signatures_lib


@pytest.fixture(scope="module")
def functions():
    return samples.server().signatures()


def preprocessed(image):
    for op in samples.OPS:
        image = op(image)
    return image


def test_files_of_all_kinds_and_sizes_share_a_batch(functions):
    files = [samples.encoded(kind, height=size, width=2 * size, seed=size)
             for kind, size in [("JPEG", 30), ("PNG", 11), ("GIF", 40),
                                ("BMP", 5), ("WEBP", 16)]]
    out = functions["serving_default"](image_bytes=tf.constant(files))
    images = tf.stack([preprocessed(file) for file in files])
    expected = tf.nn.softmax(samples.model()(images)).numpy()
    testing.assert_allclose(out["probabilities"], expected, atol=1e-6)
    best = np.argsort(-expected)[:, :5]
    testing.assert_array_equal(out["class_ids"], best)
    assert out["classes"][0, 0].numpy().decode() == samples.NAMES[best[0, 0]]
    testing.assert_array_equal(out["error"], [b""] * 5)


def test_a_broken_file_costs_its_own_row_alone(functions):
    good = samples.encoded()
    files = [b"", good, b"rubbish", samples.encoded("JPEG")[:200], good]
    out = functions["serving_default"](image_bytes=tf.constant(files))
    bad = [0, 2, 3]
    testing.assert_array_equal(out["error"].numpy() != b"",
                               [i in bad for i in range(5)])
    alone = functions["serving_default"](image_bytes=tf.constant([good]))
    for row in 1, 4:
        testing.assert_allclose(out["probabilities"][row],
                                alone["probabilities"][0], atol=1e-6)
    assert not out["probabilities"].numpy()[bad].any()
    assert (out["class_ids"].numpy()[bad] == -1).all()
    assert (out["classes"].numpy()[bad] == b"").all()


def test_an_empty_batch_is_answered_by_an_empty_one(functions):
    out = functions["serving_default"](image_bytes=tf.constant([], tf.string))
    assert out["probabilities"].shape == (0, 7)
    assert out["error"].shape == (0,)


def test_images_that_are_too_large_are_not_decoded():
    server = samples.server(max_pixels=600)
    files = [samples.encoded(kind, height=20, width=width)
             for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP")
             for width in (30, 31)]
    error = server.classify(tf.constant(files))["error"].numpy()
    assert [b"600 pixels" in e for e in error] == [False, True] * 5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_the_size_is_read_from_the_header(kind):
    file = samples.encoded(kind, height=300, width=517)
    assert headers.num_pixels(file).numpy() == 300 * 517
    in_map = tf.data.Dataset.from_tensors(file).map(headers.num_pixels)
    assert next(iter(in_map)).numpy() == 300 * 517


def test_bytes_that_are_no_image_have_no_size():
    assert headers.num_pixels(b"").numpy() == 0
    assert headers.num_pixels(b"\x89PN").numpy() == 0


def test_pixels_are_preprocessed_like_files(functions):
    image = samples.pixels()
    file = functions["serving_default"](
        image_bytes=tf.constant([samples.encoded()]))
    out = functions["uint8_images"](images=tf.constant(image[None]))
    testing.assert_allclose(out["probabilities"], file["probabilities"],
                            atol=1e-6)


def test_features_are_what_the_head_sees(functions):
    model = samples.model()
    out = functions["features"](
        image_bytes=tf.constant([samples.encoded(), b"rubbish"]))
    head = model.get_layer("head")
    images = preprocessed(samples.encoded())[None]
    testing.assert_allclose(
        out["features"][:1] @ head.kernel + head.bias, model(images),
        atol=1e-5)
    assert not out["features"][1].numpy().any()


def test_attention_of_the_class_token_and_rollout(functions):
    model = samples.model()
    out = functions["attention"](image_bytes=tf.constant([samples.encoded()]))
    images = preprocessed(samples.encoded())[None]
    layers = [model.get_layer(f"Transformer/encoderblock_{i}") for i in (0, 1)]
    inputs = tf_keras.Model(model.inputs, [b.input for b in layers])(images)
    weights = [b.attention.weights_over(b.norm_0(x)).numpy()[0]
               for b, x in zip(layers, inputs)]  # [heads, N, N]
    testing.assert_allclose(
        out["attention"][0],
        np.stack([w[:, 0, 1:].reshape(2, 4, 4) for w in weights]), atol=1e-6)
    first, second = (0.5 * w.mean(0) + 0.5 * np.eye(17) for w in weights)
    testing.assert_allclose(out["rollout"][0],
                            (second @ first)[0, 1:].reshape(4, 4), atol=1e-6)


@pytest.mark.parametrize("name, expected", [
    ("token", {"features", "attention", "serving_default", "top_k",
               "uint8_images", "images"}),
    ("mixer", {"features", "serving_default", "top_k", "uint8_images",
               "images"}),
    ("headless", {"features", "attention"}),
    ("unpooled", {"features", "attention"}),
])
def test_a_model_has_the_signatures_that_it_can_answer(name, expected):
    assert set(samples.server(name).signatures()) == expected


def asked(*names):
    return samples.server(only=names).signatures()


def test_the_top_classes_come_alone(functions):
    files = tf.constant([samples.encoded(), b"rubbish"])
    full = functions["serving_default"](image_bytes=files)
    found = functions["top_k"](image_bytes=files)
    assert set(found) == set(full) - {"probabilities"}
    for name, values in found.items():
        testing.assert_array_equal(values, full[name])


def test_files_come_in_examples_and_in_base64(functions):
    files = [samples.encoded(seed=1), b"rubbish", samples.encoded("JPEG")]
    expected = functions["serving_default"](image_bytes=tf.constant(files))
    examples = [tf.train.Example(features=tf.train.Features(feature={
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(
            value=[file])),
        "more": tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))}
    )).SerializeToString() for file in files]
    texts = [base64.urlsafe_b64encode(files[0]).rstrip(b"="),
             base64.b64encode(files[1]), base64.b64encode(files[2])]
    assert b"/" in texts[2] or b"+" in texts[2]
    more = asked("examples", "base64")
    for given in ({"examples": examples}, {"image_base64": texts}):
        (name,) = given
        found = more[name.split("_")[-1]](**{
            key: tf.constant(values) for key, values in given.items()})
        for key, values in found.items():
            testing.assert_array_equal(values, expected[key])
        # What is no example, or no base64, costs its row, too.
        broken = [given[name][0], b"\xff\xff no", b""]
        error = more[name.split("_")[-1]](
            **{name: tf.constant(broken)})["error"].numpy()
        assert (error != b"").tolist() == [False, True, True]


def test_only_the_signatures_asked_for_are_there():
    assert set(asked("top_k", "features")) == {"top_k", "features"}
    server = samples.server(only=["images"])
    assert [name for name, _ in server.warmup_requests(1)] == ["images"]
    with pytest.raises(ValueError, match="--signatures=images,zeroshot: .* no "
                       "zeroshot, only .*serving_default"):
        asked("images", "zeroshot")


def test_sigmoid_probabilities():
    server = samples.server(link="sigmoid")
    file = samples.encoded()
    logits = samples.model()(preprocessed(file)[None])
    testing.assert_allclose(
        server.classify(tf.constant([file]))["probabilities"],
        1 / (1 + np.exp(-logits)), atol=1e-6)


def test_half_precision_and_xla_change_little(functions):
    file = tf.constant([samples.encoded()])
    expected = functions["serving_default"](image_bytes=file)["probabilities"]
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        half = samples.server()
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    out = half.signatures()["serving_default"](image_bytes=file)
    testing.assert_allclose(out["probabilities"], expected, atol=0.02)
    assert half.signatures()["attention"](image_bytes=file)["rollout"].shape[
        1:] == (4, 4)
    compiled = samples.server(jit=True).classify(file)
    testing.assert_allclose(compiled["probabilities"], expected, atol=1e-5)


def test_images_of_a_run_without_resize_are_resized():
    model = samples.model()
    server = signatures_lib.Server(model=model, ops=[samples.OPS[0], samples.OPS[2]],
                          class_names=samples.NAMES)
    out = server.classify(tf.constant([samples.encoded()]))
    assert out["error"].numpy() == [b""]


def test_names_that_are_too_few_are_an_error():
    with pytest.raises(ValueError, match="6 class names for 7 classes"):
        signatures_lib.Server(model=samples.model(), ops=samples.OPS,
                     class_names=samples.NAMES[1:])


def test_random_preprocessing_is_an_error():
    with pytest.raises(ValueError, match="random.*flip"):
        signatures_lib.Server(model=samples.model(), class_names=samples.NAMES,
                     ops=[*samples.OPS, flip])


def flip(image, seed):
    return tf.image.stateless_random_flip_left_right(image, seed)


def _malformed(count):
    """Requests of rubbish, made of a good file by damage of many kinds."""
    rng = np.random.default_rng(0)
    good = [samples.encoded(kind, mode) for kind, mode in [
        ("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGB"),
        ("PNG", "P"), ("PNG", "RGBA"), ("GIF", "RGB"), ("BMP", "RGB"),
        ("WEBP", "RGB")]]
    for i in range(count):
        data = bytearray(good[i % len(good)])
        damage = i // len(good) % 4
        if damage == 0:
            data = data[:rng.integers(len(data))]
        elif damage == 1:
            data = rng.bytes(rng.integers(1, 500))
        elif damage == 2:
            for at in rng.integers(0, len(data), 5):
                data[at] = rng.integers(256)
        else:
            data[4:] = rng.bytes(len(data) - 4)
        yield bytes(data)


def test_two_hundred_malformed_files_leave_the_good_ones_alone(functions):
    good = samples.encoded()
    expected = functions["serving_default"](image_bytes=tf.constant([good]))
    files = list(_malformed(200))
    flagged = 0
    for begin in range(0, 200, 20):
        batch = [good, *files[begin:begin + 20], good]
        out = functions["serving_default"](image_bytes=tf.constant(batch))
        error = out["error"].numpy()
        assert error[0] == error[-1] == b""
        testing.assert_allclose(
            out["probabilities"].numpy()[[0, -1]],
            np.repeat(expected["probabilities"], 2, axis=0), atol=1e-6)
        flagged += sum(e != b"" for e in error)
    assert flagged > 100  # Some damage leaves a file that can be decoded.


def test_bombs_are_flagged_without_being_unpacked(functions):
    # 70 kB that would be 900 MB; numbers from the PNG specification.
    body = struct.pack(">IIBBBBB", 20_000, 15_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", body), (b"IDAT", zlib.compress(bytes(70_000_000), 9)),
              (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data +
        struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out = functions["serving_default"](
        image_bytes=tf.constant([bomb] * 8 + [samples.encoded()]))
    error = out["error"].numpy().tolist()
    assert error == [b"The image has more than 50,000,000 pixels."] * 8 + [b""]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000  # KiB; one bomb is 900,000.


def test_an_animation_is_its_first_frame(functions):
    file = io.BytesIO()
    first, *others = (Image.fromarray(samples.pixels(seed=i)) for i in range(3))
    first.save(file, "GIF", save_all=True, append_images=others)
    alone = io.BytesIO()
    first.save(alone, "GIF")
    out = functions["serving_default"](
        image_bytes=tf.constant([file.getvalue(), alone.getvalue()]))
    testing.assert_allclose(*out["probabilities"].numpy(), atol=1e-3)


def test_images_without_pixels_are_flagged(functions):
    out = functions["uint8_images"](images=tf.zeros([2, 0, 5, 3], tf.uint8))
    assert all(out["error"].numpy() != b"")


@pytest.mark.parametrize("name, inputs", [
    ("serving_default", {"image_bytes": tf.zeros([2])}),
    ("serving_default", {"image_bytes": tf.constant("one")}),
    ("serving_default", {"images": tf.constant(["x"])}),
    ("images", {"images": tf.zeros([2, 16, 15, 3])}),
    ("images", {"images": tf.zeros([2, 16, 16])}),
    ("images", {"images": tf.zeros([16])}),
    ("images", {"images": tf.zeros([1, 2, 16, 16, 3])}),
    ("uint8_images", {"images": tf.zeros([16, 16, 3], tf.uint8)}),
    ("uint8_images", {"images": tf.zeros([2, 16, 16, 3])}),
    ("uint8_images", {"images": tf.zeros([2, 16, 16, 4], tf.uint8)}),
])
def test_inputs_of_another_kind_are_an_error(functions, name, inputs):
    with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
        functions[name](**inputs)

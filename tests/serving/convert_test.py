"""Converted files compute what the Keras model computes."""

from numpy import testing
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.serving import samples
from tfvit.data import tokenizers
from tfvit.serving import convert
from tfvit.serving import lit_signatures
from tfvit.serving import signatures as signatures_lib

IMAGES = np.random.default_rng(0).uniform(
    -1, 1, [3, 16, 16, 3]).astype(np.float32)


def part(server, **settings):
    return server.parts(**settings)["model"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["token", "gap", "representation", "hybrid",
                                  "mixer"])
@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_float32_files_agree_for_every_architecture(name, kind):
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
    _, report = convert.convert(part(samples.server(name)), kind, IMAGES)
    assert report["max_difference"] < 1e-4
    assert report["largest_logit"] > 0.1
    assert report["same_class"] == 1.0


@pytest.mark.parametrize("name", [
    "token",
    *(pytest.param(name, marks=pytest.mark.slow)
      for name in ("gap", "representation", "hybrid", "mixer"))])
@pytest.mark.parametrize("kind, smallest, largest", [
    ("tflite_float16", 1e-6, 1e-2), ("tflite_int8", 1e-4, 5e-2)])
def test_smaller_numbers_differ_a_little(name, kind, smallest, largest):
    _, report = convert.convert(part(samples.server(name)), kind, IMAGES)
    share = report["max_difference"] / report["largest_logit"]
    assert smallest < share < largest


def test_the_file_that_is_written_is_the_one_compared():
    data, _ = convert.convert(part(samples.server()), "tflite", IMAGES)
    interpreter = tf.lite.Interpreter(model_content=data)
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, IMAGES.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, IMAGES)
    interpreter.invoke()
    logits = interpreter.get_tensor(
        interpreter.get_output_details()[0]["index"])
    testing.assert_allclose(logits, samples.model()(IMAGES), atol=1e-5)


@pytest.mark.parametrize("link", [
    "softmax", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_files_are_run_by_the_names_of_their_outputs(link):
    logits = samples.model()(IMAGES).numpy()
    exps = np.exp(logits)
    expected = {"logits": logits, "probabilities": {
        "softmax": exps / exps.sum(-1, keepdims=True),
        "sigmoid": 1 / (1 + 1 / exps)}[link]}
    for kind, run in (("tflite", run_tflite), ("onnx", run_onnx)):
        if kind == "onnx":
            pytest.importorskip("tf2onnx")
        data, _ = convert.convert(part(samples.server(link=link),
                                       probabilities=True), kind, IMAGES)
        found = run(data)
        assert set(found) == set(expected)
        for name, values in found.items():
            testing.assert_allclose(values, expected[name], atol=1e-5)


def run_tflite(data):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    run = litert.Interpreter(model_content=data).get_signature_runner()
    return run(images=IMAGES)


def run_onnx(data):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(
        data, providers=["CPUExecutionProvider"])
    ends = [*session.get_inputs(), *session.get_outputs()]
    assert [end.shape[0] for end in ends] == ["batch"] * len(ends)
    names = [end.name for end in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": IMAGES})))


def test_a_file_that_differs_is_an_error(monkeypatch):
    monkeypatch.setattr(convert, "_tflite",
                        lambda server, kind, images, *_: (
                            b"", np.ones([3, 7])))
    with pytest.raises(ValueError, match="differs from the Keras model by"):
        convert.convert(part(samples.server()), "tflite", IMAGES)


@pytest.mark.slow
@pytest.mark.parametrize("kind, worst", [
    ("tflite", 1e-5), ("tflite_float16", 1e-2), ("tflite_int8_weights", 0.1),
    ("onnx", 1e-5)])
@pytest.mark.parametrize("tower", ["image", "text"])
def test_towers_are_files_of_their_own(kind, worst, tower):
    model = samples.lit()
    tokens = np.array([[2, 3, 4, 0, 0, 0], [2, 5, 6, 7, 3, 1]], np.int32)
    server = lit_signatures.Server(
        model=model, ops=samples.OPS, tokenizer=tokenizers.wordpiece(
            vocab=["[PAD]", "[UNK]", "[CLS]", *"abcde"], max_len=6))
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
    inputs = {"image": IMAGES, "text": tokens}[tower]
    data, report = convert.convert(server.parts()[tower], kind, inputs, batch=1
                                   if kind != "onnx" else None)
    expected = {"image": model.embed_images,
                "text": model.embed_texts}[tower](inputs).numpy()
    name = {"image": "images", "text": "tokens"}[tower]
    if kind == "onnx":
        import onnxruntime
        found = onnxruntime.InferenceSession(data).run(
            ["embeddings"], {name: inputs})[0]
    else:
        litert = pytest.importorskip("ai_edge_litert.interpreter")
        run = litert.Interpreter(model_content=data).get_signature_runner()
        found = np.concatenate([run(**{name: one[np.newaxis]})["embeddings"]
                                for one in inputs])
    testing.assert_allclose(found, expected, atol=worst)
    assert report["max_difference"] < worst and report["least_cosine"] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["headless", "unpooled"])
@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_models_without_classes_give_features(name, kind):
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
    server = samples.server(name)
    data, report = convert.convert(part(server), kind, IMAGES)
    found = {"tflite": run_tflite, "onnx": run_onnx}[kind](data)
    assert set(found) == {"features"} and "same_class" not in report
    testing.assert_allclose(
        found["features"], server._forward(IMAGES)[0], atol=1e-4)
    with pytest.raises(ValueError, match="--probabilities: this model gives"):
        server.parts(probabilities=True)


def test_another_direction_is_refused(monkeypatch):
    made = part(samples.server("headless"))
    values = {"features": made.call(IMAGES)["features"].numpy()}
    monkeypatch.setattr(convert, "_tflite", lambda *_: (
        b"", values["features"][:, ::-1]))
    with pytest.raises(ValueError, match="a cosine of .* less than 0.95"):
        convert.convert(made, "tflite_int8_weights", IMAGES)


def brightness(count=140):
    """(server, images [count, 16, 16, 3], labels): the class is how bright.

    The weights are by hand: of the classes' brightnesses c, the nearest one to
    the mean m has the largest 2 c m - c^2.
    """
    inputs = tf_keras.Input([16, 16, 3])
    x = tf_keras.layers.Flatten()(inputs)
    x = tf_keras.layers.Dense(8, "relu")(x)
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(7, name="head")(x))
    c = np.arange(7) / 3 - 1
    mean, nearest = np.zeros([768, 8]), np.zeros([8, 7])
    mean[:, 0], mean[:, 1] = 1 / 768, -1 / 768
    nearest[0], nearest[1] = 60 * c, -60 * c
    model.set_weights([mean, np.zeros(8), nearest, -30 * c**2])
    labels = np.arange(count) % 7
    noise = np.random.default_rng(0).normal(scale=0.05, size=[count, 16, 16, 3])
    images = (noise + c[labels][:, None, None, None]).clip(-1, 1)
    return signatures_lib.Server(model=model, ops=samples.OPS, class_names=samples.NAMES
                        ), images.astype(np.float32), labels


@pytest.mark.parametrize("one", [0, 3, 6])
def test_int8_with_the_ranges_of_one_class_is_refused(one):
    server, images, labels = brightness()
    with pytest.raises(ValueError, match="tflite_int8 file is too different.* "
                       "of 70 images .* less than 90.0%"):
        convert.convert(part(server), "tflite_int8", images[1::2],
                        calibration=images[labels == one], min_same_class=0.9)


def test_int8_with_the_ranges_of_all_classes_keeps_the_accuracy():
    server, images, labels = brightness()
    data, report = convert.convert(
        part(server), "tflite_int8", images[1::2], calibration=images[::2],
        labels=labels[1::2], min_same_class=0.9)
    assert report["original_accuracy"] == 1.0
    # By an interpreter of the test's own, on all images.
    interpreter = tf.lite.Interpreter(model_content=data)
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, images)
    interpreter.invoke()
    logits = interpreter.get_tensor(
        interpreter.get_output_details()[0]["index"])
    assert np.mean(logits.argmax(1) == labels) > 0.95
    assert report["accuracy"] == pytest.approx(
        np.mean((logits.argmax(1) == labels)[1::2]))

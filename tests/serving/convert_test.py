"""Converted files compute what the Keras model computes."""

from numpy import testing
import numpy as np
import pytest
import tensorflow as tf

from tests.serving import samples
from tfvit.serving import convert

IMAGES = np.random.default_rng(0).uniform(
    -1, 1, [3, 16, 16, 3]).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["token", "gap", "representation", "hybrid",
                                  "mixer"])
@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_float32_files_agree_for_every_architecture(name, kind):
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
    _, report = convert.convert(samples.server(name), kind, IMAGES)
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
    _, report = convert.convert(samples.server(name), kind, IMAGES)
    share = report["max_difference"] / report["largest_logit"]
    assert smallest < share < largest


def test_the_file_that_is_written_is_the_one_compared():
    data, _ = convert.convert(samples.server(), "tflite", IMAGES)
    interpreter = tf.lite.Interpreter(model_content=data)
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, IMAGES.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, IMAGES)
    interpreter.invoke()
    logits = interpreter.get_tensor(
        interpreter.get_output_details()[0]["index"])
    testing.assert_allclose(logits, samples.model()(IMAGES), atol=1e-5)


def test_a_file_that_differs_is_an_error(monkeypatch):
    monkeypatch.setattr(convert, "_tflite",
                        lambda server, kind, images: (b"", np.ones([3, 7])))
    with pytest.raises(ValueError, match="differs from the Keras model by"):
        convert.convert(samples.server(), "tflite", IMAGES)

"""The model alone, images -> logits, as TensorFlow Lite or ONNX file.

Each file is run once, and its logits compared with the Keras model's, on images
that did not make it.
"""

import contextlib
import os
import sys
import tempfile

from absl import logging
import numpy as np
import tensorflow as tf

_OPSET = 17  # ONNX; the first with LayerNormalization.
# Largest difference of logits, in shares of the largest logit. Half precision
# keeps 11 bits; int8 depends on the model, so that what counts is the class.
_TOLERANCE = {"tflite": 1e-4, "tflite_float16": 2e-2, "onnx": 1e-4}


def convert(server, kind, images, *, calibration=None, labels=None,
            min_same_class=0.0, probabilities=False):
    """Returns (bytes of the file, how it compares with the Keras model).

    Args:
      server: a signatures.Server with float32 computations.
      kind: one of formats.FILES. float16 stores weights in half precision; int8
        weights and, where TensorFlow Lite can, activations. Input and output
        are float32 always.
      images: float32 [N, H, W, 3] in [-1, 1], to compare on.
      calibration: others, to find the range of activations of int8; None for
        the same.
      labels: numbers of their classes, int [N], for the accuracy; or None.
      min_same_class: share in [0, 1] of the images that must get the same class
        from the file and from the Keras model.
      probabilities: give them, too. Outputs are called "logits" and
        "probabilities", the input "images", its first axis in ONNX "batch".

    Raises:
      ValueError: the converter cannot, or the file computes something else.
      ImportError: tf2onnx or onnxruntime is missing.
    """
    expected = server.logits(tf.constant(images))["logits"].numpy()
    with _hushed():
        if kind == "onnx":
            data, logits = _onnx(server, images, probabilities)
        else:
            data, logits = _tflite(server, kind, images, calibration,
                                   probabilities)
    report = {
        "images": len(images),
        "max_difference": float(np.abs(logits - expected).max()),
        "largest_logit": float(np.abs(expected).max()),
        "same_class": float(
            np.mean(logits.argmax(-1) == expected.argmax(-1))),
    }
    if labels is not None:
        for name, values in (("accuracy", logits),
                             ("original_accuracy", expected)):
            report[name] = float(np.mean(values.argmax(-1) == labels))
    logging.info("%s against Keras: %s", kind, report)
    limit = _TOLERANCE.get(kind, np.inf) * max(report["largest_logit"], 1.0)
    if not report["max_difference"] <= limit:
        raise ValueError(f"The {kind} file differs from the Keras model by "
                         f"{report['max_difference']}, more than {limit}.")
    if report["same_class"] < min_same_class:
        raise ValueError(
            f"The {kind} file is too different from the Keras model: only "
            f"{report['same_class']:.1%} of {len(images)} images get the same "
            f"class from both, less than {min_same_class:.1%} ({report}).")
    return data, report


@contextlib.contextmanager
def _hushed():
    """Keeps back what is written to stderr inside; shows it if that fails.

    The converters' C++ code has dozens of lines for their authors, which no
    setting turns off.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        terminal = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(terminal, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def _function(server, probabilities):
    """Images -> what a file gives, traced."""
    spec = tf.TensorSpec([None, *server.image_shape], tf.float32, "images")

    def outputs(images):
        logits = server.logits(images)["logits"]
        if not probabilities:
            return {"logits": logits}
        return {"logits": logits, "probabilities": server.link(logits)}

    return tf.function(outputs, autograph=False, input_signature=[spec])


def _tflite(server, kind, images, calibration=None, probabilities=False):
    function = _function(server, probabilities).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function], server)
    if kind != "tflite":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "tflite_float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "tflite_int8":
        converter.representative_dataset = lambda: (
            [image[np.newaxis]]
            for image in (images if calibration is None else calibration))
    data = converter.convert()
    run = tf.lite.Interpreter(model_content=data).get_signature_runner()
    return data, np.concatenate(
        [run(images=image[np.newaxis])["logits"] for image in images])


def _onnx(server, images, probabilities=False):
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise ImportError("Exporting to ONNX needs two more packages: "
                          "pip install tfvit[onnx]") from error
    function = _function(server, probabilities)
    model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=_OPSET)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(
        data, providers=["CPUExecutionProvider"])
    return data, session.run(["logits"], {"images": images})[0]

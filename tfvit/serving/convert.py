"""A model, or one of its two towers, as TensorFlow Lite or ONNX file.

Each file is run once, and what it gives compared with the Keras model, on inputs
that did not make it.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import os
import sys
import tempfile
from typing import Any

from absl import logging
import numpy as np
import tensorflow as tf

_OPSET = 17  # ONNX; the first with LayerNormalization.
# Largest difference, in shares of the largest number. Half precision keeps 11
# bits; int8 depends on the model, so that what counts is the class, or the
# direction of the vector.
_TOLERANCE = {"tflite": 1e-4, "tflite_float16": 2e-2, "onnx": 1e-4}
# Cosine of what a file and the Keras model give, where there are no classes.
_LEAST_COSINE = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """What becomes a file: a function of one input.

    Attributes:
      call: inputs [B, ...] -> {name: float32 [B, ...]}; the first is compared.
      spec: of the input, tf.TensorSpec [None, ...]; its name is the file's.
      owner: has the `variables`.
      classes: whether the first output is logits [B, C].
    """
    call: Callable
    spec: tf.TensorSpec
    owner: Any
    classes: bool = True


def convert(part, kind, inputs, *, calibration=None, labels=None,
            min_same_class=0.0, batch=None):
    """Returns (bytes of the file, how it compares with the Keras model).

    Args:
      part: a Part with float32 computations.
      kind: one of formats.FILES. float16 stores weights in half precision,
        int8_weights in 8 bits, int8 weights and, where TensorFlow Lite can,
        activations. Input and output are as the part's always.
      inputs: [N, ...], to compare on.
      calibration: others, to find the range of activations of int8; None for
        the same.
      labels: numbers of their classes, int [N], for the accuracy; or None.
      min_same_class: share in [0, 1] of the images that must get the same class
        from the file and from the Keras model, if it has classes.
      batch: B of the file; None for any, which ONNX calls "batch". XNNPACK, the
        fast kernels of TensorFlow Lite, wants one.

    Raises:
      ValueError: the converter cannot, or the file computes something else.
      ImportError: tf2onnx or onnxruntime is missing.
    """
    expected = _first(part.call(tf.constant(inputs))).numpy()
    with _hushed():
        if kind == "onnx":
            data, values = _onnx(part, inputs, batch)
        else:
            data, values = _tflite(part, kind, inputs, calibration, batch)
    report = _compared(part, values, expected, labels)
    logging.info("%s against Keras: %s", kind, report)
    limit = _TOLERANCE.get(kind, np.inf) * max(
        report.get("largest_logit", report.get("largest")), 1.0)
    if not report["max_difference"] <= limit:
        raise ValueError(f"The {kind} file differs from the Keras model by "
                         f"{report['max_difference']}, more than {limit}.")
    if report.get("same_class", 1.0) < min_same_class:
        raise ValueError(
            f"The {kind} file is too different from the Keras model: only "
            f"{report['same_class']:.1%} of {len(inputs)} images get the same "
            f"class from both, less than {min_same_class:.1%} ({report}).")
    if not report.get("least_cosine", 1.0) >= _LEAST_COSINE:
        raise ValueError(
            f"The {kind} file is too different from the Keras model: a cosine "
            f"of {report['least_cosine']:.3f}, less than {_LEAST_COSINE} "
            f"({report}).")
    return data, report


def _first(outputs):
    return next(iter(outputs.values()))


def _compared(part, values, expected, labels):
    """How a file's first output [N, ...] differs, for JSON."""
    report = {"max_difference": float(np.abs(values - expected).max())}
    largest = float(np.abs(expected).max())
    if not part.classes:
        a, b = (x.reshape(len(x), -1).astype(np.float64)
                for x in (values, expected))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return {"inputs": len(expected), **report, "largest": largest,
                "least_cosine": float(((a * b).sum(1) / norms).min())}
    report = {"images": len(expected), **report, "largest_logit": largest,
              "same_class": float(np.mean(
                  values.argmax(-1) == expected.argmax(-1)))}
    if labels is not None:
        for name, logits in (("accuracy", values),
                             ("original_accuracy", expected)):
            report[name] = float(np.mean(logits.argmax(-1) == labels))
    return report


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


def _function(part, batch):
    """Inputs -> what a file gives, traced."""
    spec = tf.TensorSpec([batch, *part.spec.shape[1:]], part.spec.dtype,
                         part.spec.name)
    return tf.function(part.call, autograph=False, input_signature=[spec])


def _tflite(part, kind, inputs, calibration, batch):
    function = _function(part, batch).get_concrete_function()
    # Its weights alone: of a tokenizer's table there would be an op that readies
    # it, which no graphics card knows.
    owner = tf.Module()
    owner.weights = list(part.owner.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function], owner)
    if kind != "tflite":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "tflite_float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "tflite_int8":
        converter.representative_dataset = lambda: (
            [one[np.newaxis]]
            for one in (inputs if calibration is None else calibration))
    data = converter.convert()
    run = tf.lite.Interpreter(model_content=data).get_signature_runner()
    name = next(iter(function.structured_outputs))
    return data, np.concatenate(
        [run(**{part.spec.name: one[np.newaxis]})[name] for one in inputs])


def _onnx(part, inputs, batch):
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise ImportError("Exporting to ONNX needs two more packages: "
                          "pip install tfvit[onnx]") from error
    function = _function(part, batch)
    model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=_OPSET)
    if batch is None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(
        data, providers=["CPUExecutionProvider"])
    name = next(iter(function.get_concrete_function().structured_outputs))
    return data, session.run([name], {part.spec.name: inputs})[0]

"""One version of a model: a SavedModel, loaded, asked and let go."""

import os
import threading

from absl import logging
from google.protobuf import json_format
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfvit.server import configs
from tfvit.server import status
from tfvit.storage import files

DEFAULT_SIGNATURE = "serving_default"
PREDICT = "tensorflow/serving/predict"
_WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")


class Version:
    """A version, in the states that TensorFlow Serving has.

    Requests hold it: one that is not wanted any more ends after its last.

    Attributes:
      number: of the version.
      state: START, LOADING, AVAILABLE, UNLOADING or END.
      error: why it could not be loaded, "" if it could.
    """

    def __init__(self, name, number, folder):
        self.number = number
        self.state = "START"
        self.error = ""
        self._name = name
        self._folder = folder
        self._lock = threading.Lock()
        self._requests = 0
        self._model = None
        self._signatures = {}  # {name: SignatureDef}

    def load(self):
        """Loads and warms up; returns whether that went well."""
        self.state, self.error = "LOADING", ""
        try:
            self._signatures = _signatures(self._folder)
            with files.plain(self._folder) as readable:
                self._model = _load(readable)
            self._warm_up()
        except Exception as error:  # pylint: disable=broad-except
            # Whatever it is, the other versions go on.
            self._model = None
            self.state, self.error = "END", str(error).split("\n")[0]
            logging.error("%s version %d is not loaded: %s", self._name,
                          self.number, self.error)
            return False
        self.state = "AVAILABLE"
        logging.info("%s version %d is loaded.", self._name, self.number)
        return True

    def unload(self):
        """Takes no new request; ends after those that it has."""
        with self._lock:
            self.state = "UNLOADING"
            self._end_if_idle()

    def take(self):
        """Holds the version for a request; Status if it is not available."""
        with self._lock:
            if self.state != "AVAILABLE":
                raise status.Status(
                    "NOT_FOUND", "Servable not found for request: Specific("
                    f"{self._name}, {self.number})")
            self._requests += 1

    def release(self):
        """Ends the holding of `take`."""
        with self._lock:
            self._requests -= 1
            self._end_if_idle()

    def _end_if_idle(self):
        if self.state == "UNLOADING" and not self._requests:
            self.state, self._model = "END", None
            logging.info("%s version %d is unloaded.", self._name, self.number)

    def inputs(self, signature):
        """{input name: (numpy dtype, shape or None)}; see json_tensors.inputs.

        Raises:
          Status: there is no such signature.
        """
        return {name: (object if dtype == tf.string else dtype.as_numpy_dtype,
                       shape)
                for name, (dtype, shape) in _specs(
                    self.signature(signature).inputs).items()}

    def signature(self, name):
        """A SignatureDef; Status if there is none of this name."""
        if name not in self._signatures:
            raise status.invalid(
                f"Serving signature name: \"{name}\" not found in signature "
                f"def, which has: {', '.join(sorted(self._signatures))}.")
        return self._signatures[name]

    def is_batchable(self, name):
        """Whether each row of the outputs comes of one row of the inputs.

        Several inputs and an output of two free sizes, as images against texts
        have, are taken for a sign that it does not.
        """
        signature = self.signature(name)
        return len(signature.inputs) < 2 or all(
            shape is not None and None not in shape[1:]
            for _, shape in _specs(signature.outputs).values())

    def run(self, signature, inputs):
        """{name: array} -> {name: array} of a signature."""
        tensors = {name: tf.constant(array, dtype) for name, array, dtype in (
            (name, inputs[name], dtype) for name, (dtype, _) in _specs(
                self._signatures[signature].inputs).items())}
        found = self._model.signatures[signature](**tensors)
        return {name: np.asarray(value.numpy())
                for name, value in sorted(found.items())}

    def signature_defs(self):
        """The SignatureDefs as JSON has them."""
        return {name: json_format.MessageToDict(
            definition, preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True)
                for name, definition in self._signatures.items()}

    def _warm_up(self):
        path = os.path.join(self._folder, _WARMUP)
        if not tf.io.gfile.exists(path):
            return
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            log = configs.PredictionLog.FromString(record)
            request = log.predict_log.request
            self.run(request.model_spec.signature_name or DEFAULT_SIGNATURE,
                     {entry.key: tf.make_ndarray(entry.value)
                      for entry in request.inputs})


def _signatures(folder):
    """{name: SignatureDef} of what a SavedModel can be asked."""
    with tf.io.gfile.GFile(os.path.join(folder, "saved_model.pb"), "rb") as f:
        saved = saved_model_pb2.SavedModel.FromString(f.read())
    for graph in saved.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return {name: definition
                    for name, definition in graph.signature_def.items()
                    if definition.method_name == PREDICT}
    raise ValueError(f"{folder}: the SavedModel has no graph tagged 'serve'.")


def _load(folder):
    try:
        return tf.saved_model.load(folder)
    except (FileNotFoundError, tf.errors.NotFoundError, RuntimeError) as error:
        if "Op type not registered" not in str(error):
            raise
        # A tokenizer's, which TensorFlow Serving has built in.
        from tfvit.data import tokenizers  # noqa: F401
        return tf.saved_model.load(folder)


def _specs(infos):
    """{name: (tf.DType, shape or None)} of the TensorInfos of a signature."""
    return {name: (tf.dtypes.as_dtype(info.dtype), None
                   if info.tensor_shape.unknown_rank else tuple(
                       None if dim.size < 0 else dim.size
                       for dim in info.tensor_shape.dim))
            for name, info in sorted(infos.items())}

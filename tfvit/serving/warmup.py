"""Requests that TensorFlow Serving replays before a version takes traffic.

TFRecord of tensorflow.serving.PredictionLog. The few fields that a predict
request needs are written here by hand (all of them length-delimited), because
tensorflow-serving-api is large and of no other use for exporting. Numbers from
tensorflow_serving/apis/{prediction_log,predict,model}.proto.
"""

import os

import tensorflow as tf

PATH = os.path.join("assets.extra", "tf_serving_warmup_requests")
_LOG_PREDICT = 6  # PredictionLog.predict_log
_PREDICT_REQUEST = 1  # PredictLog.request
_MODEL_SPEC, _INPUTS = 1, 2  # PredictRequest
_NAME, _SIGNATURE = 1, 3  # ModelSpec
_KEY, _VALUE = 1, 2  # An entry of a map.


def write(path, requests, *, model_name):
    """Writes the file.

    Args:
      path: of the file; its folder must exist.
      requests: (signature name, {input name: array or TensorProto}) pairs.
      model_name: under which the server will have the model.
    """
    with tf.io.TFRecordWriter(path) as writer:
        for signature, inputs in requests:
            writer.write(_prediction_log(model_name, signature, inputs))


def _prediction_log(model_name, signature, inputs):
    spec = (_field(_NAME, model_name.encode()) +
            _field(_SIGNATURE, signature.encode()))
    request = _field(_MODEL_SPEC, spec)
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(_INPUTS,
                          _field(_KEY, name.encode()) + _field(_VALUE, tensor))
    return _field(_LOG_PREDICT, _field(_PREDICT_REQUEST, request))


def _field(number, payload):
    """A length-delimited field of the protocol buffer wire format."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])

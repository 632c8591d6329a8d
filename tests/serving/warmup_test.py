"""The hand-written protos are those of tensorflow-serving-api."""

import numpy as np
import pytest
import tensorflow as tf

from tfvit.serving import warmup

prediction_log_pb2 = pytest.importorskip(
    "tensorflow_serving.apis.prediction_log_pb2")


def test_requests_are_read_back(tmp_path):
    path = str(tmp_path / "requests")
    images = np.random.default_rng(0).normal(size=[3, 40, 40, 3])
    warmup.write(path, [
        ("serving_default", {"image_bytes": [b"a\0", b""]}),
        ("images", {"images": images.astype(np.float32), "more": [1]}),
    ], model_name="digits")
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy())
            for record in tf.data.TFRecordDataset(path)]
    first, second = (log.predict_log.request for log in logs)
    assert (first.model_spec.name, first.model_spec.signature_name) == (
        "digits", "serving_default")
    assert second.model_spec.signature_name == "images"
    assert tf.make_ndarray(
        first.inputs["image_bytes"]).tolist() == [b"a\0", b""]
    np.testing.assert_array_equal(tf.make_ndarray(second.inputs["images"]),
                                  images.astype(np.float32))
    assert tf.make_ndarray(second.inputs["more"]) == [1]
    # Nothing is left that the protos do not know.
    for log, record in zip(logs, tf.data.TFRecordDataset(path)):
        assert log.ByteSize() == len(record.numpy())

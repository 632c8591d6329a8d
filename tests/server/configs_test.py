"""TensorFlow Serving's files are read as its own protocol buffers read them."""

import pytest

from tfvit.server import configs

MODELS = """
# Two versions of one model.
model_config_list {
  config {
    name: 'b16'
    base_path: "/models/b16"
    model_platform: 'tensorflow'
    model_version_policy { specific { versions: 42 versions: 43 } }
    version_labels { key: 'stable' value: 42 }
    version_labels { key: 'canary' value: 43 }
  }
  config { name: 'lit' base_path: '/models/lit' }
  config {
    name: 's16' base_path: '/s'
    model_version_policy { latest { num_versions: 3 } }
  }
  config { name: 'ti16' base_path: '/t' model_version_policy { all { } } }
}"""
BATCHING = """
max_batch_size { value: 64 }
max_execution_batch_size { value: 8 }
enable_large_batch_splitting { value: true }
batch_timeout_micros { value: 2000 }
num_batch_threads { value: 4 }
max_enqueued_batches { value: 100 }
allowed_batch_sizes: 1
allowed_batch_sizes: 8"""


def test_models_are_those_that_tensorflow_serving_reads():
    config_pb2 = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format
    expected = text_format.Parse(MODELS, config_pb2.ModelServerConfig())
    found = configs.models(MODELS, "models.config")
    for model, other in zip(found, expected.model_config_list.config,
                            strict=True):
        policy = other.model_version_policy
        assert (model.name, model.base_path) == (other.name, other.base_path)
        assert list(model.versions) == list(policy.specific.versions)
        assert model.labels == dict(other.version_labels)
        assert (model.latest == 0) == policy.HasField("all")
        assert max(model.latest, 1) == max(policy.latest.num_versions, 1)


def test_versions_are_chosen_by_the_policy():
    b16, lit, s16, ti16 = configs.models(MODELS, "models.config")
    there = [100, 41, 42, 43, 44]
    assert b16.wanted(there) == [42, 43] and b16.wanted([43]) == [43]
    assert lit.wanted(there) == [100]
    assert s16.wanted(there) == [43, 44, 100]
    assert ti16.wanted(there) == [41, 42, 43, 44, 100]
    assert lit.wanted([]) == []


def test_batching_parameters():
    assert configs.batching(BATCHING, "b.txt") == configs.Batching(
        max_batch_size=64, max_execution_batch_size=8, split=True,
        batch_timeout=0.002, num_batch_threads=4, max_enqueued_batches=100,
        allowed_batch_sizes=(1, 8))
    small = configs.batching("max_batch_size { value: 8 }", "b.txt")
    assert (small.max_execution_batch_size, small.split) == (8, False)


@pytest.mark.parametrize("text, said", [
    ("max_batch_siz { value: 8 }", 'b.txt .*no field named "max_batch_siz"'),
    ("max_batch_size: 8", "b.txt"), ("{", "b.txt"),
    ("allowed_batch_sizes: 3 max_batch_size { value: 8 }",
     r"b.txt: allowed_batch_sizes = \[3\] .* end with max_batch_size = 8"),
    ("allowed_batch_sizes: 8 allowed_batch_sizes: 8 max_batch_size {value: 8}",
     "must increase"),
    (BATCHING + " allowed_batch_sizes: 64", "max_execution_batch_size = 8"),
    ("max_batch_size { value: 0 }", "max_batch_size must be 1 or more, not 0"),
    ("num_batch_threads { value: 0 }", "num_batch_threads must be 1 or more"),
    ("enable_large_batch_splitting { value: true } max_batch_size { value: 8 } "
     "max_execution_batch_size { value: 9 }", "not be larger than max_batch"),
])
def test_batching_that_contradicts_itself_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        configs.batching(text, "b.txt")


@pytest.mark.parametrize("text, said", [
    ("", "must name models, each once"), ("config {}", "m.txt"),
    ("model_config_list { config { name: 'a' } }", "'a' has no base_path"),
    ("model_config_list { config { name: 'a/b' base_path: '/x' } }",
     "'a/b' cannot be the name"),
    ("model_config_list { config { base_path: '/x' } }", "'' cannot be"),
    ("model_config_list { config { name: 'a' base_path: '/x' "
     "version_labels { key: 'a b' value: 1 } } }", "'a b' cannot be"),
    ("model_config_list { config { name: 'a' base_path: '/x' } "
     "config { name: 'a' base_path: '/y' } }", "each once"),
    ("model_config_list { config { name: 'a' base_path: '/x' "
     "model_platform: 'torch' } }", "'torch' is not tensorflow"),
])
def test_models_that_cannot_be_served_are_refused(text, said):
    with pytest.raises(ValueError, match=said):
        configs.models(text, "m.txt")


def test_requests_to_warm_up_with_are_read():
    prediction_log_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2")
    import tensorflow as tf
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "b16"
    request.model_spec.signature_name = "features"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.5, 2.5]))
    found = configs.PredictionLog.FromString(log.SerializeToString())
    request = found.predict_log.request
    assert request.model_spec.signature_name == "features"
    assert {entry.key: tf.make_ndarray(entry.value).tolist()
            for entry in request.inputs} == {"x": [1.5, 2.5]}

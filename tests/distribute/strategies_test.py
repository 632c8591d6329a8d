"""Which devices a run takes, and the way to a TPU as far as there is one."""

import dataclasses

import pytest
import tensorflow as tf
from tensorflow.python.tpu.client import client

from tests import toy
from tfvit.distribute import strategies
from tfvit.engine import build

HOSTS = [{"ipAddress": f"10.0.0.{i}", "port": "8470"} for i in range(4)]


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch):
    """No cluster in the environment, and no strategy kept from before."""
    for name in ("TPU_NAME", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    started = strategies.tpu
    started.cache_clear()
    yield
    started.cache_clear()


@pytest.fixture
def cloud(monkeypatch):
    """Google's API knows a pod slice; TPUs start. Returns what was asked."""
    asked = {}

    def metadata(self):
        asked["node"] = self._full_name()
        return {"state": "READY", "networkEndpoints": HOSTS}

    monkeypatch.setattr(client, "_request_compute_metadata", lambda path: {
        "project/project-id": "p", "instance/zone": "projects/1/zones/z"}[path])
    monkeypatch.setattr(client.Client, "_fetch_cloud_tpu_metadata", metadata)
    monkeypatch.setattr(
        tf.config, "experimental_connect_to_cluster",
        lambda resolver: asked.update(spec=resolver.cluster_spec().as_dict()))
    monkeypatch.setattr(
        tf.tpu.experimental, "initialize_tpu_system",
        lambda resolver: asked.update(master=resolver.master()))
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda resolver: resolver)
    return asked


@pytest.mark.parametrize("address, environment", [("slice", None),
                                                  (None, "slice")])
def test_a_named_tpu_is_the_hosts_that_the_api_gives(cloud, monkeypatch,
                                                     address, environment):
    if environment:
        monkeypatch.setenv("TPU_NAME", environment)
    strategies.tpu(address=address)
    assert cloud == {
        "node": "projects/p/locations/z/nodes/slice",
        "spec": {"worker": [f"{h['ipAddress']}:8470" for h in HOSTS]},
        "master": "grpc://10.0.0.0:8470",
    }


def test_a_tpu_vm_is_local(cloud):
    strategies.tpu()
    assert cloud == {"spec": {}, "master": ""}


def test_a_tpu_is_started_once(cloud):
    first = strategies.tpu(address="slice")
    cloud.clear()
    assert strategies.tpu(address="slice") is first and not cloud


def test_where_there_is_no_tpu_the_way_out_is_named():
    # TensorFlow's own search, to its end.
    with pytest.raises(ValueError, match="address=None.*TPU.*'local'.*TPU_NAME"):
        strategies.tpu()


def test_a_tpu_that_is_not_ready_is_named(cloud, monkeypatch):
    monkeypatch.setattr(client.Client, "_fetch_cloud_tpu_metadata",
                        lambda self: {"state": "CREATING"})
    with pytest.raises(ValueError, match="'slice'.*CREATING"):
        strategies.tpu(address="slice")


@pytest.mark.parametrize("environment, devices, chosen", [
    ({}, {}, "one_device"),
    ({}, {"GPU": 1}, "one_device"),
    ({}, {"GPU": 2}, "mirrored"),
    ({}, {"TPU": 8}, "tpu"),
    ({"TPU_NAME": "slice"}, {"GPU": 2}, "tpu"),
    ({"TF_CONFIG": "{}"}, {"GPU": 2}, "multi_worker"),
    ({"TF_CONFIG": "{}"}, {"TPU": 8}, "tpu"),
])
def test_auto_takes_what_there_is(monkeypatch, environment, devices, chosen):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for kind in ("physical", "logical"):
        monkeypatch.setattr(tf.config, f"list_{kind}_devices",
                            lambda kind: ["device"] * devices.get(kind, 0))
    for name in ("one_device", "mirrored", "multi_worker", "tpu"):
        monkeypatch.setattr(strategies, name, lambda name=name: name)
    assert strategies.auto() == chosen
    kind = "TPU" if chosen == "tpu" else "GPU" if devices else "CPU"
    assert strategies.auto(require=kind) == chosen
    for other in {"TPU", "GPU", "CPU"} - {kind}:
        with pytest.raises(ValueError, match=f"strategies.auto.require='{other}"
                           f"', but what TensorFlow finds here is .*a {kind}"):
            strategies.auto(require=other)


def test_auto_says_loudly_that_it_leaves_a_gpu_idle(monkeypatch, caplog):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with caplog.at_level("WARNING"):
        strategies.auto()
    assert not caplog.text
    monkeypatch.setattr(strategies.glob, "glob", lambda pattern: (
        ["/dev/nvidia0"] if "nvidia" in pattern else []))
    with caplog.at_level("WARNING"):
        strategies.auto()
    assert "Running on the CPU, though there is a GPU" in caplog.text
    with pytest.raises(ValueError, match="there is a GPU of NVIDIA's "
                       r"\(/dev/nvidia0\). `tfvit doctor`"):
        strategies.auto(require="GPU")
    with pytest.raises(ValueError, match="'gpu' is not one of 'TPU', 'GPU'"):
        strategies.auto(require="gpu")


def test_a_tpu_strategy_compiles_by_itself(monkeypatch):
    monkeypatch.setattr(tf.distribute, "TPUStrategy",
                        tf.distribute.OneDeviceStrategy)
    assert strategies.use_jit(True, tf.distribute.OneDeviceStrategy("CPU:0")) is False


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_reaches_tensorflow(tf32):
    exp = dataclasses.replace(toy.EXPERIMENT, tf32=tf32)
    build.build(exp)
    assert tf.config.experimental.tensor_float_32_execution_enabled() is tf32

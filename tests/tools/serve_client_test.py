"""The client against servers that speak TensorFlow Serving's protocols."""

from concurrent import futures
import json
import subprocess
import sys

from absl import flags
from absl.testing import flagsaver
import numpy as np
import pytest
import tensorflow as tf

from tests.server import toys
from tfvit import config
from tfvit.inference import finished
from tfvit.server import configs
from tools import serve_client

FLAGS = flags.FLAGS
IMAGES = [b"\xff bytes of an image", b"rubbish", b"a larger image"]
BATCHES = configs.Batching(
    max_batch_size=64, max_execution_batch_size=2, split=True,
    batch_timeout=0.002, max_enqueued_batches=1000,
    allowed_batch_sizes=(1, 2))


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    out = tmp_path_factory.mktemp("export")
    toys.write(out, 1, 0.0)
    return out


@pytest.fixture(scope="module")
def functions(export):
    return finished.signatures(str(export))


@pytest.fixture(scope="module")
def rest(export):
    with toys.serving(toys.one(export, labels={"stable": 1}),
                      batches=BATCHES) as address:
        yield address


@pytest.fixture(scope="module")
def rpc(functions):
    """host:port of a server that notes what it was sent in `rpc.seen`."""
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import predict_pb2
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        seen = []
        busy = 0

        def Predict(self, request, context):
            self.seen.append((request.model_spec,
                              dict(context.invocation_metadata())))
            if self.busy:
                self.busy -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "Try again")
            if request.model_spec.name != "toy":
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            outputs = functions[request.model_spec.signature_name](**{
                name: tf.constant(tf.make_ndarray(value))
                for name, value in request.inputs.items()})
            return predict_pb2.PredictResponse(outputs={
                name: tf.make_tensor_proto(value)
                for name, value in outputs.items()})

    service, server = Service(), grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        service, server)
    service.address = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    yield service
    server.stop(None)


def send(client, images, signature="classify", retries=0):
    return serve_client.ask(client, client.request(signature, images), retries)


def check(answers, functions):
    outputs = functions["classify"](image_bytes=tf.constant(IMAGES))
    found = [serve_client.summary("x", answer) for answer in answers]
    assert "cut short" in found[1]["error"]
    for i in 0, 2:
        classes = found[i]["classes"]
        assert [c["class"].encode() for c in classes] == (
            outputs["classes"][i].numpy().tolist())
        assert [c["id"] for c in classes] == (
            outputs["class_ids"][i].numpy().tolist())
        np.testing.assert_allclose([c["score"] for c in classes],
                                   outputs["scores"][i], atol=1e-6)


@pytest.mark.parametrize("which", [{}, {"version": 1}, {"label": "stable"}])
def test_rest_gives_what_the_model_gives(rest, functions, which):
    check(send(serve_client.Rest(rest, "toy", **which), IMAGES), functions)


def test_grpc_gives_what_the_model_gives(rpc, functions):
    client = serve_client.Grpc(rpc.address, "toy", version=7,
                               headers={"Authorization": "Bearer x"})
    check(send(client, IMAGES), functions)
    spec, metadata = rpc.seen[-1]
    assert (spec.version.value, spec.signature_name) == (7, "classify")
    assert metadata["authorization"] == "Bearer x"
    send(serve_client.Grpc(rpc.address, "toy", label="canary"), IMAGES[:1])
    assert rpc.seen[-1][0].version_label == "canary"


def test_other_signatures_give_all_of_their_outputs(rest, rpc, functions):
    expected = functions["features"](image_bytes=tf.constant(IMAGES))
    for client in (serve_client.Rest(rest, "toy"),
                   serve_client.Grpc(rpc.address, "toy")):
        rows = [serve_client.summary("x", row)
                for row in send(client, IMAGES, "features")]
        assert set(rows[0]) == {"file", "features"} and "error" in rows[1]
        np.testing.assert_allclose(rows[2]["features"],
                                   expected["features"][2], rtol=1e-5)


def test_the_servers_refusal_is_told(rest, rpc):
    with pytest.raises(serve_client.ServingError, match="404.*not found.*b16"):
        send(serve_client.Rest(rest, "b16"), IMAGES)
    with pytest.raises(serve_client.ServingError, match="400.*label: x y"):
        send(serve_client.Rest(rest, "toy", label="x y"), IMAGES)
    with pytest.raises(serve_client.ServingError, match="NOT_FOUND.*not found"):
        send(serve_client.Grpc(rpc.address, "b16"), IMAGES)


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(serve_client.ServingError, match="Does the server run"):
        send(serve_client.Rest("http://localhost:9", "toy"), IMAGES)
    with pytest.raises(serve_client.ServingError, match="is not like"):
        serve_client.Rest("localhost:8501", "toy")


def test_a_busy_server_is_asked_again_but_not_for_ever(rpc, functions,
                                                       monkeypatch):
    monkeypatch.setattr(serve_client, "_PAUSE", 0.001)
    client = serve_client.Grpc(rpc.address, "toy")
    rpc.busy = 2
    check(send(client, IMAGES, retries=2), functions)
    rpc.busy = 2
    with pytest.raises(serve_client.ServingError, match="Try again"):
        send(client, IMAGES, retries=1)
    rpc.busy, before = 0, len(rpc.seen)
    with pytest.raises(serve_client.ServingError, match="NOT_FOUND"):
        send(serve_client.Grpc(rpc.address, "b16"), IMAGES, retries=5)
    assert len(rpc.seen) == before + 1  # Asking again would not help.


def test_an_idle_connection_that_was_closed_is_opened_again(export):
    with toys.serving(toys.one(export)) as address:
        client = serve_client.Rest(address, "toy")
        send(client, IMAGES[:1])
    port = int(address.rsplit(":", 1)[1])
    with toys.serving(toys.one(export), port=port):
        send(client, IMAGES[:1])


@pytest.fixture
def files(tmp_path):
    paths = []
    for i, image in enumerate([*IMAGES, *IMAGES]):
        (tmp_path / f"{i}.png").write_bytes(image)
        paths.append(str(tmp_path / f"{i}.png"))
    return paths


def test_load_is_sent_and_measured(rest, files, capsys):
    FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(model="toy", rest=rest, load=0.3, clients=3,
                             batch_size=4, signature="classify"):
        serve_client.main(["", *files])
    report = json.loads(capsys.readouterr().out)
    assert report["errors"] == {} and report["clients"] == 3
    assert report["requests"] >= 3
    assert 0 < report["p50_ms"] <= report["p99_ms"]


def test_rest_needs_no_tensorflow(rest, files):
    code = ("import sys; sys.modules['tensorflow'] = None; "
            "from tools import serve_client; from absl import app; "
            "app.run(serve_client.main)")
    done = subprocess.run(
        [sys.executable, "-c", code, *files, "--model=toy", f"--rest={rest}",
         "--signature=classify"],
        cwd=config.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == files
    assert ["error" in row for row in rows] == [False, True, False] * 2

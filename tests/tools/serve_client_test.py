"""The client against servers that speak TensorFlow Serving's protocols."""

import base64
from concurrent import futures
import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import samples
from tfvit.inference import finished
from tfvit.serving import saved
from tools import serve_client

flask = pytest.importorskip("flask")
IMAGES = [samples.encoded(), b"rubbish", samples.encoded("JPEG", seed=1)]


@pytest.fixture(scope="module")
def function(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("export"))
    saved.write(samples.server(), out=out, step=1, config="",
                class_names=samples.NAMES, model_name="toy",
                record={"model": "toy", "step": 1, "link": "softmax",
                        "precision": "float32", "preprocessing": []},
                warmup_batches=[])
    return finished.signatures(out)["serving_default"]


def plain(value):
    """As the server's JSON has it."""
    if isinstance(value, bytes):
        return value.decode()
    return [v.decode() if isinstance(v, bytes) else v for v in value.tolist()]


@pytest.fixture(scope="module")
def rest(function):
    """https://www.tensorflow.org/tfx/serving/api_rest, row format."""
    from werkzeug import serving
    server = flask.Flask("serving")

    @server.post("/v1/models/<name>:predict")
    def predict(name):
        if name != "toy":
            return {"error": f"Servable not found for request: {name}"}, 404
        body = flask.request.get_json()
        assert body["signature_name"] == "serving_default"
        images = [base64.b64decode(i["b64"]) for i in body["instances"]]
        outputs = {
            name: value.numpy() for name, value in
            function(image_bytes=tf.constant(images)).items()}
        rows = [{k: v[i] for k, v in outputs.items()}
                for i in range(len(images))]
        return {"predictions": [
            {k: plain(v) for k, v in row.items()} for row in rows]}

    running = serving.make_server("localhost", 0, server, threaded=True)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://localhost:{running.port}"
    running.shutdown()


@pytest.fixture(scope="module")
def rpc(function):
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import predict_pb2
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):

        def Predict(self, request, context):
            if request.model_spec.name != "toy":
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            outputs = function(**{
                name: tf.constant(tf.make_ndarray(value))
                for name, value in request.inputs.items()})
            return predict_pb2.PredictResponse(outputs={
                name: tf.make_tensor_proto(value)
                for name, value in outputs.items()})

    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"localhost:{port}"
    server.stop(None)


def check(answers, function):
    outputs = function(image_bytes=tf.constant(IMAGES))
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


def test_rest_gives_what_the_model_gives(rest, function):
    check(serve_client.ask_rest(IMAGES, url=rest, model="toy", timeout=60),
          function)


def test_grpc_gives_what_the_model_gives(rpc, function):
    check(serve_client.ask_grpc(IMAGES, address=rpc, model="toy", timeout=60),
          function)


def test_the_servers_refusal_is_told(rest, rpc):
    with pytest.raises(serve_client.ServingError, match="404.*not found.*b16"):
        serve_client.ask_rest(IMAGES, url=rest, model="b16", timeout=60)
    with pytest.raises(serve_client.ServingError, match="NOT_FOUND.*not found"):
        serve_client.ask_grpc(IMAGES, address=rpc, model="b16", timeout=60)


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(serve_client.ServingError, match="Does the server run"):
        serve_client.ask_rest(IMAGES, url="http://localhost:9", model="toy",
                              timeout=5)

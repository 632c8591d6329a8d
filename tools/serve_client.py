"""Asks a running TensorFlow Serving what is in images:

    python -m tools.serve_client --model=b16 photo.jpg more/*.png
    python -m tools.serve_client --model=b16 --grpc=localhost:8500 photo.jpg

Stands alone: REST needs nothing but Python and absl-py, so the file can be
copied; gRPC needs `pip install tfvit[serve]`. Prints a JSON object an image.
"""

import base64
import json
import sys
import urllib.error
import urllib.request

from absl import app
from absl import flags

_MODEL = flags.DEFINE_string("model", None, "The model's name on the server.")
_REST = flags.DEFINE_string("rest", "http://localhost:8501", "REST address.")
_GRPC = flags.DEFINE_string("grpc", None, "host:port; instead of REST.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images in a request.",
                                   lower_bound=1)
_TIMEOUT = flags.DEFINE_float("timeout", 60.0, "Seconds for a request.")


class ServingError(Exception):
    """The server cannot be reached, or refuses; says why."""


def ask_rest(images, *, url, model, timeout):
    """Sends files' bytes; returns a dict of outputs for each.

    Raises:
      ServingError: see there.
    """
    target = f"{url}/v1/models/{model}:predict"
    instances = [{"b64": base64.b64encode(image).decode()} for image in images]
    body = {"signature_name": "serving_default", "instances": instances}
    request = urllib.request.Request(target, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        raise ServingError(f"{target}: HTTP {error.code}: {text}") from error
    except OSError as error:  # URLError and time-outs among them.
        raise ServingError(
            f"{target}: {error}. Does the server run?") from error


def ask_grpc(images, *, address, model, timeout):
    """As ask_rest, over gRPC."""
    try:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2
        from tensorflow_serving.apis import prediction_service_pb2_grpc
    except ImportError as error:
        raise ServingError(f"--grpc needs another package ({error}): "
                           "pip install tfvit[serve]") from error
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images))
    unlimited = [("grpc.max_receive_message_length", -1)]
    try:
        with grpc.insecure_channel(address, unlimited) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            outputs = stub.Predict(request, timeout).outputs
    except grpc.RpcError as error:
        raise ServingError(f"{address}: {error.code().name}: "
                           f"{error.details()}") from error
    arrays = {name: tf.make_ndarray(value) for name, value in outputs.items()}
    return [{name: _plain(array[i]) for name, array in arrays.items()}
            for i in range(len(images))]


def _plain(value):
    """A numpy value as JSON has it; bytes as text."""
    if isinstance(value, bytes):
        return value.decode()
    if value.dtype == object:
        return [_plain(item) for item in value]
    return value.tolist()


def summary(file, outputs):
    """What to print of one image's outputs."""
    if outputs["error"]:
        return {"file": file, "error": outputs["error"]}
    return {"file": file, "classes": [
        {"id": number, "class": name, "score": score} for number, name, score in
        zip(outputs["class_ids"], outputs["classes"], outputs["scores"])]}


def main(argv):
    files = argv[1:]
    if not files:
        raise app.UsageError("Say which images.")
    try:
        for begin in range(0, len(files), _BATCH_SIZE.value):
            batch = files[begin:begin + _BATCH_SIZE.value]
            images = []
            for file in batch:
                with open(file, "rb") as f:
                    images.append(f.read())
            if _GRPC.value:
                answers = ask_grpc(images, address=_GRPC.value,
                                   model=_MODEL.value, timeout=_TIMEOUT.value)
            else:
                answers = ask_rest(images, url=_REST.value, model=_MODEL.value,
                                   timeout=_TIMEOUT.value)
            for file, outputs in zip(batch, answers):
                print(json.dumps(summary(file, outputs)))
    except (OSError, ServingError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Interrupted.")


if __name__ == "__main__":
    flags.mark_flag_as_required("model")
    app.run(main)

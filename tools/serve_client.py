r"""Asks a running TensorFlow Serving, or tfvit serve, what is in images:

    python -m tools.serve_client --model=b16 photo.jpg more/*.png
    python -m tools.serve_client --model=b16 --grpc=localhost:8500 photo.jpg
    python -m tools.serve_client --model=lit --signature=zeroshot \
        --texts="a cat" --texts="a dog" photo.jpg
    python -m tools.serve_client --model=b16 --load=30 --clients=8 photo.jpg

Stands alone, but for --load: REST needs nothing but Python and absl-py, so the
file can be copied; gRPC needs `pip install tfvit[serve]`. Prints a JSON object
an image; with --load, one with how long requests took.
"""

import base64
import http.client
import json
import pathlib
import random
import ssl
import sys
import time
import urllib.parse

from absl import app
from absl import flags

_MODEL = flags.DEFINE_string("model", None, "The model's name on the server.")
_REST = flags.DEFINE_string("rest", "http://localhost:8501",
                            "REST address; https:// for TLS.")
_GRPC = flags.DEFINE_string("grpc", None, "host:port; instead of REST.")
_TLS = flags.DEFINE_bool("tls", False, "gRPC over TLS.")
_CA = flags.DEFINE_string("ca", None, "PEM file of who signed the server's "
                          "certificate (default: whom the system trusts).")
_SIGNATURE = flags.DEFINE_string("signature", "serving_default",
                                 "What to ask; an export's README lists them.")
_TEXTS = flags.DEFINE_multi_string(
    "texts", [], "A text, of a signature that takes some; repeat for more.")
_VERSION = flags.DEFINE_integer("version", None, "Which; default: the newest.",
                                lower_bound=0)
_LABEL = flags.DEFINE_string("label", None, "Which, by its label.")
_HEADER = flags.DEFINE_multi_string(
    "header", [], "'Name: value' to send along, such as 'Authorization: Bearer "
    "...'; repeat for more.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Images in a request.",
                                   lower_bound=1)
_TIMEOUT = flags.DEFINE_float("timeout", 60.0, "Seconds for a request.")
_RETRIES = flags.DEFINE_integer("retries", 2, "How often to ask again a server "
                                "that is busy or away.", lower_bound=0)
_LOAD = flags.DEFINE_float("load", None, "Ask for so many seconds, and print "
                           "how long answers take.", lower_bound=0.0)
_CLIENTS = flags.DEFINE_integer("clients", 1, "Of --load, at once.",
                                lower_bound=1)
_PAUSE = 0.1  # Seconds before the first retry; then twice as long each time.
_BUSY = (429, 502, 503, 504)
_BUSY_GRPC = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")


class ServingError(Exception):
    """The server cannot be reached, or refuses; says why. All here raise it.

    Attributes:
      busy: whether it may be otherwise a little later.
    """

    def __init__(self, message, busy=False):
        super().__init__(message)
        self.busy = busy


class Rest:
    """A connection to the REST API.

    Args:
      url: of the server.
      model: its name.
      version, label: of the model; None for the newest one.
      headers: {name: value} to send along.
      timeout: seconds for a request.
      ca: PEM file, see --ca.
    """

    def __init__(self, url, model, *, version=None, label=None, headers=None,
                 timeout=60.0, ca=None):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServingError(f"--rest={url} is not like "
                               "http://localhost:8501.")
        which = "" if version is None else f"/versions/{version}"
        if label is not None:
            which = f"/labels/{urllib.parse.quote(label, safe='')}"
        name = urllib.parse.quote(model, safe="")
        self._path = (f"{parts.path.rstrip('/')}/v1/models/{name}{which}"
                      ":predict")
        self._target = f"{parts.scheme}://{parts.netloc}{self._path}"
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        if parts.scheme == "http":
            self._connection = http.client.HTTPConnection(
                parts.hostname, parts.port, timeout=timeout)
        else:
            self._connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout,
                context=ssl.create_default_context(cafile=ca))

    def request(self, signature, images, texts=()):
        """The request for files' bytes and texts, for `send`."""
        images = [{"b64": base64.b64encode(image).decode()} for image in images]
        body = {"signature_name": signature}
        if images and texts:  # Not as many of both: by columns.
            body["inputs"] = {"image_bytes": images, "texts": list(texts)}
        else:
            body["instances"] = images or list(texts)
        return json.dumps(body).encode()

    def send(self, request):
        """The answer's outputs: a dict, or a value, for each row."""
        # The server may have closed a connection that was idle: then once more.
        reused = self._connection.sock is not None
        try:
            try:
                code, body = self._exchange(request)
            except (ConnectionError, http.client.RemoteDisconnected):
                if not reused:
                    raise
                self._connection.close()
                code, body = self._exchange(request)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ServingError(f"{self._target}: {error}. Does the server run?",
                               busy=True) from error
        if code != 200:
            raise ServingError(f"{self._target}: HTTP {code}: "
                               f"{body.decode(errors='replace')}",
                               busy=code in _BUSY)
        try:
            return _rows(json.loads(body))
        except (ValueError, KeyError) as error:
            raise ServingError(f"{self._target}: the answer is not that of "
                               "TensorFlow Serving.") from error

    def _exchange(self, request):
        self._connection.request("POST", self._path, request, self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def _rows(answer):
    if "predictions" in answer:
        return answer["predictions"]
    columns = answer["outputs"]
    if not isinstance(columns, dict):
        return columns
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


class Grpc:
    """As Rest, over gRPC; `tls` is as --tls."""

    def __init__(self, address, model, *, version=None, label=None,
                 headers=None, timeout=60.0, ca=None, tls=False):
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import predict_pb2
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise ServingError(f"--grpc needs another package ({error}): "
                               "pip install tfvit[serve]") from error
        self._tf, self._predict_pb2 = tf, predict_pb2
        self._error, self._timeout = grpc.RpcError, timeout
        self._address, self._model = address, model
        self._version, self._label = version, label
        self._metadata = [(k.lower(), v) for k, v in (headers or {}).items()]
        roots = pathlib.Path(ca).read_bytes() if ca else None
        unlimited = [("grpc.max_receive_message_length", -1)]
        channel = grpc.secure_channel(
            address, grpc.ssl_channel_credentials(roots), unlimited
        ) if tls else grpc.insecure_channel(address, unlimited)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def request(self, signature, images, texts=()):  # As of Rest.
        request = self._predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        if self._version is not None:
            request.model_spec.version.value = self._version
        elif self._label is not None:
            request.model_spec.version_label = self._label
        for name, values in (("image_bytes", images), ("texts", texts)):
            if values:
                request.inputs[name].CopyFrom(
                    self._tf.make_tensor_proto(list(values)))
        return request

    def send(self, request):  # As of Rest.
        try:
            outputs = self._stub.Predict(request, self._timeout,
                                         metadata=self._metadata).outputs
        except self._error as error:
            code = error.code().name
            raise ServingError(f"{self._address}: {code}: {error.details()}",
                               busy=code in _BUSY_GRPC) from error
        columns = {name: _plain(self._tf.make_ndarray(value))
                   for name, value in outputs.items()}
        return [dict(zip(columns, row)) for row in zip(*columns.values())]


def _plain(array):  # As JSON has it; bytes as text.
    if array.dtype == object:
        return [item.decode() if isinstance(item, bytes) else _plain(item)
                for item in array]
    return array.tolist()


def ask(client, request, retries):
    """client.send(request), again where the server is busy."""
    for tried in range(retries + 1):
        try:
            return client.send(request)
        except ServingError as error:
            if not error.busy or tried == retries:
                raise
        # Not all clients at once.
        time.sleep(_PAUSE * 2**tried * random.uniform(0.5, 1.5))


def summary(file, outputs, texts=()):
    """What to print of one row's outputs."""
    if not isinstance(outputs, dict):
        return {"file": file, "output": outputs}
    if outputs.get("error"):
        return {"file": file, "error": outputs["error"]}
    if "class_ids" in outputs:
        return {"file": file, "classes": [
            {"id": number, "class": name, "score": score}
            for number, name, score in zip(
                outputs["class_ids"], outputs["classes"], outputs["scores"])]}
    if texts and "probabilities" in outputs:
        return {"file": file, "texts": dict(zip(texts,
                                                outputs["probabilities"]))}
    return {"file": file, **{name: value for name, value in outputs.items()
                             if name != "error"}}


def _connect():
    """A client as the flags say."""
    headers = {}
    for line in _HEADER.value:
        name, colon, value = line.partition(":")
        if not colon:
            raise ServingError(f"--header={line} is not 'Name: value'.")
        headers[name.strip()] = value.strip()
    which = {"version": _VERSION.value, "label": _LABEL.value,
             "headers": headers, "timeout": _TIMEOUT.value, "ca": _CA.value}
    if _GRPC.value:
        return Grpc(_GRPC.value, _MODEL.value, tls=_TLS.value, **which)
    return Rest(_REST.value, _MODEL.value, **which)


def _print_load(requests, images):
    from . import load_generator  # Not needed by who has copied this file.

    def connect():
        client = _connect()
        return lambda number: client.send(requests[number % len(requests)])

    print(json.dumps(load_generator.run(
        connect, clients=_CLIENTS.value, seconds=_LOAD.value, images=images,
        failure=ServingError)))


def main(argv):
    files, texts, size = argv[1:], _TEXTS.value, _BATCH_SIZE.value
    if not files and not texts:
        raise app.UsageError("Say which images.")
    if None not in (_VERSION.value, _LABEL.value):
        raise app.UsageError("Either --version or --label.")
    names = [files[i:i + size] for i in range(0, len(files), size)] or [texts]
    try:
        client = _connect()
        requests = (client.request(_SIGNATURE.value,
                                   [pathlib.Path(file).read_bytes()
                                    for file in batch if files],
                                   texts) for batch in names)
        if _LOAD.value is not None:
            _print_load([request for batch, request in zip(names, requests)
                         if len(batch) == len(names[0])], len(names[0]))
            return
        for batch, request in zip(names, requests):
            for name, outputs in zip(batch, ask(client, request,
                                                _RETRIES.value)):
                print(json.dumps(summary(name, outputs, texts)))
    except (OSError, ServingError, KeyboardInterrupt) as error:
        sys.exit(str(error) or "Interrupted.")


if __name__ == "__main__":
    flags.mark_flag_as_required("model")
    app.run(main)

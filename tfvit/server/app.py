"""TensorFlow Serving's REST API as an ASGI application.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import asyncio
from concurrent import futures
import contextlib
import json
import os
import re
import zlib

from absl import logging
from starlette import applications
from starlette import middleware
from starlette import requests
from starlette import responses
from starlette import routing
from starlette.middleware import gzip

from tfvit.server import batching
from tfvit.server import json_tensors
from tfvit.server import status
from tfvit.server import versions

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d{1,18})|/labels/([^/:]+))?"
_ASK = re.compile(_MODEL + r":(predict|classify|regress)")
_LOOK = re.compile(_MODEL + r"(/metadata)?")
# Larger ones are read and written aside, so that others need not wait.
_LARGE = 1 << 18  # Bytes.


class _App:

    def __init__(self, models, options, max_bytes):
        self._models = models
        self._max_bytes = max_bytes
        self._batches = batching.Scheduler(options) if options else None
        self._threads = futures.ThreadPoolExecutor(4 * (os.cpu_count() or 1))

    async def answer(self, request):
        """The endpoint of everything."""
        try:
            return responses.Response(await self._answer(request),
                                      media_type="application/json")
        except Exception as error:  # pylint: disable=broad-except
            found = status.of(error)
            if found.code == "INTERNAL":
                logging.exception("%s %s", request.method, request.url.path)
            return responses.JSONResponse({"error": found.message},
                                          status.HTTP[found.code])

    async def _answer(self, request):
        path = request.url.path
        if request.method == "POST" and (match := _ASK.fullmatch(path)):
            *model, verb = match.groups()
            body = await self._body(request)
            if verb != "predict":
                raise status.invalid(
                    f"Expected signature method_name to be tensorflow/serving/"
                    f"{verb}. Was: {versions.PREDICT}")
            return await self._predict(model, body)
        if request.method in ("GET", "HEAD") and (
                match := _LOOK.fullmatch(path)):
            *model, metadata = match.groups()
            look = self._metadata if metadata else self._status
            return json.dumps(look(model), indent=1)
        if not path.startswith("/v1/"):
            raise status.Status("NOT_FOUND", f"There is no {path}.")
        raise status.invalid(f"Malformed request: {request.method} {path}")

    async def _body(self, request):
        """Bytes of the body, unpacked."""
        too_large = status.Status(
            "TOO_LARGE", f"The request has more than {self._max_bytes} bytes "
            "(--max_request_mb).")
        coding = request.headers.get("content-encoding", "identity")
        unpack = None
        if coding == "gzip":
            unpack = zlib.decompressobj(wbits=31)
        elif coding != "identity":
            raise status.invalid(f"Content-Encoding {coding} is not gzip.")
        parts, size = [], 0
        async for part in request.stream():
            if unpack:
                try:  # A small body may be a large one, packed.
                    part = unpack.decompress(part, self._max_bytes - size + 1)
                except zlib.error as error:
                    raise status.invalid("The body is not gzip.") from error
            size += len(part)
            if size > self._max_bytes:
                raise too_large
            parts.append(part)
        if unpack and not unpack.eof:
            raise status.invalid("The gzip of the body is cut short.")
        return b"".join(parts)

    async def _predict(self, model, body):
        large = len(body) > _LARGE
        request = await _call(large, json_tensors.parse, body)
        signature = request.get("signature_name") or versions.DEFAULT_SIGNATURE
        if not isinstance(signature, str):
            raise status.invalid("'signature_name' key must be a string value.")
        with self._models.hold(*_spec(model)) as version:
            inputs, has_rows = await _call(
                large, json_tensors.inputs, request, version.inputs(signature))
            outputs = await asyncio.wrap_future(
                self._submit(version, signature, inputs))
        size = sum(array.size for array in outputs.values())
        return await _call(size > _LARGE // 16, json_tensors.outputs, outputs,
                           has_rows)

    def _submit(self, version, signature, inputs):
        """A future of the outputs."""
        if self._batches and version.is_batchable(signature) and all(
                array.size for array in inputs.values()):
            return self._batches.submit(
                (version, signature),
                lambda batch: version.run(signature, batch), inputs)
        return self._threads.submit(version.run, signature, inputs)

    def _status(self, model):
        return {"model_version_status": [
            {"version": str(version.number), "state": version.state,
             "status": {"error_code": "UNKNOWN" if version.error else "OK",
                        "error_message": version.error}}
            for version in self._models.states(*_spec(model))]}

    def _metadata(self, model):
        with self._models.hold(*_spec(model)) as version:
            return {"model_spec": {"name": model[0], "signature_name": "",
                                   "version": str(version.number)},
                    "metadata": {"signature_def": {
                        "signature_def": version.signature_defs()}}}

    def close(self):
        """Finishes what is going on."""
        self._models.stop()
        if self._batches:
            self._batches.close()
        self._threads.shutdown()


async def _call(aside, function, *values):
    return await asyncio.to_thread(function, *values) if aside else (
        function(*values))


def _spec(model):
    """(name, version or None, label or None) of what the address says."""
    name, number, label = model
    return name, None if number is None else int(number), label


def make(models, *, batches=None, max_bytes=64 << 20):
    """The application; it closes `models` when it ends.

    Args:
      models: a models.Models that has started.
      batches: configs.Batching; None to answer each request by itself.
      max_bytes: of a request's body.
    """
    made = _App(models, batches, max_bytes)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        yield
        made.close()

    async def answer(scope, receive, send):
        response = await made.answer(requests.Request(scope, receive))
        await response(scope, receive, send)

    return applications.Starlette(
        routes=[routing.Mount("/", app=answer)], lifespan=lifespan,
        middleware=[middleware.Middleware(gzip.GZipMiddleware,
                                          compresslevel=1)])

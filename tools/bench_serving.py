"""Measures `tfvit serve` under load, against Keras and Pillow in a Flask app:

    python -m tools.bench_serving --model=runs/b16_cifar10

Exports the model in float32, with XLA and in bfloat16, serves each with the
batching that an export prints, and the Flask app beside them, and asks all of
them for one JPEG of 480 x 640 pixels a request. Rounds alternate, so that other
load on the machine hits all; medians count. Prints a JSON object for each
server and number of clients. Needs `pip install tfvit[server] flask pillow`.
"""

import base64
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile

from absl import flags

from tfvit import launch

_MODEL = flags.DEFINE_string(
    "model", None, "Directory of a run or published name.")
_SERVERS = flags.DEFINE_list(
    "servers", ["flask", "float32", "xla", "bfloat16"], "Which to measure.")
_CLIENTS = flags.DEFINE_multi_integer(
    "clients", [1, 8, 64], "At once; repeat for more.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Of load a round.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Of each.", lower_bound=1)
_EXPORTS = {"float32": (None, False), "xla": (None, True),
            "bfloat16": ("mixed_bfloat16", False)}  # Precision, XLA.
_SIZES = [1, 2, 4, 8]
_NAME = "bench"

launch.start(__name__, "overrides", required=("model",))

import numpy as np
import tensorflow as tf

from tfvit.inference import finished
from tfvit.serving import howto
from tfvit.serving import saved

from . import load_generator


def files(count):
    """Different JPEG files of 480 x 640 pixels, as bytes."""
    for seed in range(count):
        coarse = tf.random.stateless_uniform([6, 8, 3], [seed, 0], maxval=255.)
        image = tf.image.resize(coarse, [480, 640], "bicubic")
        yield tf.io.encode_jpeg(
            tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8)).numpy()


def export(kind, out):
    """Writes out/1, the model as `kind` of _EXPORTS has it."""
    precision, jit = _EXPORTS[kind]
    trained = finished.load(_MODEL.value, precision=precision,
                            overrides=launch.overrides(),
                            trust=launch.trust())
    saved.write(trained.server(jit=jit), out=out, step=1, config=trained.config,
                class_names=trained.class_names, record=trained.record(),
                model_name=_NAME, warmup_batches=_SIZES)


@contextlib.contextmanager
def process(*words):
    """Yields the address that a process prints once it serves."""
    running = subprocess.Popen([sys.executable, *words], text=True,
                               stdout=subprocess.PIPE)
    try:
        line = running.stdout.readline()
        if not line:
            raise ValueError(f"{' '.join(words)} does not start.")
        yield line.split()[-1]
    finally:
        running.terminate()
        running.wait()


def serve(kind, folder):
    """A context of the address of a server."""
    if kind == "flask":
        return process("-c", f"from {__package__} import flask_app; "
                       f"flask_app.main({_MODEL.value!r}, {launch.trust()!r})")
    batching = os.path.join(folder, "batching.txt")
    with open(batching, "w", encoding="utf-8") as f:
        f.write(howto.batching(_SIZES))
    export(kind, os.path.join(folder, kind))
    return process("-m", "tfvit.serve", os.path.join(folder, kind),
                   f"--name={_NAME}", "--port=0", "--enable_batching",
                   f"--batching_parameters_file={batching}")


def connect_to(kind, address, data):
    """() -> a function that asks for the image of a number."""
    path, bodies = "/", data
    if kind != "flask":
        path = f"/v1/models/{_NAME}:predict"
        bodies = [json.dumps({"instances": [
            {"b64": base64.b64encode(image).decode()}]}) for image in data]

    def connect():
        connection = http.client.HTTPConnection(address.split("//")[1],
                                                timeout=60)

        def ask(number):
            try:
                connection.request("POST", path, bodies[number % len(bodies)])
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                raise
            if response.status != 200:
                raise ValueError(f"HTTP {response.status}: {body[:200]}")
            return json.loads(body)

        return ask

    return connect


def median(reports):
    """The medians of a server's rounds."""
    answered = [report for report in reports if report["requests"]]
    return {name: value if isinstance(value, (dict, str)) or not answered else
            round(float(np.median([report[name] for report in answered])), 2)
            for name, value in reports[0].items()}


def main(words):
    del words
    data, found = list(files(32)), {}
    with tempfile.TemporaryDirectory() as folder, (
            contextlib.ExitStack()) as running:
        connects = {kind: connect_to(kind, running.enter_context(
            serve(kind, folder)), data) for kind in _SERVERS.value}
        for _ in range(_ROUNDS.value):
            for clients in _CLIENTS.value:
                for kind, connect in connects.items():
                    found.setdefault((clients, kind), []).append(
                        {"server": kind, **load_generator.run(
                            connect, clients=clients, images=1,
                            seconds=_SECONDS.value,
                            failure=(ValueError, OSError,
                                     http.client.HTTPException))})
    for reports in found.values():
        print(json.dumps({**median(reports), "errors": {
            text: count for report in reports
            for text, count in report["errors"].items()}}))


if __name__ == "__main__":
    launch.run_words(main)

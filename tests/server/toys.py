"""A small SavedModel, whose answers one can work out, and its server."""

import contextlib
import json
import os
import threading
import urllib.error
import urllib.request

import tensorflow as tf
import uvicorn

from tfvit.server import app
from tfvit.server import configs
from tfvit.server import models


class _Toy(tf.Module):

    def __init__(self, bias):
        super().__init__()
        self.bias = tf.Variable(bias, dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def half(self, x):
        """TensorFlow Serving's example is half_plus_two."""
        return {"y": x / 2 + self.bias}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "a"),
                                  tf.TensorSpec([None, 2], tf.float32, "b")])
    def both(self, a, b):
        return {"sum": tf.cast(a, tf.float32) + tf.reduce_sum(b, 1),
                "version": tf.fill(tf.shape(a), self.bias),
                "rows": tf.fill(tf.shape(a), tf.shape(a)[0])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "data")])
    def strings(self, data):
        return {"out_bytes": data, "text": tf.strings.upper(data)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "images"),
                                  tf.TensorSpec([None], tf.float32, "texts")])
    def against(self, images, texts):
        return {"scores": images[:, None] * texts}

    @tf.function(input_signature=[
        tf.TensorSpec([None, None, 1], tf.uint8, "images")])
    def pixels(self, images):
        return {"mean": tf.reduce_mean(tf.cast(images, tf.float32), [1, 2]),
                "rows": tf.fill(tf.shape(images)[:1], tf.shape(images)[0])}

    @tf.function(input_signature=[
        tf.TensorSpec([None], tf.string, "image_bytes")])
    def classify(self, image_bytes):
        """Scores by the file's size; as the exporter's signatures answer."""
        size = tf.strings.length(image_bytes)
        good = size > 10
        ids = tf.where(good[:, None], (size[:, None] + [0, 1]) % 5, -1)
        scores = tf.where(good[:, None], 1 / (2.0 + tf.cast(ids, tf.float32)),
                          0)
        return {"class_ids": ids, "scores": scores,
                "classes": tf.where(good[:, None], "class " +
                                    tf.strings.as_string(ids), ""),
                "error": tf.where(good, "", "It is cut short.")}

    @tf.function(input_signature=[
        tf.TensorSpec([None], tf.string, "image_bytes")])
    def features(self, image_bytes):
        found = self.classify(image_bytes)
        return {"features": found["scores"], "error": found["error"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def fails(self, x):
        with tf.control_dependencies([tf.debugging.assert_positive(
                x, "Not positive")]):
            return {"y": tf.identity(x), "z": x}


def write(folder, version, bias):
    """Writes folder/version, whole at once as the exporter does."""
    module = _Toy(bias)
    hidden = os.path.join(folder, ".unfinished")
    tf.saved_model.save(module, hidden, signatures={
        "serving_default": module.half, "both": module.both,
        "strings": module.strings, "against": module.against,
        "pixels": module.pixels, "fails": module.fails,
        "classify": module.classify, "features": module.features})
    os.rename(hidden, os.path.join(folder, str(version)))


@contextlib.contextmanager
def serving(read, *, batches=None, poll=0.05, config_poll=0.0, port=0,
            **options):
    """Yields the address of a server, in this process."""
    made = models.Models(read, poll=poll, config_poll=config_poll)
    made.start()
    server = uvicorn.Server(uvicorn.Config(
        app.make(made, batches=batches, **options), port=port,
        log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def one(folder, name="toy", **settings):
    """() -> the configuration of one model."""
    config = configs.Model(name=name, base_path=str(folder), **settings)
    return lambda: [config]


def call(url, body=None, headers=None):
    """(HTTP code, JSON of the answer) of a GET, or of a POST of `body`."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(url, body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)

"""Serves an export over TensorFlow Serving's REST API, without Docker:

    python -m tfvit.serve exports/b16
    python -m tfvit.serve exports/b16 --enable_batching \
        --batching_parameters_file=tools/serving/batching.txt
    python -m tfvit.serve --model_config_file=tools/serving/models.config

Needs `pip install tfvit[server]`. For laptops and tests; tools/docs/deploy.md
says when to take TensorFlow Serving instead. What both take is called the same.
The newest version answers; one that is exported meanwhile takes over without a
gap. SIGTERM lets running requests finish.
"""

import os
import signal
import socket
import sys

from absl import app
from absl import flags

from tfvit import launch

_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines "
    "in, and there is neither a password nor TLS.")
_PORT = flags.DEFINE_integer("port", 8501, "Of the REST API; 0 for any.",
                             lower_bound=0, upper_bound=65535)
_NAME = flags.DEFINE_string(
    "name", None, "The model's name (default: that of the folder).")
_MODEL_CONFIG_FILE = flags.DEFINE_string(
    "model_config_file", None, "Several models, versions and labels, as "
    "TensorFlow Serving's file has them; instead of a folder.")
_CONFIG_POLL = flags.DEFINE_float(
    "model_config_file_poll_wait_seconds", 0.0,
    "Seconds until that file is read again; 0 for never.", lower_bound=0.0)
_POLL = flags.DEFINE_float(
    "file_system_poll_wait_seconds", 1.0,
    "Seconds between two looks for new versions; 0 for never again.",
    lower_bound=0.0)
_ENABLE_BATCHING = flags.DEFINE_bool(
    "enable_batching", False, "Make one batch of several clients' requests.")
_BATCHING_PARAMETERS_FILE = flags.DEFINE_string(
    "batching_parameters_file", None, "How; as TensorFlow Serving's file.")
_MAX_REQUEST_MB = flags.DEFINE_float(
    "max_request_mb", 64.0, "Largest body of a request in MB.",
    lower_bound=0.0)
_GRACE = 30  # Seconds that running requests have to finish.

launch.start(__name__)

import tensorflow as tf

from tfvit.server import configs
from tfvit.server import models as models_lib


def main(words):
    try:
        import uvicorn

        from tfvit.server import app as app_lib
    except ImportError as error:
        raise ImportError(f"tfvit serve needs another package ({error}): "
                          "pip install tfvit[server]") from error
    models = models_lib.Models(_reader(words), poll=_POLL.value,
                               config_poll=_CONFIG_POLL.value)
    batches = _batches()
    listener = _listen()
    models.start()
    made = app_lib.make(models, batches=batches,
                        max_bytes=int(_MAX_REQUEST_MB.value * 2**20))
    # uvicorn raises it again once it has stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host, port = listener.getsockname()[:2]
    print(f"Serving on http://{host}:{port}", flush=True)
    uvicorn.Server(uvicorn.Config(
        made, access_log=False, log_level="warning", lifespan="on",
        timeout_graceful_shutdown=_GRACE)).run(sockets=[listener])


def _reader(words):
    """() -> [configs.Model] of the command line."""
    file = _MODEL_CONFIG_FILE.value
    if len(words) != (0 if file else 1):
        raise app.UsageError("Say which folder of exports, such as exports/b16,"
                             " or --model_config_file=FILE, and nothing else.")
    if file:
        return lambda: configs.models(_text(file), file)
    folder = os.path.expanduser(words[0])
    name = _NAME.value or os.path.basename(os.path.abspath(folder))
    model = configs.Model(name=name, base_path=folder)
    return lambda: [model]


def _batches():
    """The configs.Batching, or None."""
    file = _BATCHING_PARAMETERS_FILE.value
    if not _ENABLE_BATCHING.value:
        if file:
            raise ValueError(f"--batching_parameters_file={file} does nothing "
                             "without --enable_batching.")
        return None
    return configs.batching(_text(file), file) if file else configs.Batching()


def _text(file):
    with tf.io.gfile.GFile(file) as f:
        return f.read()


def _listen():
    try:
        return socket.create_server((_HOST.value, _PORT.value), backlog=2048)
    except OSError as error:
        raise OSError(f"--host={_HOST.value} --port={_PORT.value}: "
                      f"{os.strerror(error.errno) if error.errno else error}."
                      ) from error


if __name__ == "__main__":
    launch.run_words(main)

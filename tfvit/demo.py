"""Runs a model in the browser, on one's own pictures:

    tfvit demo --model=runs/lit_shapes
    tfvit demo --model=lit/LiT-B16B --port=8000
    tfvit demo demo/

makes the page of `tfvit export --format=browser` in the cache, once for each
model, and serves it to this machine: pictures and prompts stay in the browser.
A folder is one that was exported; it is served as it is.
"""

import errno
import os
import socket

from absl import app
from absl import flags
from absl import logging

from tfvit import launch
from tfvit import page_flags

_MODEL = flags.DEFINE_string(
    "model", None, "Directory of a run or published name.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint of a run: last, best or a step.")
_LABELS = flags.DEFINE_string(
    "labels", None, "File of class names, imagenet2012 or imagenet21k.")
_PAGE = page_flags.define()
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines "
    "in, whose browsers then run the model, without threads.")
_PORT = flags.DEFINE_integer("port", 8000, "Port; 0 for any.", lower_bound=0,
                             upper_bound=65535)

launch.start(__name__, "overrides")

from tfvit.server import static


def main(words):
    if len(words) + bool(_MODEL.value) != 1:
        raise app.UsageError("Say which model, --model=..., or which folder of "
                             "--format=browser, such as demo/, and no more.")
    folder = _exported() if _MODEL.value else os.path.expanduser(words[0])
    if not os.path.isfile(os.path.join(folder, "models.json")):
        raise FileNotFoundError(
            f"{folder} holds no models.json: it is no folder of `tfvit export "
            "--format=browser`.")
    try:
        server = static.Server(folder, host=_HOST.value, port=_PORT.value)
    except (OSError, OverflowError) as error:
        way_out = " --port=0 takes any that is free." if (
            getattr(error, "errno", None) == errno.EADDRINUSE) else ""
        raise OSError(f"--host={_HOST.value} --port={_PORT.value}: "
                      f"{getattr(error, 'strerror', None) or error}.{way_out}"
                      ) from error
    host, port = server.server_address[:2]
    shown = socket.gethostname() if host == "0.0.0.0" else host
    print(f"Open http://{shown}:{port}/ in a browser; Ctrl-C ends it.",
          flush=True)
    server.serve_forever()


def _exported():
    """The page's folder in the cache, made if it is not there."""
    from tfvit.inference import browser
    from tfvit.inference import finished
    from tfvit.serving import page
    trained = finished.load(_MODEL.value, labels=_LABELS.value,
                            checkpoint=_CHECKPOINT.value, precision="float32",
                            overrides=launch.overrides(), trust=launch.trust())
    settings = {"precisions": _PAGE.precisions.value, "images": _PAGE.presets.value,
                "texts": _PAGE.texts.value}
    folder = browser.cached(trained, settings)
    if os.path.isfile(os.path.join(folder, "models.json")):
        logging.info("It is in the cache: %s.", folder)
        page.refresh(folder)
    else:
        logging.info("Making its page, once; some minutes for a large model.")
        browser.export(trained, folder, **settings)
    return folder


if __name__ == "__main__":
    launch.run_words(main)

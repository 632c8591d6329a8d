"""The folder of a page that runs models in a browser, for any static host.

OUT/index.html, style.css, *.js      the page: tools/demo
OUT/runtime/                         what runs the models, from npm
OUT/models/NAME/VERSION/             demo.json and what it names
OUT/models.json                      which models there are
"""

import json
import os
import posixpath

import tensorflow as tf

from tfvit.bindings import settable
from tfvit.serving import npm
from tfvit.serving import saved
from tfvit.storage import errors

CORE = npm.Package(
    name="@litertjs/core", version="2.5.3",
    integrity="sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8I"
    "wqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==")
UTILS = npm.Package(
    name="@litertjs/wasm-utils", version="2.5.3",
    integrity="sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580T"
    "mk78pC2kT39A9OYBVdFawteZ/sI1kQ==")
RUNTIME = "runtime"  # The import map of index.html names it.
_MARK = "tfvit:demo"  # In our index.html: what has it may be written anew.
_PAGE = (".html", ".css", ".js", ".svg")

# What the page can do of data.images.ops, and the settings that it can:
# (values,) of those that must be one of them; () where any is fine.
_OPS = {
    "decode": {"channels": (3,), "upright": ()},
    "resize": {"size": (), "method": ("bilinear",), "antialias": (False,)},
    "resize_small": {"smaller_size": (), "method": ("area", "bilinear"),
                     "antialias": (False,), "max_aspect": ()},
    "central_crop": {"size": ()},
    "to_uint8": {"nearest": ()},
    "value_range": {"low": (), "high": ()},
}


def steps(record, image_shape):
    """Preprocessing as the page reads it: [{"op": name, setting: value, ...}].

    Args:
      record: of inference.preprocessing.record.
      image_shape: (H, W, C) of the model's images.

    Raises:
      ValueError: the page cannot do one of the ops, or with its settings.
    """
    found = [{"op": name, **settings} for name, settings in zip(
        record["preprocessing"], record["settings"])]
    if image_shape[-1] != 3:
        raise ValueError(f"The page shows images of 3 channels, and the model "
                         f"has {image_shape[-1]}.")
    for step in found:
        name = step["op"]
        if name not in _OPS:
            raise ValueError(f"The page cannot do ops.{name}, which this model's "
                             f"images need, only {', '.join(_OPS)}.")
        for setting, value in step.items():
            if setting == "op":
                continue
            allowed = _OPS[name].get(setting)
            if allowed is None or allowed and value not in allowed:
                raise ValueError(f"The page cannot do ops.{name}.{setting} = "
                                 f"{value!r}" + (f", only {allowed}."
                                                 if allowed else "."))
    if not any(step["op"] in ("resize", "central_crop") for step in found):
        # As images.Reader does.
        found.append({"op": "resize", "size": list(image_shape[:2]),
                      "method": "bilinear", "antialias": False})
    return found


def check(out):
    """Raises ValueError where another's page would be overwritten."""
    index = os.path.join(out, "index.html")
    if tf.io.gfile.exists(index):
        with tf.io.gfile.GFile(index) as f:
            if _MARK not in f.read():
                raise ValueError(f"{index} is another page: choose another "
                                 "--out, or move it away.")


def write(out, *, name, step, files):
    """Adds a model to the folder, which becomes one where it is none.

    The page itself is written anew; what there is of models stays.

    Args:
      out: the folder; may be gs://.
      name: of the model.
      step: of the checkpoint, see saved.next_version.
      files: {name: bytes or text}, demo.json among them.

    Returns:
      The folder of the model, OUT/models/NAME/VERSION.

    Raises:
      ValueError, OSError: see check and npm.Package.
    """
    check(out)
    parts = {**runtime(), **page()}
    path = saved.new_version(os.path.join(out, "models", name), step,
                             lambda folder: saved.write_all(folder, files))
    refresh(out, parts)
    return path


def refresh(out, parts=None):
    """Writes the page and models.json for the models that are there."""
    parts = {**runtime(), **page()} if parts is None else parts
    models = []
    for name in sorted(tf.io.gfile.listdir(os.path.join(out, "models"))):
        name = name.rstrip("/")
        versions = saved.versions(os.path.join(out, "models", name))
        models += [{"name": name, "folder": f"models/{name}/{version}"}
                   for version in versions[-1:]]
    parts["models.json"] = json.dumps({"models": models}, indent=2)
    with errors.writing(out):
        for path, content in parts.items():
            target = os.path.join(out, path)
            if _has(target, content):  # Browsers need not load it again.
                continue
            tf.io.gfile.makedirs(os.path.dirname(target))
            saved.write_all(os.path.dirname(target),
                            {os.path.basename(target): content})


def _has(path, content):
    if not tf.io.gfile.exists(path):
        return False
    with tf.io.gfile.GFile(path, "rb") as f:
        return f.read() == (content.encode() if isinstance(content, str) else
                            content)


def page():
    """{name: bytes} of the page itself."""
    inside = os.path.join(settable.PACKAGE, "tools", "demo")
    folder = inside if os.path.isdir(inside) else os.path.join(
        settable.ROOT, "tools", "demo")
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(_PAGE) or name == "LICENSE":
            with open(os.path.join(folder, name), "rb") as f:
                found[name] = f.read()
    return found


def fetch():
    """Has the runtime on this machine, or says how, before what takes minutes."""
    for package in (CORE, UTILS):
        package.fetch()


def runtime():
    """{path: bytes} of what runs the models, with its licence."""
    wasm = CORE.read(lambda path: path.startswith("wasm/") or path in (
        "dist/index.js", "package.json"))
    found = {posixpath.join(RUNTIME, path.removeprefix("dist/")): data
             for path, data in wasm.items()}
    found[f"{RUNTIME}/wasm-utils.js"] = UTILS.read(
        lambda path: path == "dist/index.js")["dist/index.js"]
    # The packages name their licence, Apache-2.0, without its text.
    found[f"{RUNTIME}/LICENSE"] = page()["LICENSE"]
    found[f"{RUNTIME}/NOTICE"] = "".join(
        f"{package.name} {package.version}: LiteRT for the web, by Google, "
        "Apache License 2.0 (LICENSE), unchanged from npm.\n"
        for package in (CORE, UTILS)).encode()
    return found

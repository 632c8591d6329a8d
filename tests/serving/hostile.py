"""What files that mean harm cost each recipe's preprocessing, in its process:

    python -m tests.serving.hostile --lies=5000

prints, for each, how many files were tried and what the worst one took more than
a good one: seconds of all cores, and megabytes. The address space ends
--megabytes above what good files take: beyond it, TensorFlow dies or says so.
"""
import ctypes
import json
import os
import pathlib
import resource
import sys
import time

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # It keeps memory for later.

# pylint: disable=g-import-not-at-top
from absl import app
from absl import flags
import gin
import numpy as np
import tensorflow as tf

from tests.serving import bombs
from tests.serving import files_test
from tests.serving import samples
from tfvit import config
from tfvit.data.images import decoding
from tfvit.serving import formats
from tfvit.serving import images as images_lib

_ROOT = pathlib.Path(__file__).parents[2]
_GIN = flags.DEFINE_multi_string("gin", [], "Names of run files; all if none.")
_LIES = flags.DEFINE_integer("lies", 1000, "Files with damaged headers.")
_BOMBS = flags.DEFINE_multi_string("bombs", [], "Names; none for all.")
_PIXELS = flags.DEFINE_multi_integer("pixels", [24_500_000, 49_000_000],
                                     "Of bombs: half the limit, and all.")
_MEGABYTES = flags.DEFINE_integer("megabytes", 300, "See above.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the damage.")
_BINDINGS = ["NUM_CLASSES = 10", "FOLDER = '-'", "CAPTIONS = '-'",
             "AUGREG = 'B_16'", "IMAGE_SIZE = 224"]
_PUBLISHED = {"published": "tiny", "published_lit": "lit_b16b"}  # Of models.
_MEMORY = "memory"  # In what TensorFlow says when there is none.


def recipes(names):
    """{name: ops} of the evaluators of run files, each kind once."""
    configs = {path.stem: [str(path)]
               for path in sorted(_ROOT.glob("gin/*.gin"))}
    configs.update({
        name: [f"gin/models/{model}.gin", f"gin/recipes/{name}.gin"]
        for name, model in _PUBLISHED.items()})
    found = {}
    for config_name in names or configs:
        config.parse(configs[config_name], _BINDINGS)
        for evaluator in ("classification.Classification", "fewshot.FewShot",
                          "retrieval.Retrieval", "zeroshot.ZeroShot"):
            try:
                references = gin.query_parameter(f"{evaluator}.ops")
            except ValueError:
                continue
            ops = [reference.scoped_configurable_fn
                   for reference in references]
            key = json.dumps([(reference.selector, config.settings(op))
                              for reference, op in zip(references, ops)],
                             default=str, sort_keys=True)
            # Read now: the next file replaces the bindings.
            settings = [config.settings(op) for op in ops]
            found.setdefault(key, (config_name, [
                _bound(op, values) for op, values in zip(ops, settings)]))
    return dict(found.values())


def _bound(op, settings):
    values = {name: _value(value) for name, value in settings.items()}
    plain = getattr(op, "__wrapped__", op)

    def bound(image):
        return plain(image, **values)

    bound.__name__ = decoding.op_name(op)
    return bound


def _value(value):
    if isinstance(value, gin.config.ConfigurableReference):
        return value.scoped_configurable_fn()  # A macro.
    return value


def reader(ops):
    def apply(image):
        for op in ops:
            image = op(image)
        return image

    shape = tf.function(apply, autograph=False).get_concrete_function(
        tf.TensorSpec([], tf.string)).structured_outputs.shape
    shape = shape if shape.is_fully_defined() else [224, 224, shape[-1]]
    read = images_lib.Reader(ops, tuple(shape), formats.MAX_PIXELS)
    return tf.function(read, autograph=False, input_signature=[
        tf.TensorSpec([None], tf.string)])


def files():
    """Yields (name, bytes)."""
    for pixels in _PIXELS.value:
        for name, data in bombs.all_of(pixels, _BOMBS.value).items():
            yield f"{name} of {pixels:,}", data
    small = [data for data in bombs.all_of(20_000).values()
             if len(data) < 50_000]
    for i, data in enumerate(files_test.lies(_LIES.value, _SEED.value)):
        yield f"lie {i}", data
    for i, data in enumerate(files_test.lies(_LIES.value, _SEED.value, small)):
        yield f"lie of a bomb {i}", data


def _status(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024  # Megabytes.
    raise KeyError(name)


def measure(read, tried):
    """The worst of the files, each in a batch behind a good one."""
    good = samples.encoded("JPEG", height=480, width=640)
    batch = lambda *images: read(tf.constant([*images]))
    batch(good, good), batch(good, b"")
    trim = ctypes.CDLL(None).malloc_trim
    worst = {"files": 0, "refused": 0, "seconds": (0, ""), "MB": (0, "")}
    expected, _ = batch(good)
    begin = time.process_time()
    for _ in range(10):
        batch(good, good)
    usual = (time.process_time() - begin) / 10
    start, size = _status("VmRSS"), _status("VmSize")
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (
        int((size + _MEGABYTES.value) * 2**20), most))
    try:
        for name, data in tried:
            trim(0)
            pathlib.Path("/proc/self/clear_refs").write_text("5")
            begin = time.process_time()
            images, error = batch(good, data)
            seconds = time.process_time() - begin - usual
            np.testing.assert_array_equal(images[0], expected[0], name)
            assert error[0] == b"" and _MEMORY not in str(error[1]), name
            worst["files"] += 1
            worst["refused"] += int(error[1] != b"")
            worst["seconds"] = max(worst["seconds"], (round(seconds, 2), name))
            worst["MB"] = max(worst["MB"], (
                round(_status("VmHWM") - start), name))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return worst


def main(_):
    tried = list(files())
    for name, ops in recipes(_GIN.value).items():
        words = [decoding.op_name(op) for op in ops]
        print(json.dumps({"recipe": name, "ops": words,
                          **measure(reader(ops), tried)}), flush=True)


if __name__ == "__main__":
    sys.exit(app.run(main))

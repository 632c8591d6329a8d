"""Says what a file of weights holds, without loading it:

    python -m tools.inspect_npz imagenet21k/ViT-B_16
    python -m tools.inspect_npz --stats lit/LiT-B16B_2:img
    python -m tools.inspect_npz --gin_file=gin/b16_cifar10.gin x.npz

The names are those that tfvit loads the arrays by; where the file has another
one it follows after `<-`. With --stats every array is read, which also checks
the whole file against damage. With --gin_file what differs from the model of
that run is listed instead, and whether the run can start from the file.
"""

import math
import os

from absl import app
from absl import flags

from tfvit import launch

_STATS = flags.DEFINE_bool("stats", False,
                           "Read the arrays: mean, deviation, NaNs.")

launch.start(__name__, "overrides")

import numpy as np
import tensorflow as tf

from tfvit.engine import build
from tfvit.weights import load
from tfvit.weights import names


def report(path, stats=False):
    """Yields the lines about the file `path` (or `path:subtree`)."""
    with load.opened(path) as (file, canonicalise, _):
        entries = canonicalise(file.shapes)
        shapes = {name: entry.shape for name, entry in entries.items()}
        count = sum(map(math.prod, shapes.values()))
        used = {s for entry in entries.values() for s in entry.sources}
        yield f"{file.path}: {os.path.getsize(file.path) / 1e6:,.1f} MB"
        yield names.describe(shapes)
        yield f"{len(entries)} arrays of {count:,} numbers"
        if len(used) < len(file):
            yield f"{len(file) - len(used)} other arrays, left out"
        for name, entry in sorted(entries.items()):
            line = f"{name} {list(entry.shape)} {file.dtypes[entry.sources[0]]}"
            if stats:
                line += _statistics(entry.make(*map(file.get, entry.sources)))
            if entry.sources != (name,):
                line += f" <- {' + '.join(entry.sources)}"
            yield line


def compare(path, model):
    """Yields how the file `path` (or `path:subtree`) differs from a model."""
    with load.opened(path) as (file, canonicalise, _):
        entries = canonicalise(file.shapes)
    theirs = {name: tuple(entry.shape) for name, entry in entries.items()}
    ours = {names.of(v): tuple(v.shape) for v in model.weights}
    yield f"The file: {names.describe(theirs)}"
    yield f"The model: {names.describe(ours)}"
    for name in sorted(theirs.keys() | ours.keys()):
        if name not in theirs:
            yield f" - {name} {ours[name]}, only in the model"
        elif name not in ours:
            yield f" + {name} {theirs[name]}, only in the file"
        elif theirs[name] != ours[name]:
            yield (f" ! {name} {theirs[name]} in the file, {ours[name]} in "
                   "the model")
    same = sum(ours.get(name) == shape for name, shape in theirs.items())
    yield f"{same} arrays have the same name and shape"
    for reset_head, use in (True, "Fine-tuning from it"), (False, "As it is"):
        try:
            load.check(model, entries, reset_head=reset_head)
            verdict = "works"
        except ValueError as error:
            verdict = f"does not work, {error}"
        yield f"{use} (load.from_npz.reset_head = {reset_head}): {verdict}"


def _statistics(array):
    array = array.astype(np.float64)
    bad = np.count_nonzero(~np.isfinite(array))
    return (f" mean {array.mean():.3g} std {array.std():.3g}" +
            (f" {bad} NOT FINITE" if bad else ""))


def main(files):
    if not files:
        raise app.UsageError("Say which files: paths, URLs or catalogue names.")
    model = flags.FLAGS.gin_file and _model()
    for path in files:
        lines = compare(path, model) if model else report(path, _STATS.value)
        for line in lines:
            print(line)


def _model():
    exp = launch.experiment_from_flags()
    return build.build(exp, strategy=tf.distribute.get_strategy(),
                       training=False).model


if __name__ == "__main__":
    launch.run_words(main)

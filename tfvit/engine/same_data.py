"""The data of a run that goes on, wherever it lies now, is that of before."""
import os

from absl import logging
import tensorflow as tf

from tfvit.data import class_names
from tfvit.storage import errors

# Of the examples, as a function of the seed; one more where that changes.
_ORDER = 2


def check(source, memory, workdir, places, *, restored, writes):
    """Holds the training data against what a checkpoint and labels.txt say.

    Notes in `memory` what it is, and writes labels.txt.

    Args:
      source: of training examples.
      memory: what the run remembers; "data" is used of it.
      workdir: directory of the run.
      places: {setting: where data lies}, from run_changes.places.
      restored: whether a checkpoint was read, to whose model a labels.txt that
        is there belongs.
      writes: whether this process is the one that writes files.

    Raises:
      ValueError: the classes are others; or the data has moved and is not as
        much as it was.
      OSError: labels.txt cannot be written.
    """
    found = {"examples": int(source.num_examples), "places": places,
             "order": _ORDER}
    before = memory.get("data", {**found, "order": None} if restored else found)
    now = _said(places)
    path = os.path.join(workdir, "labels.txt")
    is_there = restored and tf.io.gfile.exists(path)
    if is_there and class_names.read(path) != list(source.class_names):
        ours, theirs = class_names.read(path), list(source.class_names)
        differing = sorted({*ours} ^ {*theirs}) or ["in another order"]
        raise ValueError(
            f"The training data{now} has other classes than this run, whose "
            f"{len(ours)} are in {path}: {', '.join(differing[:10])}. "
            f"{_way_out(workdir)}")
    if before["examples"] != found["examples"]:
        moved = before["places"] != places
        said = (f"The training data{now} has {found['examples']} examples, and "
                f"this run had {before['examples']}{_said(before['places'])}")
        if moved:
            raise ValueError(f"{said}. {_way_out(workdir)}")
        logging.warning("%s: from here on they come in another order.", said)
    elif before.get("order") != _ORDER:
        logging.warning(
            "This run began under a version of tfvit that had the examples in "
            "another order: from here on they come in this version's. Of the "
            "epoch under way some come twice, and some not.")
    memory["data"] = found
    if writes and source.class_names and not is_there:
        with errors.writing(path, "Choose another --workdir."):
            tf.io.gfile.makedirs(workdir)
            class_names.write(source.class_names, path)


def _said(places):
    text = ", ".join(f"{name} = {place}" for name, place in places.items())
    return f" ({text})" * bool(text)


def _way_out(workdir):
    return ("To continue the run, give it the data that it had; to go on with "
            "other data, start a new one, --workdir=..., from its weights: "
            "experiment.Experiment.init = @checkpoint.from_run and "
            f"checkpoint.from_run.path = {str(workdir)!r}.")

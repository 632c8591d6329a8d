"""Which model is fine-tuned, and from which weights: --model and --from."""

import ast
import dataclasses
import difflib
import os
import re

import tensorflow as tf

from tfvit import config
from tfvit.bindings import settable
from tfvit.data import class_names
from tfvit.engine import checkpoint
from tfvit.weights import augreg
from tfvit.weights import catalogue
from tfvit.weights import fetch
from tfvit.weights import hub
from tfvit.weights import load
from tfvit.weights import npz
from tfvit.weights import published

DEFAULT = "S_16"
_SIZE, _TINY = 224, 64  # Pixels.
# Where a model has several: AugReg's were the best in its time.
_PREFERRED = ("augreg", "imagenet21k", "gsam", "sam")
# What belongs to the file's own classes and images.
_DROPPED = ("NUM_CLASSES", "IMAGE_SIZE", "vit.vit.representation_size",
            "load.from_npz.path", "ops.decode.upright",
            "experiment.Experiment.loss")
_OTHERWISE = ("Otherwise give a file, --from=FILE.npz, or train a small model "
              "from scratch: --model=tiny --from=none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """A model and its first weights.

    Attributes:
      name: of the model.
      what: of the weights, a sentence's beginning.
      includes: gin files of the model and the recipe.
      lines: of gin, which say the rest.
      image_size: for which the weights are, pixels or (height, width).
      scratch: whether there are no weights.
      class_names: for which the weights have a head that may stay.
    """
    name: str
    what: str
    includes: tuple
    lines: tuple
    image_size: int | tuple
    scratch: bool = False
    class_names: tuple = ()


def choose(model=None, weights=None, *, fetches=True):
    """The Start that the flags ask for, and its weights on this machine.

    Args:
      model: such as S_16, R26+S/32, mixer_b16, tiny, or the catalogue name of
        a checkpoint; None for the one of `weights`, or DEFAULT.
      weights: "none", the directory of a run, or what load.from_npz takes; None
        for the recommended ones of the model.
      fetches: whether to download what is not there.

    Raises:
      ValueError: there is no such model, or it has no published weights.
      FileNotFoundError, OSError: as fetch.resolve, with another way out.
    """
    if weights is None and model is not None and _is_checkpoint(model):
        model, weights = None, _full(model)
    if weights == "none":
        stem = stem_of(model or DEFAULT)
        return Start(name=stem, what="scratch", scratch=True, lines=(),
                     includes=(f"gin/models/{stem}.gin",
                               "gin/recipes/scratch.gin"),
                     image_size=_size(stem))
    stem = None if model is None and weights else stem_of(model or DEFAULT)
    if weights is None:
        weights = _recommended(model or DEFAULT, stem)
    weights = os.path.expanduser(weights)
    if tf.io.gfile.isdir(weights) and not hub.is_folder(weights):
        return _from_run(weights, stem)
    return _from_file(_full(weights), stem, fetches)


def stem_of(name):
    """The file of gin/models that a name means, without .gin.

    Raises:
      ValueError: there is none; says which were meant.
    """
    known = stems()
    stem = catalogue.model("augreg/" + re.sub("[/+]", "_", name))
    if stem not in known:
        near = {**{s: s for s in known}, **{
            key.lower(): key for key in (*catalogue.FILES["augreg"],
                                         *catalogue.names())}}
        close = difflib.get_close_matches(name.lower(), near, 3, 0.5)
        hint = (f" Did you mean {', '.join(near[c] for c in close)}?"
                if close else "")
        raise ValueError(f"--model={name} is no model.{hint} There are "
                         f"{', '.join(known)}, and the names of published "
                         "checkpoints.")
    return stem


def stems():
    """The files of gin/models, without .gin, of models of images alone."""
    return sorted(
        file.removesuffix(".gin")
        for file in os.listdir(os.path.join(config.ROOT, "gin/models"))
        if file.endswith(".gin") and not file.startswith("lit_"))


def _size(stem):
    return _TINY if stem == "tiny" else _SIZE


def _is_checkpoint(name):
    return (hub.is_theirs(name) or fetch.catalogue_url(name) is not None or
            fetch.catalogue_url(_full(name)) is not None)


def _full(name):
    """The catalogue name of an AugReg file without its folder; else `name`."""
    try:
        augreg.parse(name)
    except ValueError:
        return name
    return name if "/" in name else f"augreg/{name.removesuffix('.npz')}"


def _recommended(model, stem):
    """The catalogue name of the best weights for a model."""
    names = [name for collection in _PREFERRED
             for name in catalogue.names()
             if name.startswith(f"{collection}/") and
             catalogue.model(name) == stem]
    if not names:
        raise ValueError(f"--model={model} has no published weights: add "
                         "--from=none to train from scratch, or "
                         "--from=FILE.npz.")
    return names[0]


def _from_file(path, stem, fetches):
    file, _ = load.split_subtree(path)
    named = fetch.catalogue_url(file)
    what = path
    if re.fullmatch(r"augreg/\w+", file) and named:
        path = file = _of_augreg(file, fetches)
        what = f"{file}, which AugReg recommends"
    present = os.path.exists(file) or (
        fetch.catalogue_url(file) and
        os.path.exists(fetch.cache_path(fetch.catalogue_url(file))))
    if named and not fetches and not present:
        return _unseen(path, stem)
    try:
        (*models, recipe), bindings = published.gin_of(path)
    except OSError as error:
        raise type(error)(f"{str(error).rstrip('.')}. {_OTHERWISE}.") from error
    except ValueError:
        if not stem:
            raise
        # Its arrays do not say what it is; loading them checks it.
        with npz.load(fetch.resolve(file)) as arrays:
            height, width = arrays.notes.get("image_size",
                                             [_size(stem)] * 2)
        return _with_weights(stem, what, [], path,
                             height if height == width else (height, width))
    found = (os.path.basename(models[0]).removesuffix(".gin") if models else
             stem or "")  # What tools.export_npz wrote says all of it.
    if found.startswith("lit_") or recipe.endswith("_lit.gin"):
        raise ValueError(f"--from={path} has two towers; for its image tower "
                         f"alone: --from={path}:img")
    if stem not in (None, found, found + "_gap"):
        raise ValueError(f"--from={path} is of the model {found}, not of "
                         f"--model={stem}. Leave --model out.")
    settings = dict(binding.split(" = ", 1) for binding in bindings)
    size = ast.literal_eval(settings.get("IMAGE_SIZE", str(_SIZE)))
    for family in ("vit.vit", "mixer.mixer"):
        if f"{family}.num_classes" in settings:
            settings[f"{family}.num_classes"] = "%NUM_CLASSES"
        if (channels := settings.get(f"{family}.channels", "3")) != "3":
            settings |= {f"ops.{op}.channels": channels for op in (
                "decode", "decode_and_inception_crop")}
    lines = [f"{name} = {value}" for name, value in settings.items()
             if name not in _DROPPED]
    return _with_weights("" if not models else found, what, lines, path, size)


def _of_augreg(name, fetches):
    """augreg/<file> for augreg/<architecture>, from the index or the cache."""
    model = name.split("/")[1]
    index = fetch.cache_path(fetch.catalogue_url(augreg.INDEX))
    if not os.path.exists(index):
        # Somebody may have put the file there by hand, but not the index.
        folder = os.path.dirname(index)
        there = sorted(os.listdir(folder)) if os.path.isdir(folder) else ()
        for file in there:
            if re.fullmatch(rf"{re.escape(model)}-i21k-(?!.*--).*\.npz", file):
                return f"augreg/{file.removesuffix('.npz')}"
        if not fetches:
            return name
    try:
        return augreg.recommended(model, augreg.read_index())
    except OSError as error:
        raise type(error)(
            f"{str(error).rstrip('.')}, and beside it the weights that it "
            f"recommends (or these alone, {model}-i21k-*.npz). {_OTHERWISE}."
        ) from error


def _unseen(path, stem):
    """A Start of a catalogue's file that is not here yet."""
    found = (stem if path.startswith("augreg/") and stem else
             os.path.basename(augreg.gin_model(path.split("/")[1]))[:-4]
             if path.startswith("augreg/") else catalogue.model(path))
    large = path.startswith("imagenet21k+") and not path.endswith("-224")
    return _with_weights(found, f"{path}, to be downloaded", [], path,
                         384 if large else _SIZE)


def _with_weights(stem, what, lines, path, size):
    recipe, lines = "finetune", [*lines]
    if path.startswith("augreg/") and not os.path.exists(path):
        recipe = "augreg"
        lines.append(f"AUGREG = {path.removeprefix('augreg/')!r}")
    else:
        if os.path.exists(path):
            path = os.path.abspath(path)
        lines.append(f"load.from_npz.path = {path!r}")
    return Start(name=stem or f"that of {path}", what=what, lines=tuple(lines),
                 image_size=size, includes=_includes(stem, recipe))


def _from_run(run, stem):
    """The model and the weights of another run."""
    with tf.io.gfile.GFile(config.of(run)) as f:
        text = re.sub(r"\\\n\s*", "", f.read())
    if not checkpoint.steps(run):
        raise ValueError(f"--from={run} has no checkpoint yet.")
    bound = dict(re.findall(r"^([\w./]+) = (.*)$", text, re.MULTILINE))
    model = bound["experiment.Experiment.model"]
    if not re.fullmatch(r"@(vit\.vit|mixer\.mixer)", model):
        raise ValueError(f"--from={run} trains {model}, which has no one head "
                         "for classes.")
    family = model[1:]
    size = bound.get(f"{family}.image_size", "%IMAGE_SIZE")
    size = ast.literal_eval(bound["IMAGE_SIZE"] if size == "%IMAGE_SIZE" else
                            size)
    modules = settable.modules()
    lines = []
    if not stem:
        taken = {
            name: value for name, value in bound.items()
            if modules.get(name.split(".")[0], "").startswith("tfvit.models.")}
        taken |= {f"{family}.num_classes": "%NUM_CLASSES",
                  f"{family}.image_size": "%IMAGE_SIZE"}
        macros = {word for value in taken.values()
                  for word in re.findall(r"%(\w+)", value)}
        lines = [f"experiment.Experiment.model = {model}",
                 *(f"{word} = {bound[word]}" for word in sorted(
                     macros - {"NUM_CLASSES", "IMAGE_SIZE"})),
                 *(f"{name} = {value}" for name, value in taken.items())]
    if channels := bound.get("ops.decode.channels"):
        lines += [f"ops.{op}.channels = {channels}" for op in (
            "decode", "decode_and_inception_crop")]
    lines += ["experiment.Experiment.init = @checkpoint.from_run",
              f"checkpoint.from_run.path = {_absolute(run)!r}"]
    labels = os.path.join(run, "labels.txt")
    return Start(name=stem or f"that of {run}",
                 what=f"the last checkpoint of {run}",
                 lines=tuple(lines), image_size=size,
                 class_names=tuple(class_names.read(labels)) if
                 tf.io.gfile.exists(labels) else (),
                 includes=_includes(stem, "finetune"))


def _includes(stem, recipe):
    return (*[f"gin/models/{stem}.gin"] * bool(stem),
            f"gin/recipes/{recipe}.gin")


def _absolute(path):
    return path if "://" in path else os.path.abspath(path)

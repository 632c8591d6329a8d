"""Starts a model from a published `.npz` file, and writes such files."""

import collections
import contextlib
import functools
import math
import os
import re

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.weights import adapt
from tfvit.weights import augreg
from tfvit.weights import fetch
from tfvit.weights import hub
from tfvit.weights import hub_models
from tfvit.weights import names
from tfvit.weights import npz
from tfvit.weights import sidecar

_FIRST_CONVOLUTION = re.compile(
    r"((?:.*/)?)(?:embedding|conv_root|stem)/kernel")
_HEAD = {"head/kernel", "head/bias"}
_PRE_LOGITS = {"pre_logits/kernel", "pre_logits/bias"}
_MAX_LISTED = 40  # Problems in an error message.


_How = collections.namedtuple("_How", "grid patches method",
                              defaults=(None, False, "bilinear"))


def from_npz(model, *, path, reset_head=True, file_grid=None, tower=None,
             resize_patches=False, posemb_method="bilinear"):
    """Assigns the arrays of an `.npz` file to the model's variables.

    Position embeddings are resized to the model's patch grid and the first
    convolution to its number of channels. All else must fit.

    With `reset_head`, as fine-tuning starts, the model's head stays as it is
    initialised; the file's `pre_logits` is left out unless the model has one;
    a class token that only the file has is left out, and one that only the
    model has stays as it is initialised. Without, the whole function is loaded
    and each of these differences is an error. A model without head
    (num_classes None) leaves the file's head and `pre_logits` out either way.

    Host memory grows by little more than the largest array, and not for good.

    Args:
      model: a tfvit model; under a strategy its variables may be mirrored.
      path: what fetch.resolve takes, or hub.Model (`hf:owner/name`, a folder of
        transformers or timm, a `.safetensors` file); `file.npz:img` loads one
        tower, `augreg/B_16` the recommended AugReg file of that architecture.
      reset_head: see above.
      file_grid: (h, w) in patches of the file's position embeddings, needed
        only where they are no square. None for what the file, or what lies
        beside it (sidecar), notes, or else a square.
      tower: "img" or "txt" starts that tower of a LiT alone, from a file that
        has just the one.
      resize_patches: fit the kernel of the patches, too (arXiv 2212.08013).
      posemb_method: how position embeddings are resized: adapt.METHODS.

    Raises:
      FileNotFoundError, OSError: as fetch.resolve.
      ValueError: the file is broken, or does not fit; then it lists the
        arrays that are missing (-), unexpected (+) or of another shape (!).
    """
    beside = sidecar.read(split_subtree(path)[0]).get("patch_grid")
    with opened(path) as (file, canonicalise, grid):
        from_arrays(model, file, reset_head=reset_head, tower=tower,
                    file_grid=file_grid or beside or grid,
                    canonicalise=canonicalise, resize_patches=resize_patches,
                    posemb_method=posemb_method)
        getattr(file, "warn", lambda _: None)(model)


@contextlib.contextmanager
def opened(path):
    """Opens what from_npz takes: (an npz.Npz or what has its attributes, from
    its shapes to {canonical name: names.Entry}, its patch grid)."""
    path, subtree = split_subtree(path)
    if hub.is_theirs(path):
        with hub_models.opened(path) as theirs:
            yield (theirs.tensors, lambda _: theirs.canonicalise(subtree),
                   theirs.found.grid)
        return
    if re.fullmatch(r"augreg/\w+", path):
        path = augreg.recommended(path.split("/")[1], augreg.read_index())
    with npz.load(fetch.resolve(path)) as file:
        yield (file, lambda shapes: names.canonicalise(shapes, subtree=subtree),
               file.notes.get("grid"))


def from_arrays(model, file, *, canonicalise, reset_head=True, file_grid=None,
                tower=None, resize_patches=False, posemb_method="bilinear"):
    """As from_npz, from an open npz.Npz or what has its attributes, of whose
    shapes `canonicalise` makes {canonical name: names.Entry}."""
    variables = names.variables(model, tower)
    try:
        entries = canonicalise(file.shapes)
        plan = _plan(model, variables, entries, reset_head,
                     _How(file_grid, resize_patches, posemb_method))
    except ValueError as error:
        raise ValueError(f"{file.path} does not fit: {error}") from error
    _assign(file, variables, plan)
    _log(file.path, variables, entries, plan)


def check(model, entries, *, reset_head=True):
    """Raises the ValueError of `from_npz` for {canonical name: Entry}."""
    _plan(model, names.variables(model), entries, reset_head, _How())


def to_npz(model, path):
    """Writes the model's variables under their published names.

    Both vision_transformer and big_vision read the file. For what its arrays do
    not tell it notes the size of the images and the patch grid.
    """
    tower = getattr(model, "img", model)
    shape, grid = (getattr(tower, name, None)
                   for name in ("input_shape", "image_grid"))
    notes = {}
    if isinstance(shape, tuple) and len(shape) == 4:  # Images.
        notes["image_size"] = list(shape[1:3])
    if grid:
        notes["grid"] = list(grid)
    npz.save(path, names.variables(model), notes)


def split_subtree(path):
    """Splits "file.npz:img" into ("file.npz", "img")."""
    if os.path.exists(path):
        return path, None
    return re.fullmatch(r"((?:hf:)?.*?)(?::([A-Za-z_]\w*))?", path).groups()


def _plan(model, variables, entries, reset_head, how):
    """Returns {name: Entry of the variable's shape}."""
    reset = _HEAD if reset_head else set()
    optional = _optional(variables, reset_head)
    plan, problems = {}, []
    for name in sorted((variables.keys() | entries.keys()) - reset):
        if name in entries and name in variables:
            plan[name] = _fit(model, name, variables, entries, how)
            shape = tuple(variables[name].shape)
            if plan[name].shape != shape:
                problems.append(f" ! {name} {entries[name].shape} in the file, "
                                f"{shape} in the model")
        elif name not in optional:
            sign, side = ("+", entries) if name in entries else ("-", variables)
            problems.append(f" {sign} {name} {tuple(side[name].shape)}")
    if problems or not plan:
        raise ValueError(_explain(problems, variables, entries))
    return plan


def _optional(variables, reset_head):
    """Names that may be in the file alone or in the model alone."""
    optional = {"cls"} if reset_head else set()
    if reset_head or not _HEAD & variables.keys():
        optional |= _HEAD
        if not _PRE_LOGITS & variables.keys():
            optional |= _PRE_LOGITS
    return optional


def _fit(model, name, variables, entries, how):
    """The file's entry, adapted to the variable where that is possible."""
    entry, shape = entries[name], tuple(variables[name].shape)
    if len(entry.shape) != len(shape):
        return entry
    if _sees_images(name, variables):
        if 0 < entry.shape[2] != shape[2]:
            entry = entry.then(
                (*entry.shape[:2], shape[2], entry.shape[3]),
                lambda kernel: adapt.resize_channels(kernel, shape[2]))
        if (how.patches and entry.shape[:2] != shape[:2] and
                not name.endswith("conv_root/kernel")):
            entry = entry.then(
                (*shape[:2], *entry.shape[2:]),
                lambda kernel: adapt.resize_patches(kernel, shape[:2]))
        return entry
    if name.endswith(names.POS_EMBEDDING):
        return _fit_posemb(model, name, variables, entries, how)
    return entry


def _sees_images(name, variables):
    """Whether this is the kernel of the model's first convolution."""
    match = _FIRST_CONVOLUTION.fullmatch(name)
    # The patch embedding of a hybrid sees the features of its stem.
    return match and (name.endswith("conv_root/kernel") or
                      f"{match[1]}conv_root/kernel" not in variables)


def _fit_posemb(model, name, variables, entries, how):
    entry, file_grid = entries[name], how.grid
    cls = name.removesuffix(names.POS_EMBEDDING) + "cls"
    old_cls, new_cls = cls in entries, cls in variables
    old_count = entry.shape[1] - old_cls
    new_count = variables[name].shape[1] - new_cls
    new_grid = adapt.grid_of(new_count, getattr(model, "image_grid", None))
    if file_grid is None and old_count == new_count:
        file_grid = new_grid
        if new_grid[0] != new_grid[1] and adapt.is_square(new_count):
            raise ValueError(
                f"{name} has {old_count} patches, a square or the model's "
                f"{new_grid}: say which (height, width) as file_grid.")
    old_grid = adapt.grid_of(old_count, file_grid)
    if (old_grid, old_cls) == (new_grid, new_cls):
        return entry
    resize = functools.partial(adapt.resize_posemb, old_grid=old_grid,
                               method=how.method, new_grid=new_grid, has_cls_old=old_cls,
                               has_cls_new=new_cls)
    return entry.then((entry.shape[0], new_count + new_cls, entry.shape[2]),
                      resize)


def _explain(problems, variables, entries):
    """One message with all problems, what the file is, and the way out."""
    file = names.describe({name: e.shape for name, e in entries.items()})
    model = names.describe({name: v.shape for name, v in variables.items()})
    lines = problems[:_MAX_LISTED]
    if len(problems) > _MAX_LISTED:
        lines.append(f" ... and {len(problems) - _MAX_LISTED} more")
    lines += [f"The file: {file}.", f"The model: {model}."]
    text = "\n".join(problems).replace("! stem/", "! embedding/")
    for sign, hint in [
        (" + img/", "The file has two towers: load one as file.npz:img."),
        (" - img/embedding/", "The model has two towers: load.from_npz.tower "
         "says which one the file is for."),
        (" - pre_logits/", "Only files from imagenet21k/ have pre_logits: "
         "build the model with representation_size=None."),
        (" ! head/bias", "Loading the head needs the file's number of classes; "
         "reset_head=True starts with a new head."),
        (" ! embedding/kernel", "load.from_npz.resize_patches = True fits "
         "patches of another size."),
        (f" - {names.POS_EMBEDDING}", "The file has no position embeddings: "
         "build the model with posemb='sincos2d'."),
        ("token_mixing/", "Mixer's token mixing is tied to the number of "
         "patches: build the model for the file's image size."),
    ]:
        if sign in text:
            lines.append(hint)
    return ("missing in the file (-), unexpected (+), of another shape (!):\n" +
            "\n".join(lines))


def _assign(file, variables, plan):
    held, arrays = None, None
    with tf.device("CPU:0"):
        zeros = tf.zeros([max(math.prod(e.shape) for e in plan.values())])
    # In the order of the sources, stacked blocks are read once, not per block.
    for name in sorted(plan, key=lambda name: plan[name].sources):
        entry, variable = plan[name], variables[name]
        memory = _memory(variable, zeros)
        if entry.make is names.as_is and memory is not None:
            file.read_into(entry.sources[0], memory)
            continue
        if entry.sources != held:
            arrays = None  # Freed before the next ones are read.
            arrays = [file[source] for source in entry.sources]
            held = entry.sources
        variable.assign(np.asarray(entry.make(*arrays), np.float32))


def _memory(variable, zeros):
    """The memory of a variable as a flat array, or None if out of reach.

    TensorFlow copies a numpy array twice to assign it, the C library keeps much
    of what the variable had before, and an assignment in pieces leaves a
    variable on the CPU in a state where every later read of it is a copy.
    """
    if ("device:CPU:" not in variable.device or not variable.shape.rank or
            isinstance(variable, tf.distribute.DistributedValues)):
        return None
    # After a.assign(b) both have the same memory until one is updated.
    size = variable.shape.num_elements()
    variable.assign_add(tf.reshape(zeros[:size], variable.shape))
    # pylint: disable=protected-access
    memory, again = (variable.read_value()._numpy() for _ in range(2))
    # If reading gave copies, two at a time would be in different places.
    return memory.ravel() if memory.ctypes.data == again.ctypes.data else None


def _log(path, variables, entries, plan):
    logging.info("Loaded %d arrays from %s.", len(plan), path)
    for label, found in [
        ("Resized", [
            f"{n} {entries[n].shape} to {e.shape}" for n, e in plan.items()
            if e is not entries[n]
        ]),
        ("Left as initialised", sorted(variables.keys() - plan.keys())),
        ("Left out of the file", sorted(entries.keys() - plan.keys())),
    ]:
        if found:
            logging.info("%s: %s.", label, ", ".join(found))

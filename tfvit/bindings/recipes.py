"""Fits a recipe to its data: takes out what the labels do not survive.

Works on what gin holds, {(scope, function): {argument: value}}, where values
refer to functions by objects with a `configurable.selector`; config.py reads
and writes it.
"""
from collections.abc import Callable, Mapping

from absl import logging

from tfvit.bindings import replaced
from tfvit.data.images import keep as keep_lib

_TRAIN = "tfvit.data.pipeline.train"
_CLASSIFICATION = "tfvit.evaluators.classification.Classification"
_EXPERIMENT = "tfvit.experiment.Experiment"
_OPS = "tfvit.data.images."


def fit(config: dict, from_files: Mapping, reference: Callable) -> None:
    """Changes `config` where pipeline.train.keep asks for it.

    Whichever file came last: the one of the data has the last word. What the
    command line says stays as it is; pipeline.train checks it.

    Args:
      config: see above.
      from_files: as config, what the gin files alone say.
      reference: "ops.resize" -> what refers to that function.

    Raises:
      ValueError: keep is none of its values.
    """
    _map_once(config)
    train = config.get(("", _TRAIN), {})
    keep = train.get("keep")
    if keep is None:
        return
    keep_lib.check(keep)
    if "ops" not in train:
        return  # The data alone, without a recipe.
    changes = []

    def change(key, argument, new):
        """Sets an argument that a file sets otherwise."""
        old = config.get(key, {}).get(argument)
        if old is None or old == new or old != from_files.get(
                key, {}).get(argument):
            return
        config[key][argument] = new
        name = "/".join([*key[:1] * bool(key[0]), key[1].split(".", 2)[-1]])
        changes.append(f"{name}.{argument} = {_text(new)} instead of "
                       f"{_text(old)}")

    for key in list(config):
        if key[1] in (_TRAIN, _CLASSIFICATION):
            ops = config[key].get("ops") or []
            change(key, "ops", keep_lib.without(
                ops, keep, lambda name: reference(f"ops.{name}"), _name))
    device = config.get(("", _EXPERIMENT), {}).get("device_ops") or []
    change(("", _EXPERIMENT), "device_ops",
           [op for op in device if _name(op) not in keep_lib.FORBIDDEN[keep]])
    if keep == "all":
        change(("", _EXPERIMENT), "mix", None)
        _size_resize(config)
    # A mix that goes takes those that it mixes with it.
    unused = sorted(replaced.drop(config, from_files,
                                  lambda key: key[1].startswith(_OPS)))
    if changes or unused:
        logging.info(
            "The labels ask for pipeline.train.keep = %r: %s%s. Set it to None "
            "for the recipe as it is.", keep, "; ".join(changes) or "no change",
            f"; without {', '.join(unused)}" if unused else "")


def _map_once(config):
    """Leaves value_range out of the device's ops where the pipeline has it.

    Files of one's own, on top of a recipe, may end pipeline.train.ops in it, as
    the recipes did before theirs ended in uint8.
    """
    ops = config.get(("", _TRAIN), {}).get("ops") or []
    exp = config.get(("", _EXPERIMENT), {})
    device = exp.get("device_ops") or []
    ours, theirs = ({_name(op) for op in some} for some in (ops, device))
    if "value_range" in ours & theirs:
        exp["device_ops"] = [op for op in device if _name(op) != "value_range"]
        logging.info("pipeline.train.ops has value_range: "
                     "Experiment.device_ops goes without.")


def _size_resize(config):
    """Gives ops.resize, where it has no size, that of what it replaces."""
    if f"{_OPS}ops.resize" not in dict(map(reversed, replaced.named(config))):
        return
    resize = config.setdefault(("", f"{_OPS}ops.resize"), {})
    for name in ("decode_and_inception_crop", "central_crop", "random_crop"):
        size = config.get(("", f"{_OPS}ops.{name}"), {}).get("size")
        if size is not None:
            resize.setdefault("size", size)


def _name(reference):
    return reference.configurable.selector.rsplit(".", 1)[-1]


def _text(value):
    return (f"[{', '.join(map(_name, value))}]" if isinstance(value, list) else
            _name(value) if hasattr(value, "configurable") else repr(value))

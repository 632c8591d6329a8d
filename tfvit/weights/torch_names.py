"""What arrays are called by Hugging Face's transformers and by timm, and here.

A layout is a list of rules, each of which says how one array of ours is had
from one of theirs (`entries`), and theirs from ours (`arrays`).
"""

import re
from typing import NamedTuple

import numpy as np

from tfvit.weights import names

# transformers 5 has other names in memory than in files; both are taken.
_IN_MEMORY = [(re.compile(pattern), there) for pattern, there in [
    (r"^(?:vit|dinov2|dinov2_with_registers)\.", ""),
    (r"^layers\.(\d+)\.", r"encoder.layer.\1."),
    (r"\.attention\.([qkv])_proj\.", r".attention.attention.\1_proj."),
    (r"\.q_proj\.", ".query."), (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"^(encoder\.layer\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"^(encoder\.layer\.\d+)\.mlp\.fc2\.", r"\1.output.dense.")]]


class Rule(NamedTuple):
    """How one array of ours comes of theirs.

    Attributes:
      ours, theirs: names.
      turn: how it lies: "keep", "conv" (a kernel [D, c, p, q]), "in" or "out"
        (a matrix [out, in], of which ours has heads on the way in or out),
        "table" ([N, D], ours [1, N, D]), "token" ([D], ours [1, 1, D]), or
        "number" ([], ours [1]).
      heads: into which it is divided; None for none.
      part, parts: which of how many equal parts of theirs it is.
    """
    ours: str
    theirs: str
    turn: str = "keep"
    heads: int | None = None
    part: int = 0
    parts: int = 1


def _shape(rule, shape):
    """The shape of ours for that of theirs; None where it cannot be."""
    rank = {"conv": 4, "in": 2, "out": 2, "table": 2, "token": 1, "number": 0}
    heads, shape = rule.heads or 1, tuple(shape)
    if rule.turn in rank and len(shape) != rank[rule.turn]:
        return None
    if rule.parts > 1:
        if not shape or shape[0] % rule.parts:
            return None
        shape = (shape[0] // rule.parts, *shape[1:])
    if rule.turn == "conv":
        return (*shape[2:], shape[1], shape[0])
    if rule.turn in ("table", "token", "number"):
        return {"table": (1, *shape), "token": (1, 1, *shape),
                "number": (1,)}[rule.turn]
    if rule.turn in ("in", "out"):
        shape = shape[::-1]
    if not rule.heads:
        return shape
    axis = {"out": 0}.get(rule.turn, len(shape) - 1)
    if axis < 0 or shape[axis] % heads:
        return None
    return (*shape[:axis], heads, shape[axis] // heads, *shape[axis + 1:])


def entries(rules, shapes):
    """({name of ours: names.Entry}, [names of theirs that no rule has]).

    Raises:
      ValueError: an array has a shape that it cannot have.
    """
    file = {_in_files(name): name for name in shapes}
    found, used = {}, set()
    for rule in rules:
        name = file.get(rule.theirs)
        if name is None:
            continue
        used.add(name)
        shape = _shape(rule, shapes[name])
        if shape is None:
            raise ValueError(f"{name} has the shape {tuple(shapes[name])}, "
                             "which none of its kind has.")
        found[rule.ours] = names.Entry((name,), shape, _maker(rule, shape))
    for kernel in [name for name in found if name.endswith("/kernel")]:
        bias = kernel.replace("/kernel", "/bias")
        if re.search(r"(^|/)(embedding|head)/kernel$", kernel) and (
                bias not in found):  # CLIP's have none.
            found[bias] = names.Entry(
                found[kernel].sources, found[kernel].shape[-1:],
                lambda array, size=found[kernel].shape[-1]: np.zeros(
                    size, np.float32))
    return found, sorted(set(shapes) - used)


def _in_files(name):
    for pattern, there in _IN_MEMORY:
        name = pattern.sub(there, name)
    return name


def _maker(rule, shape):
    axes = {"conv": (2, 3, 1, 0), "in": (1, 0), "out": (1, 0)}.get(rule.turn)
    if axes is None and rule.parts == 1 and rule.turn == "keep" and (
            not rule.heads):
        return names.as_is

    def make(array):
        if rule.parts > 1:
            array = np.split(array, rule.parts)[rule.part]
        return (array if axes is None else array.transpose(axes)).reshape(shape)

    return make


def arrays(rules, ours):
    """{name of theirs: array} of {name of ours: array}, as far as they go."""
    parts = {}
    for rule in rules:
        if rule.ours in ours:
            parts.setdefault(rule.theirs, {})[rule.part] = _theirs(
                rule, np.asarray(ours[rule.ours]))
    return {name: np.concatenate([found[i] for i in sorted(found)])
            if len(found) > 1 else found[0] for name, found in parts.items()}


def _theirs(rule, array):
    if rule.turn == "conv":
        return array.transpose(3, 2, 0, 1)
    if rule.turn in ("in", "out"):
        columns = array.shape[0] if rule.turn == "in" else array.shape[-1]
        return (array.reshape(columns, -1).T if rule.turn == "in" else
                array.reshape(-1, columns).T)
    if rule.turn == "table":
        return array[0]
    if rule.turn == "number":
        return array.reshape(())
    return array.ravel() if rule.heads or rule.turn == "token" else array

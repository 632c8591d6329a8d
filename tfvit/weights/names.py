"""The names of weights: one spelling for all layouts that were published.

The spelling is that of the released ViT files, which models also give their
variables (`Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel`). Everything
here works on names and shapes; no array is read.
"""

import collections
import math
import re

import numpy as np

POS_EMBEDDING = "Transformer/posembed_input/pos_embedding"

# Encoder blocks count their parts together in released files
# (LayerNorm_0, MultiHeadDotProductAttention_1, LayerNorm_2, MlpBlock_3) and
# class by class in flax linen.
_LINEN_PARTS = {
    "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
    "LayerNorm_1": "LayerNorm_2",
    "MlpBlock_0": "MlpBlock_3",
}
_LINEN_BLOCK = re.compile(r"((?:^|/)encoderblock(?:_\d+)?/)(" +
                          "|".join(_LINEN_PARTS) + ")/")
_STACKED_BLOCKS = re.compile(r"((?:^|.*/)encoderblock)/(.+)")
_GROUP_NORM = re.compile(r"(?:^|.*/)gn(?:\d+|_root|_proj)/(?:scale|bias)")
_MAX_DEPTH = 1000  # Stacked blocks; the largest ViT so far has 56.
_OLD_MIXER = re.compile(r"Mixer/encoderblock_(\d+)/(.+)")
_OLD_MIXER_MLP = re.compile(
    r"(token|channel)_mixing_phase_\d+/(kernel|bias)([12])")


class Entry(collections.namedtuple("Entry", "sources shape make")):
    """One array under its canonical name.

    Attributes:
      sources: names of the arrays in the file that it is made of.
      shape: of the result.
      make: function from those arrays to the result.
    """

    def then(self, shape, function):
        """The entry with `function` applied to its result."""
        return Entry(self.sources, tuple(shape),
                     lambda *arrays: function(self.make(*arrays)))


def as_is(array):
    """The `make` of an Entry that is an array of the file."""
    return array


def of(variable):
    """The published name of a model's variable."""
    return canonical(variable.name.removesuffix(":0"))


def variables(model, tower=None):
    """{published name: variable} of a model, or of one tower of a LiT.

    A tower's names come without its "img/" or "txt/".

    Raises:
      ValueError: the model has no such tower.
    """
    found = {of(v): v for v in model.weights}
    if tower is None:
        return found
    inside = _under(f"{tower}/", found)
    if not inside:
        raise ValueError(f"tower={tower!r}: the model has no variables under "
                         f"{tower}/; only a LiT has the towers img and txt.")
    return inside


def canonical(name):
    """The released spelling of `name`, by itself (no stacks, no old Mixer)."""
    return _LINEN_BLOCK.sub(lambda m: f"{m[1]}{_LINEN_PARTS[m[2]]}/", name)


def canonicalise(shapes, *, subtree=None):
    """Translates a file's names into the released spelling.

    Understood, each alone or together: released and linen block numbers; a
    `params/` or `opt/target/` prefix (what is beside it, such as optimizer
    state, is left out); blocks stacked in one `encoderblock/` array;
    big_vision's position embeddings without an entry for the class token;
    GroupNorm arrays [1, 1, 1, C]; two layouts of Mixer; the two towers of LiT.

    Args:
      shapes: {name: shape} of the file.
      subtree: top-level module to load alone, such as "img" or "txt".

    Returns:
      {canonical name: Entry}.

    Raises:
      ValueError: there is no such subtree, or two arrays have the same name.
    """
    entries = {
        name: Entry((name,), tuple(shape), as_is)
        for name, shape in shapes.items()
    }
    for prefix in ("opt/target/", "params/"):
        entries = _under(prefix, entries) or entries
    if subtree:
        selected = _under(f"{subtree}/", entries)
        if not selected:
            tops = sorted({name.split("/")[0] for name in entries})
            raise ValueError(f"There is nothing under {subtree!r}; there is: "
                             f"{', '.join(tops)}.")
        entries = selected
    entries = _old_mixer(_unstack(entries))
    renamed = {}
    for name, entry in _join_positions(entries).items():
        if _GROUP_NORM.fullmatch(name):
            entry = entry.then([math.prod(entry.shape)], np.ravel)
        _put(renamed, canonical(name), entry)
    return renamed


def _under(prefix, entries):
    return {
        name.removeprefix(prefix): entry
        for name, entry in entries.items()
        if name.startswith(prefix)
    }


def _put(entries, name, entry):
    if name in entries:
        raise ValueError(f"Two arrays both mean {name}: "
                         f"{entries[name].sources[0]} and {entry.sources[0]}.")
    entries[name] = entry


def _unstack(entries):
    """Splits `encoderblock/x` [depth, ...] into `encoderblock_i/x` [...]."""
    result = {}
    for name, entry in entries.items():
        match = _STACKED_BLOCKS.fullmatch(name)
        if not match:
            _put(result, name, entry)
            continue
        depth = entry.shape[0] if entry.shape else 0
        if not 0 < depth <= _MAX_DEPTH:
            raise ValueError(f"{name} stacks {depth} blocks.")
        for i in range(depth):
            _put(result, f"{match[1]}_{i}/{match[2]}",
                 entry.then(entry.shape[1:], lambda stack, i=i: stack[i]))
    return result


def _old_mixer(entries):
    """Renames `Mixer/encoderblock_i/token_mixing_phase_0/kernel1` and so on.

    The arrays have extra axes of length 1, as big_vision's loader
    (models/mlp_mixer.py) says; no file of this kind was at hand.
    """
    if not any(_OLD_MIXER.fullmatch(name) for name in entries):
        return entries
    # The second norm of a block is whichever of its norms is not number 0.
    norm = re.compile(r"LayerNorm_[1-9]\d*/")
    result = {}
    for name, entry in entries.items():
        if block := _OLD_MIXER.fullmatch(name):
            part = norm.sub("LayerNorm_1/", block[2])
            if mlp := _OLD_MIXER_MLP.fullmatch(part):
                part = f"{mlp[1]}_mixing/Dense_{int(mlp[3]) - 1}/{mlp[2]}"
                entry = entry.then([n for n in entry.shape if n != 1],
                                   np.squeeze)
            name = f"MixerBlock_{block[1]}/{part}"
        else:
            name = name.replace("Mixer/encoder_norm/", "pre_head_layer_norm/")
            name = re.sub("^embedding/", "stem/", name)
        _put(result, name, entry)
    return result


def _join_positions(entries):
    """Brings position embeddings to where the models have them."""
    result = {}
    second_tables = {}
    for name, entry in entries.items():
        scope, _, leaf = f"/{name}".rpartition("/")
        scope = scope[1:] + "/" if scope else ""
        if leaf != "pos_embedding":
            pass
        elif scope.endswith("Encoder_0/"):
            second_tables[scope.removesuffix("Encoder_0/") + leaf] = entry
            continue
        elif scope.endswith("Transformer/"):  # big_vision until 2022.
            name = f"{scope}posembed_input/{leaf}"
        elif f"{scope}embedding/kernel" in entries:
            # big_vision adds these before it prepends the class token, which
            # is as if the token had an embedding of zeros.
            name = scope + POS_EMBEDDING
            if f"{scope}cls" in entries and len(entry.shape) == 3:
                one, tokens, width = entry.shape
                entry = entry.then([one, tokens + 1, width], prepend_zeros)
        _put(result, name, entry)
    # Text towers of LiT may have two tables, which are added to the tokens.
    for name, entry in second_tables.items():
        result[name] = _sum(result[name], entry) if name in result else entry
    return result


def _sum(a, b):
    if a.shape != b.shape:
        raise ValueError(f"{a.sources[0]} {a.shape} and {b.sources[0]} "
                         f"{b.shape} are to be added.")
    split = len(a.sources)
    return Entry(a.sources + b.sources, a.shape,
                 lambda *x: a.make(*x[:split]) + b.make(*x[split:]))


def prepend_zeros(table):
    """Position embeddings with an entry of zeros for the class token, first."""
    return np.concatenate([np.zeros_like(table[:, :1]), table], axis=1)


def describe(shapes):
    """Says in a few words which architecture has arrays of these shapes.

    Args:
      shapes: {canonical name: shape}.

    Returns:
      Such as "ViT, patch 16x16, width 768, depth 12, heads 12, mlp 3072,
      positions 197, class token, classes 1000".
    """
    towers = {scope: _under(f"{scope}/", shapes) for scope in ("img", "txt")}
    if not any(towers.values()):
        return _describe_tower(shapes)
    return "; ".join(f"{scope} = {_describe_tower(tower)}"
                     for scope, tower in towers.items()
                     if tower)


def _describe_tower(shapes):

    def size(pattern, axis):
        found = [s for n, s in shapes.items() if re.fullmatch(pattern, n)]
        return found[0][axis] if found and len(found[0]) > axis else None

    blocks = [
        re.search(r"(?:encoderblock|MixerBlock|layers)_(\d+)/", name)
        for name in shapes
    ]
    family = next((label for top, label in [
        ("MixerBlock_0/", "Mixer"),
        ("conv_root/", "hybrid ViT"),
        ("BertEncoder_0/", "BERT"),
        ("Encoder_0/", "text transformer"),
        ("Transformer/", "ViT"),
    ] if any(name.startswith(top) for name in shapes)), "unknown architecture")
    patch = [size("(?:embedding|stem)/kernel", axis) for axis in (0, 1)]
    parts = [
        ("patch", f"{patch[0]}x{patch[1]}" if all(patch) else None),
        ("width", size(r"(?:embedding|stem)/kernel", 3) or
         size(r".*/encoder_norm/scale|BertEncoder_0/layer_norm/scale", 0)),
        ("depth", max((1 + int(b[1]) for b in blocks if b), default=None)),
        ("heads", size(r".*encoderblock_0/MultiHead.*_1/query/kernel", 1)),
        ("mlp", size(r".*encoderblock_0/MlpBlock_3/Dense_0/kernel", 1)),
        ("tokens mlp", size("MixerBlock_0/token_mixing/Dense_0/kernel", 1)),
        ("tokens", size("MixerBlock_0/token_mixing/Dense_0/kernel", 0)),
        ("channels mlp", size("MixerBlock_0/channel_mixing/Dense_0/kernel", 1)),
        ("positions", size(f"{POS_EMBEDDING}|pos_embedding", 1)),
        ("class", "token" if "cls" in shapes else None),
        ("pre_logits", size("pre_logits/kernel", 1)),
        ("classes", size("head/kernel", 1)),
    ]
    return ", ".join([family, *(f"{k} {v}" for k, v in parts if v)])

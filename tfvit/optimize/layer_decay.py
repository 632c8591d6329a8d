"""Learning rates that fall from the head to the embeddings, by layer.

As BEiT (arXiv 2106.08254) and MAE (arXiv 2111.06377) fine-tune: of a model of
`depth` blocks, what comes before them is layer 0, block i is layer i + 1, all
else, the final norm and the head, is layer depth + 1, and the learning rate of
layer l is multiplied by decay ** (depth + 1 - l).
"""

from collections.abc import Iterable
import re

from absl import logging

# All in the published spelling of weights.names.
_TOWER = re.compile(r"(img/|txt/)?(.*)")
_BLOCK = re.compile(r"(?:.*/)?(?:encoderblock|MixerBlock|layers)_(\d+)/.*")
_BEFORE = re.compile(  # The ResNet of a hybrid makes its embeddings.
    r"(cls|embedding|stem|conv_root|gn_root|block\d+|Embed_\d+|pos_embedding|"
    r"Transformer/posembed_input|BertEncoder_\d+/(embedder\w*|layer_norm))"
    r"(/.*)?")


def factors(names: Iterable[str], decay: float | None) -> dict[str, float]:
    """{name: factor of its learning rate}.

    The towers of a LiT are two models here; what belongs to neither, its
    temperature and bias, has the factor 1.

    Args:
      names: published names of all parameters of a model, frozen ones too.
      decay: in (0, 1], such as 0.65; None for 1 everywhere.

    Raises:
      ValueError: a tower's blocks cannot be told by their names.
    """
    names = list(names)
    if decay is None:
        return dict.fromkeys(names, 1.0)
    towers = {}
    for name in names:
        tower, inside = _TOWER.fullmatch(name).groups()
        towers.setdefault(tower or "", {})[name] = _layer(inside)
    found = {}
    for tower, layers in towers.items():
        depth = 1 + max((layer - 1 for layer in layers.values() if layer),
                        default=-1)
        if not depth and tower or not depth and len(towers) == 1:
            raise ValueError(
                f"Experiment.layer_decay={decay}: the model's blocks cannot be "
                f"told by names such as {next(iter(layers))!r} (they would be "
                "encoderblock_0/..., MixerBlock_0/... or layers_0/...): give "
                "the factors one by one as Experiment.lr_multipliers.")
        if depth:
            logging.info(
                "Layer decay %g%s: learning rates x %.3g for the embeddings to "
                "x %.3g for the last of %d blocks, x 1 for the head.", decay,
                tower and f" of {tower}", decay**(depth + 1), decay, depth)
        found |= {name: decay**(depth + 1 - layer) if layer is not None else 1.0
                  for name, layer in layers.items()}
    return found


def _layer(name):
    """0 before the blocks, i + 1 in block i, None behind them."""
    if block := _BLOCK.fullmatch(name):
        return int(block[1]) + 1
    return 0 if _BEFORE.fullmatch(name) else None

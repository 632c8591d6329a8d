"""What a file of transformers or timm is, and what no model of ours can be."""

import dataclasses
import re

READ = ("of transformers vit, dinov2, dinov2_with_registers, clip and siglip; "
         "of timm vit_*, deit_* without distillation, deit3_*, flexivit_* and "
         "mixer_*")
# hidden_act of transformers and act_layer of timm -> ours.
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh",
                "gelu_pytorch_tanh": "gelu_tanh", "gelu_tanh": "gelu_tanh",
                "quick_gelu": "quick_gelu", "quickgelu": "quick_gelu"}
_NEVER_USED = re.compile(r"(.*\.)?(mask_token|position_ids)")
# What of other models' arrays ours have none of, by their names.
_REFUSED = [(re.compile(pattern), what) for pattern, what in [
    (r"dist_token|head_dist\.|.*distillation", "DeiT's distillation token"),
    (r".*\.(attns|ffns)\.", "blocks side by side"),
    (r".*(rope|freqs)", "rotary position embeddings"),
    (r".*(fc1_[gx]|\.w12\.|\.w3\.|weights_in|gate_proj)", "SwiGLU"),
    (r".*(relative_position|rel_pos)", "relative position embeddings"),
    (r".*\.(mlp|attn)\.norm\.", "norms inside attention or MLP"),
    (r"patch_embed\.", "another embedding of patches")]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a file is.

    Attributes:
      function: of the model, such as "vit.vit" or "lit.lit".
      settings: {gin name: value} of its arguments, but for image size and
        classes.
      num_classes: of its head; None for no head, or two towers.
      image_size: (height, width) in pixels.
      grid: of its position embeddings, (height, width) in patches.
      rules: of torch_names.
    """
    function: str
    settings: dict
    num_classes: int | None
    image_size: tuple
    grid: tuple
    rules: list


def check_rest(names):
    """Raises ValueError for arrays of a file that have no place in our models.
    """
    rest = [name for name in names if not _NEVER_USED.fullmatch(name)]
    for pattern, what in _REFUSED:
        if hits := [name for name in rest if pattern.match(name)]:
            raise ValueError(f"it has {what} ({hits[0]}), which no model here "
                             f"has. What is read: {READ}.")
    if rest:
        raise ValueError(f"it has {', '.join(rest[:5])}"
                         f"{', ...' * (len(rest) > 5)}, which no model here "
                         f"has. What is read: {READ}.")


def depth(shapes, pattern):
    """How many blocks there are, of which `pattern` finds the numbers."""
    numbers = [int(match[1]) for match in (
        re.match(pattern, name) for name in shapes) if match]
    if not numbers:
        raise ValueError("it has no blocks of a Transformer.")
    return 1 + max(numbers)


def activation(name):
    """What models.activations calls it; a ValueError where it has no name."""
    if name not in _ACTIVATIONS:
        raise ValueError(f"its activation is {name!r}; there are "
                         f"{', '.join(sorted(_ACTIVATIONS))}.")
    return _ACTIVATIONS[name]


def pair(size):
    """(height, width) of a size as configs have it, channels before it or not.
    """
    height, width = (size, size) if isinstance(size, int) else size[-2:]
    return int(height), int(width)


def plain(patch):
    """A patch's size as vit.vit takes it."""
    return patch[0] if patch[0] == patch[1] else tuple(patch)


def fitting(size, patch, count, token):
    """(image size, grid) of so many position embeddings."""
    grid = tuple(side // one for side, one in zip(size, patch))
    if grid[0] * grid[1] in (count, count - token):
        return size, grid
    for number in (count - token, count):
        side = round(number**0.5)
        if side**2 == number and number:
            return (side * patch[0], side * patch[1]), (side, side)
    raise ValueError(f"its {count} position embeddings are none of an image of "
                     f"{size[0]} x {size[1]} pixels in patches of {patch}.")

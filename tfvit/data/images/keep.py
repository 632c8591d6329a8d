"""What of an image a label depends on, and which operations leave it alone.

A mirrored "3" is no 3, and a photo of which a part is cut away no longer shows
how many objects there were, where, or how far off. A gin file of such data says
so by pipeline.train.keep; config then takes out of a recipe what the label does
not survive, and pipeline.train refuses what is there all the same.
"""
from collections.abc import Callable, Sequence

from tfvit.data.images import decoding

_MIRRORS = ("flip_lr",)
_MOVES = ("decode_and_inception_crop", "resize_small", "random_crop",
          "central_crop", "random_shift", "random_erasing", "randaugment",
          "autoaugment")
FORBIDDEN = {
    "sides": _MIRRORS,  # Left must stay left, as in digits and letters.
    "all": _MIRRORS + _MOVES,  # The image as it is, squashed to a square.
}


def without(ops: Sequence, keep: str, named: Callable[[str], object],
            name_of: Callable) -> list:
    """A recipe's operations without those that the label does not survive.

    Args:
      ops: the operations, or what stands for them.
      keep: key of FORBIDDEN.
      named: makes what stands for `ops.decode` and `ops.resize`.
      name_of: name of one of `ops`.
    """
    kept = [op for op in ops if name_of(op) not in FORBIDDEN[keep]]
    names = [name_of(op) for op in kept]
    if len(kept) == len(ops) or keep == "sides":
        return kept
    # What decoded and sized the images may be gone with the crops.
    if "decode" not in names:
        kept.insert(0, named("decode"))
    if "resize" not in names:
        kept.insert(1, named("resize"))
    return kept


def check(keep: str | None, ops: Sequence[Callable] = (),
          knob: str = "pipeline.train.ops") -> None:
    """Raises ValueError unless `ops` leave alone what the label depends on.

    `knob` is where they are from.
    """
    if keep is None:
        return
    if keep not in FORBIDDEN:
        raise ValueError(f"pipeline.train.keep = {keep!r} is none of "
                         f"{', '.join(map(repr, FORBIDDEN))} and None.")
    wrong = [name for name in map(decoding.op_name, ops)
             if name in FORBIDDEN[keep]]
    if wrong:
        raise ValueError(
            f"{knob} has {', '.join(wrong)}, which the labels of "
            f"this data do not survive (pipeline.train.keep = {keep!r}). Take "
            "it out, or set pipeline.train.keep = None if they do.")

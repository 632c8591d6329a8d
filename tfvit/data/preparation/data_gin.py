"""The gin file that reads what was prepared."""
from collections.abc import Sequence

from tfvit.data.images import ops

_HEAD = """# Written by tfvit prepare.
from __gin__ import dynamic_registration
from tfvit import experiment
{imports}
prepared.images.path = {out!r}
"""
_SPLIT = "{split}/prepared.images.split = {split!r}\n"
_TRAIN = "experiment.Experiment.train_source = @train/prepared.images\n"
_CLASSES = ("{split}/classification.Classification.source = "
            "@{split}/prepared.images\n")
_CAPTIONS = "retrieval.Retrieval.source = @{split}/prepared.images\n"
_KEEP = "pipeline.train.keep = {keep!r}\n"
# These stand upright; what the model is shown later should, too.
_UPRIGHT = "ops.decode.upright = True\n"
_AREA = "ops.decode_and_inception_crop.area_min = {area_min}\n"


def settings(config) -> dict:
    """What of the config that read the data goes with the images.

    Args:
      config: the module tfvit.config.
    """
    crop = config.settings(ops.decode_and_inception_crop)
    return {"keep": config.bound("pipeline.train.keep"),
            "area_min": crop.get("area_min"), "channels": config.settings(
                ops.decode).get("channels")}


def text(out: str, splits: Sequence[str], class_names: Sequence[str],
         settings: dict) -> str:
    """The contents of OUT/data.gin.

    Args:
      out: the folder.
      splits: that are there.
      class_names: none for captions.
      settings: see above.
    """
    keep, area_min = settings["keep"], settings["area_min"]
    channels = settings["channels"]
    evaluations = [split for split in splits if split != "train"]
    imports = ["from tfvit.data.datasets import prepared",
               "from tfvit.data.images import ops"]
    lines = [_UPRIGHT]
    if keep is not None:
        imports.append("from tfvit.data import pipeline")
        lines.append(_KEEP.format(keep=keep))
    if keep is not None and area_min is not None:
        lines.append(_AREA.format(area_min=area_min))
    if channels is not None:
        lines += [f"ops.decode.channels = {channels}\n",
                  f"ops.decode_and_inception_crop.channels = {channels}\n"]
    lines += [_SPLIT.format(split=split) for split in splits]
    if "train" in splits:
        lines.append(_TRAIN)
    if class_names:
        lines.insert(0, f"NUM_CLASSES = {len(class_names)}\n")
        lines += [_CLASSES.format(split=split) for split in evaluations]
        each = "".join(f"    {split!r}: @{split}/classification.Classification,"
                       "\n" for split in evaluations)
        lines.append(f"experiment.Experiment.evaluators = {{\n{each}}}\n")
        if evaluations:
            imports.append("from tfvit.evaluators import classification")
    elif evaluations:  # Evaluated by a run file's retrieval, as others are.
        imports.append("from tfvit.evaluators import retrieval")
        lines.append(_CAPTIONS.format(split=evaluations[0]))
    return _HEAD.format(out=out, imports="".join(
        f"{line}\n" for line in sorted(imports))) + "".join(lines)

"""How long rows would take, by the arithmetic of `tfvit benchmark`.

Images x operations of an image / (peak x the share of it that is used). The
operations are those of tools/models.json; training costs three forward passes.
"""

import json
import os
import time

import numpy as np

from tfvit.bindings import gin_file
from tfvit.reproduction import commands
from tfvit.reproduction import ledger
from tfvit.tpu import chips

# Peaks of products, 1e12 operations a second: on GPUs of float32 with factors
# rounded to 10 bits (TF32), on TPUs of bfloat16, to which they round float32.
_PEAKS = {"A100": 156, "H100": 495,  # NVIDIA's data sheets, without sparsity.
          **{version: chip.tflops for version, chip in chips.CHIPS.items()
             if version in ("v4", "v5e", "v6e")}}
_USED = 0.5  # Of their peak.
_CPU_USED = 0.8  # tools/docs/speed.md: 62 to 91 % of the measured peak.
_SIDE = 2048
_ALL = "all of them"


def devices():
    """{name: operations a second that a model gets}, this machine's CPU first.
    """
    x = np.ones([_SIDE, _SIDE], np.float32)
    x @ x
    seconds = []
    for _ in range(3):
        begun = time.monotonic()
        x @ x
        seconds.append(time.monotonic() - begun)
    return {"this CPU": _CPU_USED * 2 * _SIDE**3 / min(seconds),
            **{name: _USED * peak * 1e12 for name, peak in _PEAKS.items()}}


def operations(row, images=None):
    """Floating-point operations of a row; None where it is not known.

    Of a LiT, those of its texts are left out: a tenth of those of ImageNet's
    50,000 images, more where there are fewer.
    """
    if row.task == ledger.TRAINING:
        return _of_run(row)
    gmacs = _gmacs(row.stem, row.image_size)
    if not (gmacs and row.examples):
        return None
    return 2e9 * gmacs * _images(row, images)


def _images(row, asked):
    return commands.part_of(row, asked) or row.examples


def _of_run(row):
    file = gin_file.GinFile(row.gin)
    stems = [path for path in file.includes if path.startswith("gin/models/")]
    number = lambda name: int(float(file.bindings.get(name, "0").replace(
        "_", "")))
    steps = row.steps or number("experiment.Experiment.total_steps")
    batch = number("experiment.Experiment.batch_size")
    size = file.bindings.get("IMAGE_SIZE", "")
    gmacs = stems and size.isdigit() and _gmacs(
        os.path.basename(stems[0]).removesuffix(".gin"), int(size))
    # SAM and GSAM take the gradient twice.
    passes = 6 if "sam" in file.bindings.get(
        "experiment.Experiment.gradients", "") else 3
    return 2e9 * gmacs * passes * steps * batch if gmacs else None


def _gmacs(stem, size):
    path = os.path.join(gin_file.ROOT, "tools", "models.json")
    with open(path, encoding="utf-8") as f:
        cost = json.load(f).get(stem, {})
    return cost.get(str(size), {}).get("gmacs")


def table(rows, images=None):
    """Lines of a table: hours of each row on each device, and of all."""
    speeds = devices()
    width = max(len(_ALL), *(len(row.id) for row in rows))
    yield (f"{'hours':{width}}  {'images':>12}" +
           "".join(f"  {name:>9}" for name in speeds))
    total, unknown = 0.0, 0
    seen = set()
    for row in rows:
        work = operations(row, images)
        # Other numbers of one evaluation cost nothing more.
        again = (row.checkpoint, row.dataset, row.evaluator)
        if work is None or (row.checkpoint and again in seen):
            unknown += work is None
            note = "not known" if work is None else "with the row above"
            yield f"{row.id:{width}}  {note:>12}"
            continue
        seen.add(again)
        total += work
        count = ("" if row.task == ledger.TRAINING else
                 f"{_images(row, images):,}")
        yield f"{row.id:{width}}  {count:>12}" + _hours(work, speeds)
    label = f"all but {unknown}" if unknown else _ALL
    yield f"{label:{width}}  {'':>12}" + _hours(total, speeds)
    yield ""
    yield (f"Of one device each, without reading the images: at {_USED:.0%} of "
           "the published peak")
    yield ("of TF32 or bfloat16; of this CPU at "
           f"{_CPU_USED:.0%} of what it does now.")
    if any(row.checkpoint.startswith("lit/") for row in rows):
        yield "Of LiT the images alone; its texts come on top."


def _hours(work, speeds):
    hours = [work / speed / 3600 for speed in speeds.values()]
    return "".join(f"  {value:9,.0f}" if value >= 100 else f"  {value:9.3f}"
                   for value in hours)

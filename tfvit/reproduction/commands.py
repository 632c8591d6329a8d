"""Any row as one plain command."""

import os
import re
import shlex

from tfvit.bindings import gin_file
from tfvit.reproduction import ledger

_CROP = "gin/recipes/central_crop.gin"


def overrides(row, *, data_dir=None, images=None, files=(), bindings=()):
    """(gin files, bindings) that a row adds to those of its checkpoint.

    Args:
      row: a ledger.Row.
      data_dir: where TFDS's datasets lie; None for ~/tensorflow_datasets.
      images: how many of the split to evaluate, from its beginning, if it has
        more; None for all of them.
      files, bindings: of the user, which come last.
    """
    found = []
    if data_dir and "DATA_DIR" in gin_file.GinFile(row.gin).bindings:
        found.append(f"DATA_DIR = {data_dir!r}")
    if row.task == ledger.TRAINING:
        if row.steps:
            found.append(f"experiment.Experiment.total_steps = {row.steps}")
        if row.warmup:
            found.append(f"schedules.cosine.warmup_steps = {row.warmup}")
        return [row.gin, *files], [*found, *bindings]
    # The papers' numbers are of images as they lie in their files.
    found.append("ops.decode.upright = False")
    if part := part_of(row, images):
        found.append(f"{row.scope}/sources.tfds.split = "
                     f"{first(row.split, part)!r}")
    return [row.gin, *[_CROP] * row.crop, *files], [*found, *bindings]


def part_of(row, images):
    """How many images to evaluate a row on; None for its whole split.

    Args:
      row: a ledger.Row.
      images: how many were asked for, or None.
    """
    whole = row.task == ledger.TRAINING or (
        row.examples is not None and images is not None and
        images >= row.examples)
    return None if whole else images


def first(split, count):
    """The first `count` examples of a split such as test or train[25200:]."""
    name, begin = re.fullmatch(r"(\w+)(?:\[(\d*):\d*\])?", split).groups()
    begin = int(begin or 0)
    return f"{name}[{begin or ''}:{begin + count}]"


def words(row, out, **options):
    """The command, as words without `python -m`.

    Args:
      row: a ledger.Row.
      out: folder of runs that train.
      **options: see overrides.
    """
    files, bindings = overrides(row, **options)
    gin = [*(f"--gin_file={file}" for file in files),
           *(f"--gin_bindings={binding}" for binding in bindings)]
    if row.task == ledger.TRAINING:
        return ["tfvit.train", *gin, f"--workdir={workdir(row, out)}"]
    return ["tfvit.evaluate", f"--model={row.checkpoint}",
            f"--split={row.evaluator}", *gin]


def workdir(row, out):
    """Directory of the run of a row that trains."""
    return os.path.join(out, row.id)


def text(row, out, **options):
    """The command as a line for a shell."""
    return shlex.join(["python", "-m", *words(row, out, **options)])

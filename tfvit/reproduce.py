"""Measures published numbers: python -m tfvit.reproduce --only='vit-*'.

Each row is a published file of weights and what its authors say it reaches,
evaluated by the code of tfvit.evaluate. The datasets are TFDS's, prepared in
--data_dir; what is missing there, or cannot be downloaded, is said in its row,
and asked for again by the same command, which leaves alone what is done.

    python -m tfvit.reproduce --list
    python -m tfvit.reproduce --cost --only='vit-*,augreg-b16'
    python -m tfvit.reproduce --only='vit-*' --data_dir=/data/tfds --images=2000
    python -m tfvit.reproduce --train=train-b16_cifar10-500

Writes reproduce.jsonl, .md and .html to --out after each row. Rows that train
are begun only when --train names them.
"""

import sys

from absl import app
from absl import flags
from absl import logging

from tfvit import launch

_ONLY = flags.DEFINE_list(
    "only", [], "Rows of weights, such as 'vit-*,augreg-b16'. Default: all, "
    "or none where --train is given.")
_TRAIN = flags.DEFINE_list(
    "train", [], "Rows that train, such as train-b16_cifar10-500.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Where TFDS's datasets lie (default: "
    "~/tensorflow_datasets).")
_IMAGES = flags.DEFINE_integer(
    "images", None, "Evaluate rows of weights on so many images of each split, "
    "or on all of a smaller one (default: all).", lower_bound=1)
_OUT = flags.DEFINE_string(
    "out", None, "Folder for the tables and the runs. Default: runs/reproduce.")
_LIST = flags.DEFINE_bool("list", False, "Only list the rows.")
_COST = flags.DEFINE_bool(
    "cost", False, "Only estimate the hours, on several devices.")
_LEDGER = flags.DEFINE_string(
    "ledger", None, "JSON file of rows of your own, in the form of "
    "tfvit/reproduction/ledger.json, instead of those.")

launch.start(__name__, "chosen run", clock=True)

import os

from tfvit.reproduction import ledger


def lines(rows):
    """A table of rows, for the terminal."""
    width = max(len(row.id) for row in rows)
    for row in rows:
        what = (row.gin if row.task == ledger.TRAINING else
                f"{row.dataset} {row.split}, {row.metric}")
        yield (f"{row.id:{width}}  {100 * row.expected:6.2f} %  {what}  "
               f"({row.source})")


def main(words):
    if words:
        raise app.UsageError(f"{' '.join(words)} is no flag. Rows are named "
                             "by --only and --train.")
    rows = ledger.rows(_LEDGER.value or ledger.FILE)
    asked = _ONLY.value or _TRAIN.value
    if _LIST.value and not asked:
        chosen = rows
    else:
        chosen = ledger.choose(rows, _ONLY.value, _TRAIN.value)
    if _LIST.value:
        print("\n".join(lines(chosen)))
    elif _COST.value:
        from tfvit.reproduction import cost
        print("\n".join(cost.table(chosen, _IMAGES.value)))
    else:
        _measure(rows, chosen)


def _measure(rows, chosen):
    out, data_dir = _folders()
    if _IMAGES.value and all(row.task == ledger.TRAINING for row in chosen):
        raise ValueError("--images is of rows of weights: those of --train are "
                         "evaluated on their whole split. Leave it out.")
    from tfvit.reproduction import run  # Takes seconds.
    files, bindings = launch.overrides()
    found = run.go(rows, chosen, out, {
        "data_dir": data_dir, "images": _IMAGES.value, "files": files,
        "bindings": bindings})
    print(os.path.join(out, "reproduce.html"))
    failures = run.failures(found, chosen)
    if failures:
        logging.error("%d of %d rows could not be measured: the page says why. "
                      "The same command tries them again.", failures,
                      len(chosen))
        sys.exit(1)


def _folders():
    """(out, data_dir or None) of the flags."""
    out = os.path.expanduser(_OUT.value or "runs/reproduce")
    if "://" in out:
        raise ValueError(f"--out={out} must be a folder of this machine: copy "
                         "it afterwards.")
    data_dir = os.path.expanduser(_DATA_DIR.value or "")
    if os.path.exists(data_dir) and not os.path.isdir(data_dir):
        raise ValueError(f"--data_dir={data_dir} is a file: name the folder "
                         "that TFDS's datasets lie in.")
    if data_dir and "://" not in data_dir:  # Else in a bucket.
        data_dir = os.path.abspath(data_dir)
    return out, data_dir or None


if __name__ == "__main__":
    launch.run_words(main)

"""Scores a run: python -m tfvit.evaluate --workdir=runs/b16_cifar10.

Prints one JSON object: the checkpoint's step and all "evaluator/metric"s. What
it gets right and wrong, class by class and image by image, is in a report, a
page with tables and charts:

    python -m tfvit.evaluate --workdir=runs/digits --report=runs/digits/report

The JSON object is then the last line, after the worst classes. A published
checkpoint is told what to be scored on:

    python -m tfvit.evaluate --model=imagenet21k+imagenet2012/ViT-B_16 \
        --gin_file=gin/data/imagenet2012.gin --split=test
"""

import json
import os

from absl import flags

from tfvit import launch

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best or a step.")
_MODEL = flags.DEFINE_string(
    "model", None, "Instead of --workdir: name of a published checkpoint, or "
    "path or URL of an .npz file.")
_REPORT = flags.DEFINE_string(
    "report", None, "Directory for a report on each class and image: "
    "index.html, tables and charts.")
_SPLIT = flags.DEFINE_multi_string(
    "split", [], "Evaluator to run, such as test; repeat for more. Default: "
    "all.")

launch.start(__name__, "existing run", required=("workdir|model",))

from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.inference import published_run
from tfvit.inference import report


def main(exp, workdir):
    directory = _directory()
    report.check_splits(exp, _SPLIT.value)
    if directory:
        report.check(exp, directory, _SPLIT.value)
    run = build.build(exp, training=False)
    # What cannot work is said before anything is read.
    run.evaluators  # pylint: disable=pointless-statement
    step = checkpoint.restore_for_inference(workdir, run.weights,
                                            _CHECKPOINT.value)
    _score(run, step, workdir, directory)


def of_published():
    """As main, of the checkpoint that --model names."""
    if flags.FLAGS["checkpoint"].present:
        raise ValueError("--checkpoint is of runs, --workdir=...; a published "
                         "file has one.")
    directory = _directory()
    run = published_run.of(_MODEL.value, launch.overrides(), _SPLIT.value)
    if directory:
        report.check(run.exp, directory, _SPLIT.value)
    run.evaluators  # pylint: disable=pointless-statement
    run.exp.init(run.model)
    _score(run, 0, _MODEL.value, directory)


def _directory():
    return _REPORT.value and os.path.expanduser(_REPORT.value)


def _score(run, step, name, directory):
    if directory:
        values, text = report.write(
            run, directory, title=os.path.basename(os.path.normpath(name)),
            step=step, only=_SPLIT.value)
        print(text)
    else:
        values = run.evaluate(only=_SPLIT.value or None)
    print(json.dumps({"step": step, **values}))


if __name__ == "__main__":
    if _MODEL.value:
        launch.run_alone(of_published)
    else:
        launch.run_existing(main)

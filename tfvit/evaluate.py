"""Scores a run: python -m tfvit.evaluate --workdir=runs/b16_cifar10.

Prints one JSON object: the checkpoint's step and all "evaluator/metric"s. What
it gets right and wrong, class by class and image by image, is in a report, a
page with tables and charts:

    python -m tfvit.evaluate --workdir=runs/digits --report=runs/digits/report

The JSON object is then the last line, after the worst classes.
"""

import json
import os

from absl import flags

from tfvit import launch

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best or a step.")
_REPORT = flags.DEFINE_string(
    "report", None, "Directory for a report on each class and image: "
    "index.html, tables and charts.")
_SPLIT = flags.DEFINE_multi_string(
    "split", [], "Evaluator to run, such as test; repeat for more. Default: "
    "all.")

launch.start(__name__, "existing run", required=("workdir",))

from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.inference import report


def main(exp, workdir):
    directory = _REPORT.value and os.path.expanduser(_REPORT.value)
    report.check_splits(exp, _SPLIT.value)
    if directory:
        report.check(exp, directory, _SPLIT.value)
    run = build.build(exp, training=False)
    # What cannot work is said before anything is read.
    run.evaluators  # pylint: disable=pointless-statement
    step = checkpoint.restore_for_inference(workdir, run.weights,
                                            _CHECKPOINT.value)
    if directory:
        values, text = report.write(
            run, directory, title=os.path.basename(os.path.normpath(workdir)),
            step=step, only=_SPLIT.value)
        print(text)
    else:
        values = run.evaluate(only=_SPLIT.value or None)
    print(json.dumps({"step": step, **values}))


if __name__ == "__main__":
    launch.run_existing(main)

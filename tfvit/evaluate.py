"""Scores a run: python -m tfvit.evaluate --workdir=runs/b16_cifar10.

Prints one JSON object: the checkpoint's step and all "evaluator/metric"s.
"""

import json

from absl import flags

from tfvit import launch

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best or a step.")

launch.start(__name__, "existing run", required=("workdir",))

from tfvit.engine import build
from tfvit.engine import checkpoint


def main(exp, workdir):
    run = build.build(exp, training=False)
    # What cannot work is said before anything is read.
    run.evaluators  # pylint: disable=pointless-statement
    step = checkpoint.restore_for_inference(workdir, run.weights,
                                            _CHECKPOINT.value)
    print(json.dumps({"step": step, **run.evaluate()}))


if __name__ == "__main__":
    launch.run_existing(main)

"""Scores a run: python -m tfvit.evaluate --workdir=runs/b16_cifar10.

Prints one JSON object: the checkpoint's step and all "evaluator/metric"s.
"""

import json

from absl import flags

from tfvit import checkpoint
from tfvit import launch
from tfvit import trainer

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best or a step.")


def main(exp, workdir):
    strategy = exp.strategy()
    model, params = trainer.build_model(exp, strategy)
    evaluators = trainer.build_evaluators(exp, model, strategy)
    step = checkpoint.restore_for_inference(workdir, params, _CHECKPOINT.value)
    print(json.dumps({"step": step, **trainer.evaluate(evaluators)}))


if __name__ == "__main__":
    launch.run_existing(main)

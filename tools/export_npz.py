"""Writes the weights of a run as `.npz` with the published names:

    python -m tools.export_npz --workdir=runs/b16_cifar10 --output=b16.npz

vision_transformer, big_vision, timm and load.from_npz read such files. b16.json
beside it has what arrays do not say, for tfvit: the class names, the range of
the pixels, softmax or sigmoid, the patch grid. Keep the two together.
"""

import os

from absl import flags
from absl import logging

from tfvit import launch

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best or a step.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "File to write; may be gs://.")

launch.start(__name__, "existing run", required=("workdir", "output"))

from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.inference import finished
from tfvit.weights import load
from tfvit.weights import sidecar


def main(exp, workdir):
    run = build.build(exp, training=False)
    step = checkpoint.restore_for_inference(workdir, run.weights,
                                            _CHECKPOINT.value)
    load.to_npz(run.model, _OUTPUT.value)
    beside = sidecar.write(_OUTPUT.value, {
        "model": os.path.basename(os.path.normpath(workdir)), "step": step,
        **finished.facts(exp, run.model, workdir)})
    logging.info("Wrote step %d of %s to %s, and %s.", step, workdir,
                 _OUTPUT.value, beside)


if __name__ == "__main__":
    launch.run_existing(main)

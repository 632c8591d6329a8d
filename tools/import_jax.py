"""Makes a run of tfvit out of a published `.npz` file, head included:

    python -m tools.import_jax --gin_file=gin/b16_imagenet2012.gin \
        --npz=imagenet21k+imagenet2012/ViT-B_16 --workdir=runs/b16_jax

WORKDIR then holds config.gin and a checkpoint at step 0, which tfvit.evaluate,
tfvit.export and tfvit.predict read like those of any other run. The gin file
must build the file's architecture with its number of classes.
"""

import os

from absl import flags
from absl import logging

from tfvit import launch

_NPZ = flags.DEFINE_string(
    "npz", None, "Path, URL or catalogue name of the file.")

launch.start(__name__, "new run", required=("gin_file", "npz"))

from tfvit.data import class_names
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.inference import naming
from tfvit.models import lit
from tfvit.weights import load


def main(exp, workdir):
    if checkpoint.steps(workdir):
        raise ValueError(f"--workdir={workdir} holds checkpoints already: "
                         "choose another one.")
    run = build.build(exp)
    load.from_npz(run.model, path=_NPZ.value, reset_head=False)
    run.state.start_averages()
    if not isinstance(run.model, lit.LiT) and (names := naming.of_file(
            _NPZ.value, run.model.output_shape[-1])):
        class_names.write(names, os.path.join(workdir, "labels.txt"))
    checkpoints = checkpoint.Checkpoints(workdir, run.state, keep=1)
    checkpoints.save()
    checkpoints.wait()
    logging.info("Wrote %s.", workdir)


if __name__ == "__main__":
    launch.run(main)

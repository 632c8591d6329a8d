"""Trains a model, or goes on: python -m tfvit.train --gin_file=gin/digits.gin.

With --dry_run everything is built and traced, what it would cost is printed,
and nothing is trained or written.
"""

from absl import flags

from tfvit import launch

_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Build and trace the run, print its size, FLOPs, memory "
    "and what it would load, and stop. Writes nothing.")

launch.start(__name__, "new run", required=("gin_file",), clock=True)

from tfvit import trainer
from tfvit.engine import dry_run


def main(exp, workdir):
    if _DRY_RUN.value:
        print(dry_run.table(dry_run.report(exp, workdir)))
    else:
        trainer.train(exp, workdir)


if __name__ == "__main__":
    launch.run(main, writes=lambda: not _DRY_RUN.value)

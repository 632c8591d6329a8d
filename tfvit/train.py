"""Trains a model, or goes on: python -m tfvit.train --gin_file=gin/digits.gin.

With --dry_run everything is built and traced, what it would cost is printed,
and nothing is trained or written.

A run that is there becomes longer by the same command with more steps:

    python -m tfvit.train --gin_file=gin/digits.gin --extend=stretch \
      --gin_bindings="experiment.Experiment.total_steps = 1000"
"""

from absl import flags

from tfvit import launch

_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Build and trace the run, print its size, FLOPs, memory "
    "and what it would load, and stop. Writes nothing.")


class _Extend(flags.EnumFlag):
    """One that may stand without a value, too."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.boolean = True

    def parse(self, argument):
        super().parse("exact" if argument == "true" else argument)


def define_extend(values=flags.FLAGS):
    """The flag --extend; see engine.extension."""
    return flags.DEFINE_flag(_Extend(
        "extend", None, "Go on with a run that is there to another "
        "total_steps, and with other cadences, actions and writers. Where the "
        "learning rate depends on total_steps, say how: stretch, as a schedule "
        "that long has it from this step on; restart, the schedule anew, "
        "warm-up and all. By itself: exact, only where no step so far would "
        "have been another.", ["exact", "stretch", "restart"]), values)


_EXTEND = define_extend()

launch.start(__name__, "new run", required=("gin_file",), clock=True)

from tfvit import trainer
from tfvit.engine import dry_run


def main(exp, workdir):
    if _DRY_RUN.value:
        print(dry_run.table(dry_run.report(exp, workdir)))
    else:
        trainer.train(exp, workdir)


if __name__ == "__main__":
    launch.run(main, writes=lambda: not _DRY_RUN.value,
               extends=lambda: _EXTEND.value)

"""From the command line to main(exp, workdir): flags, config.gin, exit codes.

All binaries share these flags. A new run is `--gin_file=...`; a binary that
looks at a run that exists takes `--workdir=...` and reads its config.gin.
"""

import os
import sys

# Before TensorFlow loads: its C++ notes on devices and rendezvous are noise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app
from absl import flags
from absl import logging
import tensorflow as tf

from tfvit import config
from tfvit import experiment
from tfvit.distribute import cluster
from tfvit.engine import checkpoint
from tfvit.engine import lock
from tfvit.engine import loop
from tfvit.storage import errors

_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", [], "Gin file of the run; repeat to add files.")
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A gin binding that overrides the files, such as "
    "'experiment.Experiment.total_steps=100'; repeat for more.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None,
    "Directory of the run (default: runs/<stem of the first gin file>).")

PREEMPTED = 42  # Exit code of a run that a signal ended after saving.
DIVERGED = 43  # Of a run whose loss or gradient was not finite.


def run(main, writes=lambda: True):
    """Parses flags and gin, then calls main(exp, workdir) for a new run.

    The config is saved in the workdir if `writes` says so, once flags are
    parsed.
    """
    _run(lambda: main(*_setup_new(writes())))


def run_existing(main):
    """As `run`, for the run that --workdir holds; changes nothing there."""
    _run(lambda: main(*_setup_existing()))


def run_words(main):
    """Calls main(words) with the arguments that are no flags."""
    _run(main, takes_words=True)


def _run(call, takes_words=False):

    def main(argv):
        if argv[1:] and not takes_words:
            raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
        logging.set_verbosity(logging.INFO)
        # TensorFlow reports each save through this log, too.
        logging.get_absl_handler().addFilter(
            lambda record: record.filename != "functional_saver.py")
        try:
            call(*[argv[1:]] * takes_words)
        except loop.Preempted as stop:
            logging.info("%s", stop)
            sys.exit(PREEMPTED)
        except tf.errors.OpError as error:
            logging.debug("%s", error, exc_info=True)
            logging.error("%s", errors.sentence(error))
            sys.exit(1)
        except (ValueError, OSError, FloatingPointError, MemoryError) as error:
            # Errors of these kinds are written for the user: their text comes
            # last, the trace stays above it for whoever wants to look.
            logging.debug("%s", error, exc_info=True)
            # Gin adds through which configurables the error came.
            logging.error("%s", str(error).split("\n  In call to conf")[0])
            sys.exit(DIVERGED if isinstance(error, FloatingPointError) else 1)

    app.run(main)


def experiment_from_flags():
    """The Experiment of --gin_file and --gin_bindings; writes nothing."""
    _parse_flags()
    return config.make(experiment.Experiment)


def sources_from_flags(bindings=()):
    """({split: () -> source}, config as text) of the flags, and bindings."""
    text = _parse_flags(bindings)
    return config.sources(), text


def _parse_flags(bindings=()):
    if not _GIN_FILE.value:
        raise app.UsageError("--gin_file is required, for example "
                             "--gin_file=gin/digits.gin")
    return config.parse(_GIN_FILE.value, [*_GIN_BINDINGS.value, *bindings])


def _setup_new(writes):
    text = _parse_flags()
    stem = os.path.splitext(os.path.basename(_GIN_FILE.value[0]))[0]
    workdir = os.path.expanduser(_WORKDIR.value or
                                 os.path.join("runs", stem))
    if writes:
        first = cluster.is_first(os.environ.get("TF_CONFIG"))
        if first:  # Who comes second must not change config.gin.
            lock.take(workdir)
        config.save(text, workdir, started=checkpoint.steps(workdir),
                    keep=not first)
    logging.info("Config:\n%s", text)
    return config.make(experiment.Experiment), workdir


def _setup_existing():
    return experiment.of_run(workdir(), overrides())[0], workdir()


def workdir():
    """Value of --workdir, which must be given."""
    if not _WORKDIR.value:
        raise app.UsageError("--workdir is required: the directory of a run.")
    return os.path.expanduser(_WORKDIR.value)


def overrides():
    """(--gin_file, --gin_bindings): what the flags add to a run's config."""
    return _GIN_FILE.value, _GIN_BINDINGS.value

"""From the command line to main(exp, workdir): flags, config.gin, exit codes.

A command defines its flags, calls `start` and only then imports what is heavy,
so that --help and mistakes are answered at once. At its end it calls one of
`run`, `run_existing` and `run_words`. A new run is `--gin_file=...`; a command
that looks at a run that exists takes `--workdir=...` and reads its config.gin.
"""

import os
import sys

from tfvit import terminal  # isort: skip, before TensorFlow.

from absl import app
from absl import flags
from absl import logging

from tfvit import error_words
from tfvit import flag_words
from tfvit.bindings import binding_words
from tfvit.bindings import file_words
from tfvit.bindings import gin_text

_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", [], "Gin file of the run; repeat to add files.")
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A gin binding that overrides the files, such as "
    '"experiment.Experiment.total_steps = 100"; repeat for more.')
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run (default, where one begins: "
    "runs/ and the name of the first gin file).")
_VERBOSE = flags.DEFINE_bool(
    "verbose", False, "Also print the config, the parameters, what other "
    "packages log, and where an error comes from.")

_TRUST = flags.DEFINE_bool(
    "trust", False, "The config of the run may import and call what is not "
    "tfvit's own.")

_GIN = ("gin_file", "gin_bindings")
_SHARED = {  # What a command is about -> those of the flags above it reads.
    None: (), "machine": ("workdir",), "config": _GIN, "data": _GIN,
    "new run": (*_GIN, "workdir"),
    "existing run": (*_GIN, "workdir", "trust"),
    "chosen run": _GIN, "overrides": (*_GIN, "trust")}
PREEMPTED = 42  # Exit code of a run that a signal ended after saving.
DIVERGED = 43  # Of a run whose loss or gradient was not finite.
_INTERRUPTED = "Interrupted."
_NOT_BEGUN = "Interrupted before the first step: nothing new was saved."
_BROKEN_PIPE = 141  # As of a program that SIGPIPE ends.
_words = None  # What on the command line is no flag, once it is read.


def start(name, about=None, *, required=(), words=None, clock=False):
    """Reads the flags of the command that runs, before it imports TensorFlow.

    Ends the process for --help, and with a sentence where a flag or a gin
    binding cannot be meant so.

    Args:
      name: the __name__ of the calling module; nothing happens unless it is the
        command that runs.
      about: "new run" or "config", which --gin_file gives; the "existing run"
        of --workdir; a "chosen run", or whatever other flags name, where
        --gin_file and --gin_bindings are "overrides"; the "machine", which may
        have a --workdir; "data" that words name, where the gin flags are, too;
        or None.
      required: names of flags that must be given.
      words: what to say where there is not one word that is no flag, or None.
      clock: whether its lines begin with the time.
    """
    global _words
    if name != "__main__":
        return
    terminal.listen()
    if about in ("new run", "chosen run"):
        terminal.on_interrupt(_NOT_BEGUN)
        terminal.hear_sigterm()
    terminal.set_up(clock=clock)
    try:
        _words = flag_words.parse((*_SHARED[about], _VERBOSE.name),
                                  shared_module=__name__, required=required)
        terminal.set_up(verbose=_VERBOSE.value, clock=clock)
        if words and len(_words) != 1:
            raise app.UsageError(words)
        if about not in (None, "machine"):
            binding_words.check(_saved(about) + _GIN_FILE.value,
                                _GIN_BINDINGS.value,
                                whole=about in ("config", "new run"),
                                runs=about == "new run")
    except BrokenPipeError:
        _unread()
    except Exception as error:  # pylint: disable=broad-except
        flags.FLAGS.mark_as_parsed()  # As far as they can be.
        _fail(error)


def _saved(about):
    """The config.gin, in a list, of the run that is only looked at, if any."""
    if about != "existing run" or not _WORKDIR.value:
        return []
    folder = os.path.expanduser(_WORKDIR.value)
    if "://" in folder:
        return []
    path = os.path.join(folder, "config.gin")
    if not os.path.isfile(path):
        raise file_words.no_run(folder)
    return [path]


def run(main, writes=lambda: True, extends=lambda: None):
    """Parses gin, then calls main(exp, workdir) for a new run.

    The config is saved in the workdir if `writes` says so, once flags are
    parsed; `extends` says how a run that is there becomes longer, see
    engine.extension.
    """
    _run(lambda: main(*_setup_new(writes(), extends())), _NOT_BEGUN)


def run_existing(main):
    """As `run`, for the run that --workdir holds; changes nothing there."""
    _run(lambda: main(*_setup_existing()))


def run_words(main, trains=False):
    """Calls main(words) with the arguments that are no flags.

    Args:
      main: see above.
      trains: whether it trains, which a signal ends by saving.
    """
    _run(main, _NOT_BEGUN if trains else _INTERRUPTED, takes_words=True)


def run_alone(main):
    """Calls main()."""
    _run(main)


def _run(call, interrupted=_INTERRUPTED, takes_words=False):
    if _words is None:  # A program that does not call `start`.
        terminal.set_up()
        app.run(lambda argv: _guarded(call, argv[1:], interrupted, takes_words))
    _guarded(call, _words, interrupted, takes_words)


def _guarded(call, words, interrupted, takes_words):
    """Calls; turns what goes wrong into a line and an exit code."""
    terminal.on_interrupt(interrupted)
    try:
        if words and not takes_words:
            raise app.UsageError(
                f"{' '.join(words)} is no flag. Put a binding in quotes: "
                '--gin_bindings="NAME = VALUE".')
        try:
            call(*[words] * takes_words)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _unread()
    except KeyboardInterrupt as stop:
        if not terminal.interrupted():  # A second one, in training.
            logging.error("%s", str(stop) or "Interrupted.")
            sys.exit(terminal.INTERRUPTED)
        terminal.leave()
    except Exception as error:  # pylint: disable=broad-except
        # No kind of error reaches a user as a traceback; see _fail.
        if terminal.interrupted():  # TensorFlow makes other errors of it.
            terminal.leave()
        _fail(error)


def _unread():
    """Ends the process, whose output nobody reads any more: `| head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(_BROKEN_PIPE)


def _fail(error):
    """Says what went wrong, and ends the process."""
    logging.debug("%s", error, exc_info=True)
    if isinstance(error, app.UsageError):
        logging.error("%s (`%s --help` says more.)", error,
                      flag_words.command())
        sys.exit(1)
    said = error_words.of(error)
    if "tensorflow" in sys.modules and not isinstance(error, ValueError):
        import tensorflow as tf

        from tfvit.engine import stopping
        from tfvit.storage import errors
        if isinstance(error, stopping.Preempted):
            logging.info("%s", error)
            sys.exit(PREEMPTED)
        if isinstance(error, tf.errors.OpError):
            said = errors.sentence(error)
    logging.error("%s", said)
    sys.exit(DIVERGED if isinstance(error, FloatingPointError) else 1)


def experiment_from_flags():
    """The Experiment of --gin_file and --gin_bindings; writes nothing."""
    _parse_flags()
    return _experiment()


def sources_from_flags(bindings=()):
    """({split: () -> source}, config as text) of the flags, and bindings."""
    from tfvit import config
    text = _parse_flags(bindings)
    return config.sources(), text


def _parse_flags(bindings=()):
    if not _GIN_FILE.value:
        raise app.UsageError("--gin_file is required, for example "
                             "--gin_file=gin/digits.gin.")
    from tfvit import config
    return config.parse(_GIN_FILE.value, [*_GIN_BINDINGS.value, *bindings])


def _experiment():
    from tfvit import config
    from tfvit import experiment
    return config.make(experiment.Experiment)


def _setup_new(writes, extends):
    text = _parse_flags()
    from tfvit.engine import checkpoint
    from tfvit.engine import extension
    from tfvit.engine import run_config
    stem = os.path.splitext(os.path.basename(_GIN_FILE.value[0]))[0]
    given = "workdir" in flags.FLAGS and _WORKDIR.value
    workdir = os.path.expanduser(given or os.path.join("runs", stem))
    steps = checkpoint.steps(workdir)
    saved = run_config.saved(workdir)
    if steps and saved is not None:
        gin_text.check_whole(saved, os.path.join(workdir, "config.gin"))
    history, is_new = extension.bindings(
        text, saved, max(steps, default=None), extends)
    if history:
        text = _parse_flags(history)
    exp = _experiment()
    if is_new:
        extension.check(exp, extends)
    if writes:
        from tfvit import trainer
        trainer.claim(text, workdir, extends=bool(extends))
    logging.debug("Config:\n%s", text)
    return exp, workdir


def _setup_existing():
    from tfvit import experiment
    return experiment.of_run(workdir(), overrides(),
                             trust=trust())[0], workdir()


def workdir():
    """Value of --workdir, which must be given."""
    if not _WORKDIR.value:
        raise app.UsageError("--workdir is required: the directory of a run.")
    return os.path.expanduser(_WORKDIR.value)


def workdir_or(default):
    """Value of --workdir, or another one where it is not given."""
    return os.path.expanduser(_WORKDIR.value or default)


def trust():
    """Whether a run's config may name what is not tfvit's own."""
    return _TRUST.value


def overrides():
    """(--gin_file, --gin_bindings): what the flags add to a run's config."""
    return _GIN_FILE.value, _GIN_BINDINGS.value

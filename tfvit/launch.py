"""From the command line to main(exp, workdir): flags, gin, config.gin.

All binaries share these flags. A new run is `--gin_file=...`; a binary that
looks at a run that exists takes `--workdir=...` and reads its config.gin.
"""

import contextlib
import difflib
import os
import re
import sys

# Before TensorFlow loads: its C++ notes on devices and rendezvous are noise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app
from absl import flags
from absl import logging
import gin
import tensorflow as tf

from tfvit import checkpoint
from tfvit import experiment
from tfvit import loop
from tfvit.weights import augreg

_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", [], "Gin file of the run; repeat to add files.")
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A gin binding that overrides the files, such as "
    "'experiment.Experiment.total_steps=100'; repeat for more.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None,
    "Directory of the run (default: runs/<stem of the first gin file>).")

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PREEMPTED = 42  # Exit code of a run that a signal ended after saving.
DIVERGED = 43  # Of a run whose loss or gradient was not finite.
_MODULES = {  # What --gin_bindings may name without a gin file importing it.
    name.rsplit(".", 1)[-1]: name for name in (
        "tfvit.distribute", "tfvit.experiment", "tfvit.gradients",
        "tfvit.losses", "tfvit.objectives", "tfvit.optim", "tfvit.schedules",
        "tfvit.data.captions", "tfvit.data.combine", "tfvit.data.distort",
        "tfvit.data.mixup", "tfvit.data.ops", "tfvit.data.pipeline",
        "tfvit.data.randaug", "tfvit.data.shapes", "tfvit.data.sources",
        "tfvit.data.targets", "tfvit.data.text",
        "tfvit.evaluators.classification", "tfvit.evaluators.fewshot",
        "tfvit.evaluators.multilabel", "tfvit.evaluators.retrieval",
        "tfvit.evaluators.sharpness", "tfvit.evaluators.zeroshot",
        "tfvit.models.bert", "tfvit.models.lit", "tfvit.models.mixer",
        "tfvit.models.resnet", "tfvit.models.vit", "tfvit.weights.load",
        "tfvit.weights.towers")
} | {"text_tower": "tfvit.models.text"}  # tfvit.data has a text, too.


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
    return gin.get_configurable(experiment.Experiment)()


def sources_from_flags():
    """({split: () -> source}, config as text) of the flags."""
    config = _parse_flags()
    return experiment.sources(), config


def _parse_flags():
    if not _GIN_FILE.value:
        raise app.UsageError("--gin_file is required, for example "
                             "--gin_file=gin/digits.gin")
    return parse(_GIN_FILE.value, _GIN_BINDINGS.value)


def _setup_new(writes):
    config = _parse_flags()
    stem = os.path.splitext(os.path.basename(_GIN_FILE.value[0]))[0]
    workdir = _WORKDIR.value or os.path.join("runs", stem)
    if writes:
        save_config(config, workdir)
    logging.info("Config:\n%s", config)
    return gin.get_configurable(experiment.Experiment)(), workdir


def _setup_existing():
    return existing(workdir())[0], workdir()


def workdir():
    """Value of --workdir, which must be given."""
    if not _WORKDIR.value:
        raise app.UsageError("--workdir is required: the directory of a run.")
    return _WORKDIR.value


def existing(workdir):
    """(Experiment, its config as text) of the run in a directory."""
    config = os.path.join(workdir, "config.gin")
    if not tf.io.gfile.exists(config):
        raise FileNotFoundError(
            f"--workdir={workdir} holds no config.gin: it is not the directory "
            "of a run of tfvit.train.")
    return described([config])


def described(files, bindings=()):
    """(Experiment, its config as text) of gin files and of the flags."""
    config = parse([*files, *_GIN_FILE.value],
                   [*bindings, *_GIN_BINDINGS.value])
    return gin.get_configurable(experiment.Experiment)(), config


def parse(files, bindings=()):
    """Parses gin files and bindings; returns the whole config as text.

    Paths, also of includes, are looked up from the current directory, then
    from the root of this repository.

    Raises:
      FileNotFoundError: a file does not exist.
      ValueError: gin does not accept a file or a binding.
    """
    gin.clear_config()
    gin.add_config_file_search_path(ROOT)
    for file in files:
        if not _exists(file):
            raise FileNotFoundError(f"--gin_file={file} does not exist.")
    _parse(files, bindings)
    if model := _augreg_model():
        # Anew, because what comes first is what everything else overrides.
        gin.clear_config()
        _parse([model, *files], bindings)
    with _naming("the gin config"):
        gin.finalize()
    return gin.config_str()


def _parse(files, bindings):
    for file in files:
        with _naming(f"--gin_file={file}"):
            gin.parse_config_file(file)
    for binding in bindings:
        with _naming(f"--gin_bindings={binding!r}"):
            gin.parse_config(_imports(binding) + binding)


def _exists(file):
    return any(map(tf.io.gfile.exists, (file, os.path.join(ROOT, file))))


def _augreg_model():
    """The gin file of the model that AUGREG asks for, or None.

    Raises:
      ValueError: there is no such model.
    """
    name = _bound("AUGREG/gin.macro.value")
    if name is None or _bound("experiment.Experiment.model") is not None:
        return None
    file = augreg.gin_model(str(name))
    if not _exists(file):
        raise ValueError(
            f"AUGREG={name!r} asks for {file}, which does not exist. AUGREG "
            "begins with an architecture, such as R_Ti_16 or B_16.")
    return file


def _bound(parameter):
    """The value that gin has for a parameter, or None."""
    try:
        return gin.query_parameter(parameter)
    except ValueError:  # Not bound.
        return None


@contextlib.contextmanager
def _naming(what):
    """Turns gin's many kinds of errors into a ValueError that says where."""
    try:
        yield
    except (OSError, SyntaxError, TypeError, ValueError, AttributeError,
            ImportError, NameError, RuntimeError) as error:
        raise ValueError(f"Cannot read {what}: {error}") from error


def _imports(binding):
    """Import lines for the modules that a command-line binding mentions."""
    words = set(re.findall(r"\b(\w+)\.", binding))
    lines = ["from __gin__ import dynamic_registration"]
    for word in sorted(words & set(_MODULES)):
        package, module = _MODULES[word].rsplit(".", 1)
        alias = "" if module == word else f" as {word}"
        lines.append(f"from {package} import {module}{alias}")
    return "\n".join(lines) + "\n"


def save_config(config, workdir):
    """Writes WORKDIR/config.gin, or checks that it says the same.

    Raises:
      ValueError: the directory holds checkpoints of a run with another config.
    """
    path = os.path.join(workdir, "config.gin")
    if tf.io.gfile.exists(path) and checkpoint.steps(workdir):
        with tf.io.gfile.GFile(path) as f:
            saved = f.read()
        if saved != config:
            diff = [
                line for line in difflib.unified_diff(
                    saved.splitlines(), config.splitlines(), "saved", "new",
                    lineterm="", n=0) if not line.startswith("@@")
            ]
            raise ValueError(
                "This run's config differs from the one in "
                f"{path}:\n" + "\n".join(diff) +
                "\nTo continue that run, take the change back; to start "
                "another one, choose a new --workdir.")
        return
    tf.io.gfile.makedirs(workdir)
    with tf.io.gfile.GFile(path, "w") as f:
        f.write(config)

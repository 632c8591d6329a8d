"""Gin files: read, written beside a run, and held against what was read.

The only module that knows gin. Files are read through TensorFlow, from buckets
as well; names that tfvit had in earlier versions are understood.
"""

import contextlib
import copy
import functools
import io
import os
import re
import threading
import tokenize

import gin
import tensorflow as tf

from tfvit.bindings import binding_words
from tfvit.bindings import file_words
from tfvit.bindings import former_names
from tfvit.bindings import macros
from tfvit.bindings import recipes
from tfvit.bindings import replaced
from tfvit.bindings import settable
from tfvit.weights import augreg

ROOT = settable.ROOT  # Where gin/ lies.
_texts = []  # Of the files read last.
_ONE_AT_A_TIME = threading.RLock()


def parse(files, bindings=()):
    """Parses gin files and bindings; returns the whole config as text.

    Paths, also of includes, are looked up from the current directory, then
    where tfvit has its own.

    Raises:
      FileNotFoundError: a file does not exist.
      ValueError: gin does not accept a file or a binding.
    """
    files = [os.path.expanduser(file) for file in files]
    binding_words.check(files, bindings)
    for file in files:
        if not _exists(file):
            raise FileNotFoundError(f"--gin_file={file} does not exist.")
    gin.clear_config()
    from_files = _parse(files, bindings)
    if model := _augreg_model():
        # Anew, because what comes first is what everything else overrides.
        gin.clear_config()
        from_files = _parse([model, *files], bindings)
    recipes.fit(_bindings(), from_files, _reference)
    replaced.fit(_bindings(), from_files, _texts)
    if classes := macros.check(_bindings(), files):
        gin.parse_config(f"{binding_words.COUNTED} = {classes}")
    with _naming("the gin config"):
        gin.finalize()
    return gin.config_str()


@contextlib.contextmanager
def isolated(own=None):
    """Inside, gin has a config of its own; afterwards the one it had before.

    Gin's config is the process's: one thread at a time is inside.

    Args:
      own: a dict, at first empty, that keeps the config for the next time.
    """
    own = {} if own is None else own
    with _ONE_AT_A_TIME:
        outside = _exchange(own)
        try:
            yield
        finally:
            own.update(_exchange(outside))


def _exchange(state):
    """Puts gin into a state; returns the one that it was in."""
    gin_state = gin.config  # Which has no public way to ask.
    # pylint: disable=protected-access
    parts = {"config": gin_state._CONFIG, "read": gin_state._OPERATIVE_CONFIG,
             "imports": gin_state._IMPORTS, "made": gin_state._SINGLETONS,
             "texts": _texts}
    before = {name: copy.copy(part) for name, part in parts.items()}
    before["locked"] = gin_state._CONFIG_IS_LOCKED
    gin_state._set_config_is_locked(state.get("locked", False))
    for name, part in parts.items():
        part.clear()
        getattr(part, "extend" if name == "texts" else "update")(
            state.get(name, ()))
    return before


def make(configurable):
    """Calls a function or class with the arguments that the config gives it."""
    return gin.get_configurable(configurable)()


def of(workdir):
    """Path of the config.gin of a run.

    Raises:
      FileNotFoundError: there is none.
    """
    path = os.path.join(workdir, "config.gin")
    if not tf.io.gfile.exists(path):
        raise file_words.no_run(workdir)
    return path


def text():
    """The whole config that was parsed last."""
    return gin.config_str()


def sources():
    """{split: () -> source} of all data that the gin config reads.

    That of training is called "train", an evaluator's has the name of its
    scope, as the files in gin/data set it.
    """
    found = {}
    for (scope, selector), arguments in _bindings().items():
        owner = selector.split(".")[-1]
        for argument, value in arguments.items():
            if argument == "source" or argument.endswith("_source"):
                parts = [] if owner == "Experiment" else [scope or owner]
                parts += [argument.removesuffix("source").rstrip("_")]
                # A copy resolves Gin's references and macros.
                found["/".join(filter(None, parts))] = copy.deepcopy(value)
    if not found:
        raise ValueError("The gin config names no source of images.")
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "train"))


def settings(function):
    """The {parameter: value} that gin, or functools.partial, gives it."""
    if isinstance(function, functools.partial):
        return function.keywords
    for reference in gin.config.iterate_references(_bindings()):
        if reference.scoped_configurable_fn is function:
            function = reference.scoped_selector  # Gin forgets the scope else.
    try:
        return gin.get_bindings(function)
    except ValueError:  # Gin does not know it.
        return {}


def check_bindings_used():
    """Raises ValueError for gin bindings that nothing has read so far.

    A binding counts as read once its function has run, so this is called when
    everything is built and the train step is traced.
    """
    read = gin.config._OPERATIVE_CONFIG  # pylint: disable=protected-access
    dead = []
    for (scope, selector), arguments in _bindings().items():
        used = set()
        for (other, same), values in read.items():
            if same == selector and (other == scope or
                                     other.startswith(scope + "/") or
                                     not scope):
                used |= set(values)
            # gin/data says it to all that decode, whichever a run uses.
            used |= {"upright"} & set(values)
        dead += [f"{scope}/{selector}.{a}".lstrip("/")
                 for a in arguments if a not in used]
    if dead:
        raise ValueError(
            "Gin bindings that nothing reads (delete them, or mend the name "
            "or scope):\n  " + "\n  ".join(sorted(dead)))


def _bindings():
    """{(scope, selector): {parameter: value}}; gin has no public way to ask."""
    return gin.config._CONFIG  # pylint: disable=protected-access


def _parse(files, bindings):
    """Parses; returns what the files alone bind, {key: {argument: value}}."""
    _texts.clear()
    for file in files:
        with _naming(f"--gin_file={file}",
                     functools.partial(binding_words.check_statements, file)):
            gin.parse_config_file(file)
    from_files = {key: dict(values) for key, values in _bindings().items()}
    for binding in bindings:
        with _naming(f"--gin_bindings={binding!r}"):
            gin.parse_config(_with_imports(binding))
    return from_files


def _reference(name):
    """What gin puts for @name."""
    gin.parse_config(_with_imports(f"_REFERENCE = @{name}"))
    return _bindings().pop(("_REFERENCE", "gin.macro"))["value"]


def _with_imports(binding):
    """A binding in today's names, after the imports of what it mentions."""
    known = _known()
    binding = former_names.updated_binding(binding, known)
    words = set(re.findall(r"\b(\w+)\.", binding)) & set(known)
    return "\n".join(["from __gin__ import dynamic_registration",
                      *(known[word] for word in sorted(words)), binding])


def _exists(file):
    return any(map(tf.io.gfile.exists, (file, os.path.join(ROOT, file))))


def _open(file):
    """The text of a gin file, in today's names, as a file."""
    with tf.io.gfile.GFile(file) as f:
        text = former_names.updated(f.read())
    _texts.append(text)
    return io.StringIO(text)


def _augreg_model():
    """The gin file of the model that AUGREG asks for, or None.

    Raises:
      ValueError: there is no such model.
    """
    name = bound("AUGREG/gin.macro.value")
    if name is None or bound("experiment.Experiment.model") is not None:
        return None
    file = augreg.gin_model(str(name))
    if not _exists(file):
        raise ValueError(
            f"AUGREG={name!r} asks for {file}, which does not exist. AUGREG "
            "begins with an architecture, such as R_Ti_16 or B_16.")
    return file


def bound(parameter):
    """The value that gin has for a parameter, or None."""
    try:
        return gin.query_parameter(parameter)
    except ValueError:  # Not bound.
        return None


def reference(parameter):
    """What a parameter is bound to, as gin files write it without the @."""
    scope, _, name = repr(bound(parameter)).lstrip("@").rpartition("/")
    return "/".join(filter(None, [scope, ".".join(name.split(".")[-2:])]))


@contextlib.contextmanager
def _naming(what, explain=lambda: None):
    """Turns gin's many kinds of errors into a ValueError that says where.

    `explain` may raise a better one.
    """
    try:
        yield
    except (OSError, SyntaxError, TypeError, ValueError, AttributeError,
            ImportError, NameError, RuntimeError,
            tokenize.TokenError) as error:
        explain()
        if isinstance(error, UnicodeDecodeError):
            raise ValueError(f"{what} is no text in UTF-8.") from error
        raise ValueError(f"Cannot read {what}: {error}") from error


def _known():
    """{name: import line} of the modules of the files so far, and tfvit's."""
    known = {name: "from {} import {}".format(*path.rsplit(".", 1))
             for name, path in settable.modules().items()}
    for line in gin.config._IMPORTS:  # pylint: disable=protected-access
        known[line.bound_name()] = line.format()
    return known


# In place of gin's own reader, which knows local files and today's names alone.
gin.config._FILE_READERS[:] = [  # pylint: disable=protected-access
    (_open, tf.io.gfile.exists)]
gin.add_config_file_search_path(ROOT)

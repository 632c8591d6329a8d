"""What calls from Python say of a mistake: arguments, where commands say flags.
"""

import builtins
from collections.abc import Iterator
import contextlib
import numbers
import os
import re
import typing

import tensorflow as tf

from tfvit import error_words
from tfvit.storage import errors

# Flags that are called otherwise in Python.
_ARGUMENTS = {"from": "weights", "gin_file": "gin_files",
              "gin_bindings": "bindings"}
_SWITCHES = {"dry_run": "Recipe.cost()", "linear_probe": "linear_probe=True",
             "trust": "trust=True"}
# A command to type stays as it is; values end where the sentence goes on.
_FLAG = re.compile(r"(?P<command>\btfvit[ .]\w+ (?:\S+ )*?--.*)|(?<![\w-])"
                   r"--(?P<name>[a-z]\w*)(?:=(?P<value>\"[^\"]*\"|'[^']*'|"
                   r"[^\s,;]*[^\s,;.:]))?", re.DOTALL)
_LITERAL = re.compile(r"(['\"]).*\1|-?\d[\d.e-]*|nan|[(\[].*|None|True|False",
                      re.DOTALL)
_KINDS = {str: ((str, os.PathLike), "a text"),
          int: (numbers.Integral, "a whole number"),
          float: (numbers.Real, "a number"), bool: (bool, "True or False")}


def arguments(text: str, **others: str) -> str:
    """Returns a command's text with arguments in place of flags.

    `others` are flags of other names than their arguments.

    --from=none becomes weights='none', --lr=0.1 lr=0.1, and DATA=x data='x'.
    """
    def argument(found):
        if found["command"]:
            return found["command"]
        flag, value = found["name"], found["value"]
        name = {**_ARGUMENTS, **others}.get(flag, flag)
        if value is None:
            return _SWITCHES.get(flag, name)
        if not _LITERAL.fullmatch(value):
            value = repr(value)
        return f"{name}=[{value}]" if name == "bindings" else f"{name}={value}"

    return _FLAG.sub(argument, re.sub(r"\bDATA=", "--data=", text))


@contextlib.contextmanager
def of_python(**others: str) -> Iterator[None]:
    """Makes what goes wrong inside speak of arguments, in one sentence.

    The kind of error stays; what Gin and Keras add to its message goes, and
    TensorFlow's become OSErrors and MemoryErrors. `others`: see arguments.
    """
    try:
        yield
    except (ValueError, OSError, TypeError, MemoryError) as error:
        said = arguments(error_words.plain(str(error)), **others)
        # Gin's errors are of classes that Gin makes.
        kind = next(kind for kind in type(error).__mro__
                    if getattr(builtins, kind.__name__, None) is kind)
        if said == str(error) or issubclass(kind, UnicodeError):
            raise
        raise kind(said) from error
    except tf.errors.OpError as error:  # Not Python's, and of many lines.
        kind = (MemoryError if errors.is_memory(error) else
                FileNotFoundError if isinstance(
                    error, tf.errors.NotFoundError) else OSError)
        raise kind(errors.sentence(error)) from error


def path(name: str, value: str | os.PathLike) -> str:
    """Returns a path as a text, with the user's home where it says ~.

    Raises:
      TypeError: `value`, the argument `name`, is none.
    """
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise TypeError(f"{name}={value!r} must be a path or a name, as a text "
                        "or a pathlib.Path.")
    return os.path.expanduser(os.fspath(value))


def texts(name: str, values: typing.Any, least: int = 0) -> list[str]:
    """Returns one or several texts or paths as a list of texts.

    Raises:
      TypeError: `values`, the argument `name`, are something else.
      ValueError: there are fewer than `least`.
    """
    if isinstance(values, (str, os.PathLike)):
        values = [values]
    if not isinstance(values, (list, tuple)) or not all(
            isinstance(value, (str, os.PathLike)) for value in values):
        raise TypeError(f"{name}={values!r} must be a text or a list of texts.")
    if len(values) < least:
        raise ValueError(f"{name}={values!r} must name at least {least}.")
    return [os.fspath(value) for value in values]


def count(name: str, value: typing.Any) -> int | None:
    """Returns a whole number of at least 1, or None.

    Raises:
      ValueError: `value`, the argument `name`, is something else.
    """
    if value is None:
        return None
    if not isinstance(value, numbers.Integral) or value < 1 or (
            isinstance(value, bool)):
        raise ValueError(f"{name}={value!r} must be a whole number of at least "
                         "1.")
    return int(value)


def checked(cls: type, values: dict) -> dict:
    """Returns arguments as the annotations of a dataclass have them.

    Raises:
      TypeError: names the first that is of another kind.
    """
    hints = typing.get_type_hints(cls)
    found = {}
    for name, value in values.items():
        (kind, *others) = typing.get_args(hints[name]) or (hints[name],)
        if value is None and others:
            continue
        wanted = _KINDS[kind]
        if not isinstance(value, wanted[0]) or (isinstance(value, bool) and
                                                kind is not bool):
            raise TypeError(f"{name}={value!r} must be {wanted[1]}.")
        # Such as NumPy's numbers, which gin files cannot have.
        found[name] = os.fspath(value) if kind is str else kind(value)
    return found

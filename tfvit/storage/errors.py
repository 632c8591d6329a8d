"""What TensorFlow's errors say, for people; they are no OSErrors of Python."""

from collections.abc import Iterator
import contextlib
import errno
import os
import re

import tensorflow as tf

from tfvit.storage import paths

# Whatever a machine has too little of is a tf.errors.ResourceExhaustedError.
_FILES = [os.strerror(number) for number in (
    errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)]
# What engine.compile_cache has TensorFlow keep.
_COMPILED = re.compile(r"xla_compile_cache|serialized \w*Compilation|Serialized "
                       r"(cache key|HLO) does not|found in serialized entry")
# As the allocators of CPUs, GPUs and TPUs and XLA put it.
_MEMORY = re.compile(r"\bOOM\b|\bmemory\b|allocat", re.IGNORECASE)
# Of a tf.function that fails: where in Python its node was made.
_TRACE = re.compile(r"^Graph execution error:\s+(Detected at node .*\s+|"
                    r'File ".*\s+|<stack traces unavailable>\s+)*')
# A graph that goes to other machines may be of more than they have.
_ELSEWHERE = re.compile(r"Op type not registered '([\w>]+)' in binary running "
                        r"on (\S+?)\. ")


def reason(error: Exception) -> str:
    """Returns what an error complains about, without where in a graph."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    text = getattr(error, "message", None) or str(error) or repr(error)
    text = _TRACE.sub("", text).strip()
    # {{function_node ...}} What is wrong [Op:DecodeImage], or
    # Error in user-defined ...: Iterator::..: What is wrong \n [[{{node ...}}]]
    text = re.sub(r"^({{.*?}} *)*(Error in user-.*?Iterator::\S*: )?"
                  r"| *\[Op:.*$|\s*\[\[[^]]*\]\]", "", text)
    # assertion failed: [What it says]
    text = re.sub(r"^assertion failed: \[(.*)\]$", r"\1", text.strip())
    return text.rstrip(".") + "."


def is_memory(error: tf.errors.OpError) -> bool:
    """Whether a device, or the host, had too little memory."""
    return (isinstance(error, tf.errors.ResourceExhaustedError) and
            not any(text in error.message for text in _FILES) and
            bool(_MEMORY.search(error.message)))


def sentence(error: tf.errors.OpError) -> str:
    """Says for the user what went wrong and where."""
    text = reason(error).strip().splitlines()[0]
    if is_memory(error):
        return (f"A device is out of memory: {text} Try a smaller batch size "
                "or image.")
    if missing := _ELSEWHERE.search(text):
        return (f"The machine {missing[2]} has another TensorFlow, without the "
                f"operation {missing[1]}. Of a TPU slice's hosts, whose own "
                "runtime reads the data, it is mostly TensorFlow Text that is "
                "missing: tokenise beforehand, or train on a single TPU VM.")
    if _COMPILED.search(text):
        text += (f" {paths.cache()}/compiled, what XLA keeps for the next "
                 "start, cannot be read or written: remove it, or set "
                 "TFVIT_XLA_CACHE=0 in the environment.")
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__)
    kind = kind.removesuffix(" Error").lower()
    where = re.search(r"\[Op:(\w+)", error.message)
    name = where[1] if where else getattr(error.op, "name", None)
    return f"{text} (TensorFlow: {kind}{f', in {name}' if name else ''})"


@contextlib.contextmanager
def writing(path: str, way_out: str = "") -> Iterator[None]:
    """Makes an OSError that names `path` of what goes wrong inside.

    It keeps the number of one that Python raised, by which a full disk is told.

    Args:
      path: what is written inside.
      way_out: a sentence to add.
    """
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        text = reason(error).strip().splitlines()[0].rstrip(".")
        # TensorFlow begins with the file, often the one of that name.
        text = text.removeprefix(f"{path}; ")
        failure = OSError(f"Cannot write {path}: {text}. {way_out}".rstrip())
        failure.errno = getattr(error, "errno", None)
        raise failure from error

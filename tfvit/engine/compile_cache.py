"""What XLA has compiled is kept: $TFVIT_CACHE/compiled/, read by later runs.

TensorFlow does it (--tf_xla_persistent_cache_directory), and finds an entry by
a hash of the program and its arguments, which it then compares. It looks at
nothing else that the code depends on, is stopped by an entry that is not whole,
and has the numbers of its functions in the program, which count all that the
process has done: so these have to be seen to here.
"""

import ctypes
import glob
import hashlib
import os
import platform
import re

from absl import logging
import tensorflow as tf
from tensorflow.python.framework import ops  # Nothing public counts names.

from tfvit.storage import compiled

_MOST = 4 * 2**30  # Bytes of all entries; a B/16 step has 20 MB on a CPU.
# Above the number of names that a run makes before it traces anything, so that
# all runs trace it with the same names; skipping so many takes 0.03 s.
_BLOCK = 2**18
_FATAL = 3  # absl's LogSeverity.

_folder = None  # Of this process, or "" for none; TensorFlow asks once.


def set_up():
    """Has TensorFlow keep what it compiles, from its first compilation on.

    To be called before anything of TensorFlow touches a device. Does nothing
    where TF_XLA_FLAGS says something about it, or TFVIT_XLA_CACHE=0.
    """
    global _folder
    if _folder is not None:
        return
    elsewhere, root = compiled.elsewhere(), compiled.folder()
    _folder = elsewhere or ""
    if elsewhere is not None or root is None:
        return
    gpus = _gpus()
    folder = os.path.join(root, _key(gpus or ""))
    problem = compiled.problem(root)
    if problem:
        logging.info("What XLA compiles is not kept in %s: %s.", root, problem)
        return
    _tidy(root)
    _folder = folder
    # Of a GPU of which nothing is known the code may be that of another.
    types = "" if gpus is not None else (
        " --tf_xla_persistent_cache_device_types=XLA_CPU_JIT")
    flags = os.environ.get("TF_XLA_FLAGS", "")
    os.environ["TF_XLA_FLAGS"] = (
        f"{flags} {compiled.FLAG}{folder}{types}".strip())


def entries():
    """How many compiled programs are kept; None where none are."""
    if not _folder:
        return None
    return len(glob.glob(os.path.join(glob.escape(_folder), "*.pb")))


def steady_names(variant=False):
    """Has what is traced next get the same names in every process.

    Args:
      variant: whether it is to get others, so that what is kept of the one
        is not taken for the other: the compiler may be told more than the
        program says.
    """
    if not _folder:
        return
    while ops.uid() % _BLOCK != _BLOCK - 2 + variant:
        pass


def hush():
    """Keeps TensorFlow from printing an error for each entry that it finds.

    It tries to read them as texts first. absl's own setting is the only one
    that reaches that line; what fails is raised in Python all the same.
    """
    if not _folder:
        return
    library = glob.glob(os.path.join(tf.sysconfig.get_lib(),
                                     "libtensorflow_framework.so.*"))
    options = os.path.join(tf.sysconfig.get_include(), "absl/base/options.h")
    try:
        with open(options, encoding="utf-8") as f:
            space = re.search(r"#define ABSL_OPTION_INLINE_NAMESPACE_NAME "
                              r"(\w+)", f.read())[1]
        getattr(ctypes.CDLL(library[0]), f"_ZN4absl{len(space)}{space}"
                "14SetMinLogLevelENS0_18LogSeverityAtLeastE")(_FATAL)
    except (OSError, IndexError, TypeError, AttributeError) as error:
        logging.debug("TensorFlow's own lines are printed: %s", error)


def _key(gpus):
    """A folder for each kind of machine and compiler."""
    about = [tf.version.VERSION, tf.version.GIT_VERSION, platform.machine(),
             platform.processor(), gpus, str(_cores())]
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            about += sorted({line for line in f if re.match(
                r"(model name|flags|Features|CPU part)\s*:", line)})
    except OSError:
        pass  # Not Linux: the processor's name has to do.
    about += [f"{name}={value}" for name, value in sorted(os.environ.items())
              if name in ("XLA_FLAGS", "TF_XLA_FLAGS")]
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()
    return f"tensorflow-{tf.version.VERSION}-{digest[:16]}"


def _cores():
    """By which XLA divides the work of a CPU."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count()


def _gpus():
    """What the driver says of itself and its GPUs; None if there is no telling.

    Without TensorFlow, which would read its flags.
    """
    if not (glob.glob("/dev/nvidia[0-9]*") or os.path.exists("/dev/dxg") or
            os.path.exists("/dev/kfd")):
        return ""
    said = []
    for path in ["/proc/driver/nvidia/version",
                 *sorted(glob.glob("/proc/driver/nvidia/gpus/*/information"))]:
        try:
            with open(path, encoding="utf-8") as f:
                said += [line for line in f if re.match(
                    r"(NVRM version|Model)\b", line)]
        except OSError:
            return None
    return "".join(said) if len(said) > 1 else None


def _tidy(root):
    """Removes what is not whole, and the oldest where there is too much."""
    kept = []
    for path in glob.glob(os.path.join(glob.escape(root), "*", "*.pb")):
        try:
            if _is_whole(path):
                status = os.stat(path)
                kept.append((status.st_mtime, status.st_size, path))
            else:
                os.remove(path)
                logging.warning("Removed %s, which was not whole.", path)
        except OSError as error:  # Another process does the same.
            logging.debug("%s: %s", path, error)
    size = sum(size for _, size, _ in kept)
    for _, part, path in sorted(kept):
        if size <= _MOST:
            break
        size -= part
        try:
            os.remove(path)
        except OSError as error:
            logging.debug("%s: %s", path, error)


def _is_whole(path):
    """Whether a file is a protocol buffer of as many bytes as it says.

    Of its fields, all of which have a length, the executable comes last.
    """
    size, fields = os.path.getsize(path), set()
    with open(path, "rb") as f:
        while f.tell() < size:
            tag = f.read(1)[0]
            if tag & 7 != 2:  # Not one with a length.
                return False
            length = shift = 0
            while True:
                byte = f.read(1)
                if not byte or shift > 63:
                    return False
                length |= (byte[0] & 127) << shift
                shift += 7
                if byte[0] < 128:
                    break
            fields.add(tag >> 3)
            f.seek(length, os.SEEK_CUR)
        return f.tell() == size and {1, 2, 3} <= fields

"""A Python that has the TPU's compiler: jax and libtpu, which are large.

They lie in an environment of their own, in the folder for what is fetched once:
what TensorFlow and jax need of other packages goes together only by chance.
"""

import fcntl
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys

from absl import logging

from tfvit.storage import paths

# As the extra tpu_check of setup.cfg has them. jax 0.10 is for Python 3.11 on.
REQUIREMENTS = ("jax==0.10.2", "jaxlib==0.10.2", "libtpu==0.0.42.1")
_OLDEST = (3, 11)
_PYTHONS = ("python3.12", "python3.13", "python3.11", "python3.14", "python3")
_GIGABYTES = 1.3  # On the disk.


def python(given=None):
    """Path of a Python that has the compiler; makes the environment once.

    Args:
      given: path of one that is to have it, or None.

    Raises:
      ValueError: `given` has it not.
      OSError: no environment can be made; says what to do.
    """
    if given:
        return _checked(os.path.expanduser(given))
    if _is_here():
        return sys.executable
    folder = place()
    found = os.path.join(folder, "bin", "python")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with open(folder + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Who comes second waits.
        if not is_ready():
            _make(folder, found)
            with open(os.path.join(folder, "ready"), "w",
                      encoding="utf-8") as f:
                f.write("\n".join(REQUIREMENTS) + "\n")
    return found


def place():
    """The folder of the environment that is made."""
    versions = "-".join(r.replace("==", "") for r in REQUIREMENTS
                        if not r.startswith("jaxlib"))
    return os.path.join(paths.cache(), "tpu_check", versions)


def is_ready():
    """Whether `python()` has nothing to make."""
    # The Python that it was made of may be gone.
    return _is_here() or all(os.path.exists(os.path.join(place(), *names))
                             for names in (("ready",), ("bin", "python")))


def _checked(given):
    why = "there is no such program"
    if shutil.which(given):
        done = subprocess.run([given, "-c", "import jax, libtpu"],
                              capture_output=True, text=True, check=False)
        if not done.returncode:
            return given
        why = (done.stderr.strip().splitlines() or ["it fails"])[-1]
    raise ValueError(f"--python={given}: {why}. It must be a Python with "
                     f"{', '.join(REQUIREMENTS)}; without this flag tfvit "
                     "makes one.")


def _is_here():
    """Whether this Python has what is needed."""
    try:
        return all(importlib.metadata.version(name) == version for name, version
                   in (r.split("==") for r in REQUIREMENTS))
    except importlib.metadata.PackageNotFoundError:
        return False


def _make(folder, python_path):
    logging.info("The TPU's compiler, %s, comes once to %s: %.1f GB.",
                 ", ".join(REQUIREMENTS), folder, _GIGABYTES)
    free = shutil.disk_usage(os.path.dirname(folder)).free / 1e9
    if free < 1.5 * _GIGABYTES:
        raise _failed(folder, f"only {free:.1f} GB are left there")
    _run(folder, [_base(folder), "-m", "venv", "--clear", folder])
    _run(folder, [python_path, "-m", "pip", "install", "--no-input",
                  "--disable-pip-version-check", "--progress-bar=off",
                  "--no-compile", *REQUIREMENTS])


def _base(folder):
    """A Python that jax runs on."""
    if sys.version_info >= _OLDEST:
        return sys.executable
    for name in filter(shutil.which, _PYTHONS):
        done = subprocess.run(
            [name, "-c",
             f"import sys, venv; print(sys.version_info >= {_OLDEST})"],
            capture_output=True, text=True, check=False)
        if done.stdout.strip() == "True":
            return name
    raise _failed(folder, "it needs Python 3.11 or later, and there is none "
                  f"but {sys.version.split()[0]}")


def _run(folder, words):
    """Runs a step of it, and says what is large in pip's words."""
    said = []
    with subprocess.Popen(words, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            said.append(line.strip())
            if large := re.match(r"\s*Downloading (?:\S*/)?([\w.]+?)-\d\S* "
                                 r"(\([\d.]+ [MG]B\))", line):
                logging.info("  downloading %s %s", *large.groups())
            elif line.startswith("Installing collected"):
                logging.info("  unpacking")
    if process.returncode:
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise _failed(folder, (errors or ["it failed"])[-1].rstrip("."))


def _failed(folder, why):
    return OSError(
        f"The TPU's compiler could not be installed into {folder}: {why}. "
        "Install it where that can be done (Python 3.11 or later, pip install "
        f"{' '.join(REQUIREMENTS)}) and name that Python: --python=PATH.")

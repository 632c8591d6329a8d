"""Where the programs that XLA has compiled are kept, and whether they can be."""

import os
import re
import shutil

from tfvit.storage import paths

OFF = "TFVIT_XLA_CACHE"  # Of the environment: 0 for none.
FLAG = "--tf_xla_persistent_cache_directory="  # Of TensorFlow's.
_SPARE = 2**30  # Bytes that a disk must have left.


def folder() -> str | None:
    """The folder of all of them, or None where none are to be kept."""
    if os.environ.get(OFF) == "0":
        return None
    return os.path.join(paths.cache(), "compiled")


def elsewhere() -> str | None:
    """The folder that TF_XLA_FLAGS names, "" for none; None: it says nothing.
    """
    found = re.search(rf"{FLAG}(\S*)", os.environ.get("TF_XLA_FLAGS", ""))
    return found and found[1]


def problem(root: str) -> str | None:
    """Why nothing can be kept in a folder, which need not be there; or None."""
    place = root
    while not os.path.exists(place):
        place = os.path.dirname(place) or "."
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
        return f"{place} cannot be written"
    free = shutil.disk_usage(place).free
    if free < _SPARE:
        return f"its disk has only {free / 2**20:.0f} MiB left"
    return None

"""The machine: processor, memory, disks."""

import glob
import os
import platform
import shutil
import sys

from tfvit.checkup import finding
from tfvit.storage import compiled
from tfvit.storage import paths

# What TensorFlow's wheels for x86-64 are compiled for, and cannot do without.
_NEEDED = ("avx",)
_FAST = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")
_LEAST_GB = 4  # Of memory: TensorFlow and its input pipeline take about 2.
_LEAST_DISK_GB = {"workdir": 2, "cache": 2, "datasets": 5}


def python(version=sys.version_info):
    """Whether tfvit has been tried with this Python."""
    found = ".".join(map(str, version[:3]))
    if not (3, 10) <= version[:2] <= (3, 12):
        return finding.Finding(
            "Python", found, "TensorFlow 2.20 and what tfvit needs beside it "
            "are there for Python 3.10 to 3.12: make the environment with one "
            "of these.")
    return finding.Finding("Python", found)


def processor(root="/", machine=None):
    """What of the CPU TensorFlow needs and uses.

    Args:
      root: of the file system, where proc/ lies.
      machine: its kind; None for this one's.
    """
    machine = machine or platform.machine()
    flags = set()
    for line in _lines(root, "proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    count = len(os.sched_getaffinity(0)) if hasattr(
        os, "sched_getaffinity") else os.cpu_count()
    found = f"{machine}, {count} cores"
    if machine != "x86_64" or not flags:
        return finding.Finding("processor", found)
    missing = [name for name in _NEEDED if name not in flags]
    if missing:
        return finding.Finding(
            "processor", f"{found} without {', '.join(missing)}",
            "TensorFlow's packages end with an illegal instruction here: use "
            "another machine, or another type of virtual CPU.")
    has = [name for name in _FAST if name in flags]
    note = "" if "avx512f" in flags else "no AVX-512, which products would use"
    return finding.Finding("processor", f"{found}, {' '.join(has) or 'avx'}",
                           note=note)


def memory(root="/"):
    """Whether there is enough memory; a container's limit counts."""
    sizes = {}
    for line in _lines(root, "proc/meminfo"):
        name, _, value = line.partition(":")
        sizes[name] = int(value.split()[0]) * 1024 if value.split() else 0
    available = sizes.get("MemAvailable")
    if available is None:
        return finding.Finding("memory", "unknown")
    found = f"{available / 1e9:.1f} of {sizes.get('MemTotal', 0) / 1e9:.1f} GB"
    for line in _lines(root, "sys/fs/cgroup/memory.max"):
        if line.strip().isdigit():
            limit = int(line)
            used = "".join(_lines(root, "sys/fs/cgroup/memory.current"))
            left = limit - int(used) if used.strip().isdigit() else limit
            if left < available:
                available = left
                found = f"{left / 1e9:.1f} of this container's {limit / 1e9:.1f} GB"
    found += " free"
    if available < _LEAST_GB * 1e9:
        return finding.Finding(
            "memory", found, f"training needs {_LEAST_GB} GB and more: end "
            "what else runs, or take a larger machine or container.")
    return finding.Finding("memory", found)


def folders(workdir):
    """Whether there is room where runs, downloads and datasets go.

    Args:
      workdir: directory of a run, or of runs.

    Returns:
      A list of findings.
    """
    datasets = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return [
        folder("workdir", workdir, "choose another --workdir"),
        folder("cache", paths.cache(), "set TFVIT_CACHE to another folder"),
        folder("datasets", datasets, "set TFDS_DATA_DIR to another folder"),
    ]


def compile_cache():
    """Whether what XLA compiles is kept for the next start."""
    said, root = compiled.elsewhere(), compiled.folder()
    if said is not None:
        return finding.Finding("compile cache", said or "none",
                               note="as TF_XLA_FLAGS says")
    if root is None:
        return finding.Finding(
            "compile cache", "none",
            note=f"{compiled.OFF}=0: XLA compiles anew at each start")
    if why := compiled.problem(root):
        return finding.Finding(
            "compile cache", f"{root}: {why}", "XLA compiles anew at each "
            "start: make room, or set TFVIT_CACHE to another folder, or "
            f"{compiled.OFF}=0 to do without.")
    sizes = [os.path.getsize(path) for path in glob.glob(
        os.path.join(glob.escape(root), "*", "*.pb")) if os.path.exists(path)]
    return finding.Finding("compile cache", f"{root}, {len(sizes)} programs, "
                           f"{sum(sizes) / 1e6:,.0f} MB")


def folder(what, path, other):
    """A finding on one folder, which need not be there yet.

    Args:
      what: "workdir", "cache" or "datasets".
      path: of it.
      other: what to do to have another one.
    """
    path = paths.home(path)
    if not paths.is_local(path):
        return finding.Finding(what, path, note="a bucket: see credentials")
    here = os.path.abspath(path)
    while not os.path.lexists(here):
        here = os.path.dirname(here)
    if not os.path.isdir(here):
        return finding.Finding(what, f"{path}: {here} is no folder",
                               f"Move it away, or {other}.")
    if not os.access(here, os.W_OK | os.X_OK):
        return finding.Finding(what, f"{path} cannot be written",
                               f"Make {here} yours, or {other}.")
    try:
        free = shutil.disk_usage(here).free / 1e9
    except OSError as error:
        return finding.Finding(what, f"{path}: {error.strerror}",
                               f"See to the disk, or {other}.")
    found = f"{path}, {free:,.1f} GB free"
    if free < _LEAST_DISK_GB[what]:
        return finding.Finding(
            what, found, f"less than {_LEAST_DISK_GB[what]} GB are soon full: "
            f"make room, or {other}.")
    return finding.Finding(what, found)


def _lines(root, name):
    try:
        with open(os.path.join(root, name), encoding="utf-8",
                  errors="replace") as f:
            return f.read().splitlines()
    except OSError:
        return []

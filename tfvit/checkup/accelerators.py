"""TensorFlow as it works here, GPUs and TPUs, and what a run would take."""

import glob
import json
import os
import re
import subprocess
import sys

from tfvit.checkup import finding
from tfvit.checkup import packages

_PROBE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.py")
_PATIENCE = 120  # Seconds for TensorFlow to come up.
# https://docs.nvidia.com/deploy/cuda-compatibility: what CUDA 12 asks for.
_OLDEST_DRIVER = (525, 60, 13)
# PCI devices of Google's (0x1ae0) that are TPUs, as jax/_src/hardware_utils.py
# has them.
_TPUS = {"0x0027": "v2 or v3", "0x0056": "v4i", "0x005e": "v4", "0x0062": "v5p",
         "0x0063": "v5e", "0x006f": "v6e", "0x0076": "7x"}


def probed(words=(sys.executable, _PROBE), patience=_PATIENCE):
    """(what probe.py found or None, findings on whether it came to its end).

    Args:
      words: the command.
      patience: seconds.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True,
                              timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        return None, [finding.Finding(
            "TensorFlow starts", f"not within {patience} s",
            "A driver or a TPU that another process holds may be waited for: "
            "end that process (fuser -v /dev/nvidia* /dev/accel* /dev/vfio/*), "
            "or restart the machine.")]
    try:
        return json.loads(done.stdout), []
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["without a word"]
        # Where in TensorFlow's C++ it was is nothing to the user.
        said = re.sub(r"^.*?\.cc:\d+\] ", "", lines[-1].strip())[:300]
        how = (f"ended by signal {-done.returncode}" if done.returncode < 0 else
               "it fails")
        variable = re.search(r"\b(XLA_FLAGS|TF_XLA_FLAGS)\b", said)
        return None, [finding.Finding(
            "TensorFlow starts", f"no: {how}: {said}",
            f"Mend {variable[1]} in the environment, or unset it."
            if variable else "This processor lacks what TensorFlow needs: use "
            "another machine." if done.returncode == -4 else
            "Install anew, into an environment of its own: bash "
            "tools/quickstart.sh makes one.")]


def all_of_them(found, root="/", versions=None):
    """Findings on GPUs, TPUs and XLA.

    Args:
      found: what probe.py found.
      root: of the file system.
      versions: {package: version}; None for what is installed.
    """
    failed = dict(found["problems"])
    findings = [_works(found, failed), *_gpus(found, failed, root),
                *_tpus(found, root, versions)]
    xla = failed.get("XLA")
    findings.append(finding.Finding(
        "XLA", f"fails: {xla}" if xla else "compiles",
        "Run with experiment.Experiment.jit = False, or install TensorFlow "
        "anew." if xla else "",
        "" if xla else "jit = 'auto' uses it on accelerators alone"))
    return [*findings, _deterministic(found), _takes(found, versions)]


def _deterministic(found):
    """What Experiment.deterministic = "auto" comes to."""
    if any(d["type"] == "GPU" for d in found["devices"]):
        return finding.Finding(
            "determinism", "off on the GPU", note="what was stopped goes on "
            "with other last bits; experiment.Experiment.deterministic = True "
            "has them equal, and XLA then picks kernels without measuring")
    return finding.Finding("determinism", "on", note="it costs nothing here")


def _takes(found, versions):
    """What strategies.auto would take."""
    gpus = sum(d["type"] == "GPU" for d in found["devices"])
    seen = any(d["type"] == "TPU" for d in found["devices"])
    name = os.environ.get("TPU_NAME")
    if versions is None:
        versions = packages.installed(("tensorflow-tpu",))
    if name and "tensorflow-tpu" not in versions:
        return finding.Finding(
            "a run takes", f"the TPU {name!r} of TPU_NAME, for which this "
            "TensorFlow is not made", "pip install \"tfvit[tpu]\", or unset "
            "TPU_NAME.")
    if name or seen:
        return finding.Finding("a run takes", f"the TPU {name or 'of this VM'}")
    what = (f"{gpus} GPUs" if gpus > 1 else "the GPU" if gpus else "the CPU")
    if os.environ.get("TF_CONFIG"):
        what += ", and those of the other workers"
    return finding.Finding("a run takes", what)


def _works(found, failed):
    broken = [f"{what}: {why}" for what, why in failed.items()
              if what.startswith("import ")]
    return finding.Finding(
        "TensorFlow starts", "; ".join(broken) or f"yes, {found['version']}",
        "Packages built for another TensorFlow: pip install --force-reinstall "
        "tfvit in an environment of its own." if broken else "")


def _gpus(found, failed, root):
    gpus = [d for d in found["devices"] if d["type"] == "GPU"]
    driver = _driver(root)
    build = found["build"]
    made_for = (f"TensorFlow is made for CUDA {build.get('cuda_version')}, "
                f"cuDNN {build.get('cudnn_version')}")
    there = packages.installed(
        ("nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12", "nvidia-nccl-cu12"))
    has = ", ".join(f"{k} {v}" for k, v in there.items()) or (
        "no CUDA of pip's")
    if driver and driver < _OLDEST_DRIVER:
        yield finding.Finding(
            "GPU", f"driver {_dotted(driver)}", "CUDA 12 needs driver "
            f"{_dotted(_OLDEST_DRIVER)} or later: install a new one.")
        return
    broken = {d: why for d, why in failed.items() if "GPU" in d}
    if broken:
        yield finding.Finding(
            "GPU", "; ".join(f"{d}: {why}" for d, why in broken.items()),
            f"{made_for}, and there is {has}: pip install \"tfvit[gpu]\" "
            "brings what fits; an LD_LIBRARY_PATH to another CUDA has to go.")
    elif gpus:
        names = ", ".join(sorted({d["name"] for d in gpus}))
        yield finding.Finding(
            "GPU", f"{len(gpus)} x {names}, driver "
            f"{_dotted(driver) if driver else 'unknown'}, {has}",
            note=f"{made_for}; TF_GPU_THREAD_MODE="
            f"{os.environ.get('TF_GPU_THREAD_MODE', 'not set')}")
    elif driver and os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        yield finding.Finding("GPU", "hidden by CUDA_VISIBLE_DEVICES",
                              note="runs take the CPU")
    elif driver:
        yield finding.Finding(
            "GPU", f"driver {_dotted(driver)}, but TensorFlow sees none",
            f"{made_for}, and there is {has}: pip install \"tfvit[gpu]\"."
            if build.get("is_cuda_build") == "True" else
            "This TensorFlow is made for CPUs alone: pip install "
            "\"tfvit[gpu]\".")
    else:
        yield finding.Finding("GPU", "none")
    if len(gpus) > 1:
        why = failed.get("NCCL")
        yield finding.Finding(
            "NCCL", f"fails: {why}" if why else "adds up over all GPUs",
            "strategies.mirrored.cross_device_ops = 'hierarchical' does "
            "without; in containers give more shared memory (docker run "
            "--shm-size=1g)." if why else "")


def _tpus(found, root, versions):
    chips = {}
    for path in glob.glob(os.path.join(root, "sys/bus/pci/devices/*/vendor")):
        if _read(path) == "0x1ae0":
            device = _read(os.path.join(os.path.dirname(path), "device"))
            if device in _TPUS:
                chips[_TPUS[device]] = chips.get(_TPUS[device], 0) + 1
    if versions is None:
        versions = packages.installed(("tensorflow-tpu", "libtpu"))
    seen = [d for d in found["devices"] if d["type"].startswith("TPU")]
    there = ", ".join(f"{k} {v}" for k, v in versions.items() if "tpu" in k)
    what = ", ".join(f"{count} chips of {kind}" for kind, count in chips.items())
    if not chips:
        yield finding.Finding("TPU", "none", note=there)
    elif "tensorflow-tpu" not in versions:
        yield finding.Finding(
            "TPU", f"{what}, and no tensorflow-tpu",
            "pip install \"tfvit[tpu]\", then pip uninstall -y tensorflow && "
            "pip install --force-reinstall --no-deps tensorflow-tpu==2.20.*")
    elif "libtpu" not in versions:
        yield finding.Finding("TPU", f"{what}, and no libtpu",
                              "pip install --force-reinstall tensorflow-tpu")
    else:
        yield finding.Finding(
            "TPU", f"{what}, {there}",
            note="" if seen else "it is seen once a run connects to it; with "
            "PJRT (v5e and later), NEXT_PLUGGABLE_DEVICE_USE_C_API="
            f"{os.environ.get('NEXT_PLUGGABLE_DEVICE_USE_C_API', 'not set')}")


def _driver(root):
    """Version of NVIDIA's driver as a tuple, or None."""
    text = _read(os.path.join(root, "proc/driver/nvidia/version"))
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text + " ")
    return tuple(map(int, found[1].split("."))) if found else None


def _dotted(numbers):
    return ".".join(map(str, numbers))


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return ""

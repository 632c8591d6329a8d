"""How much memory a device has, and in how many parts a batch fits into it."""

import os
import subprocess

import tensorflow as tf

_SHARE = 0.8  # Of it: the data, XLA and evaluation need some, too.


def available(strategy):
    """Bytes that one replica of a strategy may use; None where nobody knows.

    Of a GPU its free memory, of the CPU what the machine and the process's
    control group have left, divided among the replicas there.
    """
    devices = strategy.extended.worker_devices
    kinds = {tf.DeviceSpec.from_string(device).device_type for device in devices}
    if kinds == {"GPU"}:
        return _of_gpus()
    if kinds == {"CPU"}:
        limits = [limit for limit in (_of_machine(), _of_group()) if limit]
        return min(limits) // len(devices) if limits else None
    return None


def accumulation(batch_size, replicas, *, fixed, activations, gradients, limit):
    """(accum_steps, bytes): the fewest parts of the batch that fit.

    Args:
      batch_size: B, of all replicas.
      replicas: how many, which divide it.
      fixed: bytes of weights, optimizer and averages on each.
      activations: bytes on each, of its whole share of the batch.
      gradients: bytes on each.
      limit: bytes of each, or None.

    Returns:
      And the estimate with so many parts. Where one image is too much it is
      one image in a part, and above `limit`.
    """
    share = batch_size // replicas
    for parts in range(1, share + 1):
        if share % parts:
            continue
        # From the second part on, the sum of the gradients so far.
        needed = (fixed + activations // parts + gradients * (1 + (parts > 1)))
        if limit is None or needed <= _SHARE * limit:
            break
    return parts, needed


def _of_gpus():
    """The free bytes of the GPU that has least, without setting it up."""
    words = ["nvidia-smi", "--query-gpu=memory.free",
             "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        words.append(f"--id={visible}")
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True,
                              timeout=20).stdout
        return min(int(line) for line in said.split("\n") if line) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _of_machine(path="/proc/meminfo"):
    """Available bytes of the machine; None where Linux does not say it."""
    try:
        found = dict(line.split(":", 1) for line in _read(path).splitlines())
        return int(found["MemAvailable"].split()[0]) * 2**10
    except (OSError, KeyError, ValueError):
        return None


def _of_group(root="/sys/fs/cgroup"):
    """Bytes that a container's limit leaves; None where there is no limit."""
    for folder, limit, used, cached in (
            ("", "memory.max", "memory.current", "inactive_file"),
            ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
             "total_inactive_file")):
        try:
            limit, used, stat = (
                _read(os.path.join(root, folder, name))
                for name in (limit, used, "memory.stat"))
            # Cached files count as used, and go when memory is wanted.
            free = int(dict(line.split() for line in stat.splitlines())[cached])
            return max(int(limit) - int(used) + free, 0)
        except (OSError, KeyError, ValueError):  # Also "max": no limit.
            continue
    return None


def _read(path):
    with open(path, encoding="utf-8") as f:
        return f.read().strip()

"""How much memory a device has, and in how many parts a batch fits into it."""

import os
import subprocess

import tensorflow as tf

from tfvit.storage import ram

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
        limit = ram.free()
        return limit and limit // len(devices)
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

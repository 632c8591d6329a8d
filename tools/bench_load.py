"""Measures the time and host memory that loading a file of weights takes:

    python -m tools.bench_load --gin_file=gin/l16_imagenet2012.gin

Without --npz, a file of the model's own size is written and loaded. The peak
is of resident memory above that of the process with the built model, so that
it counts whatever Python, numpy and TensorFlow allocate. Linux only.
"""

import ctypes
import os
import tempfile
import time

from absl import flags

from tfvit import launch

_NPZ = flags.DEFINE_string("npz", None, "File to load instead.")

launch.start(__name__, "config", required=("gin_file",))

import tensorflow as tf

from tfvit.engine import build
from tfvit.weights import load


def resident(field):
    """Bytes of resident memory: now ("VmRSS") or at its peak ("VmHWM")."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def measure(model, path):
    """Loads `path` into the model; returns (seconds, peak bytes above)."""
    # What the C library keeps of freed memory would hide what loading needs.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # Resets VmHWM.
    before, start = resident("VmRSS"), time.monotonic()
    load.from_npz(model, path=path)
    return time.monotonic() - start, resident("VmHWM") - before


def main():
    exp = launch.experiment_from_flags()
    model = build.build(exp, strategy=tf.distribute.get_strategy(),
                        training=False).model
    sizes = [4 * v.shape.num_elements() for v in model.weights]
    with tempfile.TemporaryDirectory() as folder:
        path = _NPZ.value or os.path.join(folder, "weights.npz")
        if not _NPZ.value:
            load.to_npz(model, path)
        seconds, peak = measure(model, path)
    print(f"model {sum(sizes) / 1e6:,.1f} MB, "
          f"largest array {max(sizes) / 1e6:,.1f} MB, "
          f"peak above the model {peak / 1e6:,.1f} MB "
          f"= {peak / max(sizes):.2f} x the largest array, {seconds:.1f} s")


if __name__ == "__main__":
    launch.run_alone(main)

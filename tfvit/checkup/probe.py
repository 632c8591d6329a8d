"""What TensorFlow says of this machine, as JSON: python probe.py.

Runs in a process of its own: a TensorFlow that does not fit the machine ends it.
Nothing of tfvit is imported.
"""

import importlib
import json
import os
import sys


def main():
    # What TensorFlow's C++ prints goes elsewhere.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    import tensorflow as tf
    found = {"version": tf.__version__,
             "build": {k: str(v) for k, v in
                       tf.sysconfig.get_build_info().items()},
             "devices": [], "problems": [], "xla": None}
    for name in ("tf_keras", "tensorflow_text", "official"):
        attempt(found, f"import {name}", lambda n=name: importlib.import_module(n))
    for device in tf.config.list_physical_devices():
        details = tf.config.experimental.get_device_details(device)
        found["devices"].append({
            "type": device.device_type,
            "name": str(details.get("device_name", device.name)),
            "capability": details.get("compute_capability")})
    gpus = tf.config.list_logical_devices("GPU")
    for device in gpus:
        attempt(found, device.name, lambda d=device: work(tf, d.name))
    if len(gpus) > 1:
        attempt(found, "NCCL", lambda: nccl(tf, gpus))
    attempt(found, "XLA", lambda: xla(tf))
    print(json.dumps(found), file=out, flush=True)
    sys.stderr.flush()
    os._exit(0)  # Libraries of drivers may not end.


def attempt(found, what, call):
    """Calls; what goes wrong becomes one of the problems."""
    try:
        call()
    except Exception as error:  # Of whatever kind: it is what is looked for.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        found["problems"].append([what, lines[0][:300]])


def work(tf, device):
    """A product (cuBLAS) and a convolution (cuDNN)."""
    with tf.device(device):
        x = tf.ones([64, 64])
        y = tf.nn.conv2d(tf.ones([1, 8, 8, 3]), tf.ones([3, 3, 3, 4]), 1, "SAME")
        return tf.matmul(x, x).numpy(), y.numpy()


def nccl(tf, gpus):
    strategy = tf.distribute.MirroredStrategy(
        [device.name for device in gpus], tf.distribute.NcclAllReduce())
    total = strategy.run(lambda: tf.distribute.get_replica_context().all_reduce(
        "sum", tf.ones([])))
    assert float(strategy.experimental_local_results(total)[0]) == len(gpus)


def xla(tf):
    compiled = tf.function(lambda x: tf.matmul(x, x) + 1.0, jit_compile=True)
    assert float(compiled(tf.ones([2, 2]))[0, 0]) == 3


if __name__ == "__main__":
    main()

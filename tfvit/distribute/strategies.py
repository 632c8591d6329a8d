"""Where a run happens: functions that return a tf.distribute.Strategy.

Call one of them before anything else of TensorFlow: devices cannot be set up
twice.
"""

import faulthandler
import functools
import glob
import os
import re

from absl import logging
import tensorflow as tf

from tfvit.distribute import cluster
from tfvit.distribute import stand_in

_KINDS = ("TPU", "GPU", "CPU")
_COMMUNICATION = ("AUTO", "NCCL", "RING")
_CROSS_DEVICE_OPS = {
    "auto": lambda: None,
    "nccl": tf.distribute.NcclAllReduce,
    "hierarchical": tf.distribute.HierarchicalCopyAllReduce,
    "one_device": tf.distribute.ReductionToOneDevice,
}


def one_device(*, device=None):
    """One device, without copies of the model.

    Args:
      device: such as "GPU:1"; None for the first GPU where there is one, else
        the CPU.
    """
    if device is None:
        device = "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
    return tf.distribute.OneDeviceStrategy(device)


def mirrored(*, devices=None, cross_device_ops="auto"):
    """One replica on each GPU of this machine, or on each of `devices`.

    Args:
      devices: such as ["GPU:0", "GPU:1"].
      cross_device_ops: how gradients are added up: "nccl" (GPUs only),
        "hierarchical" (copies along the links of DGX-1), "one_device" (on the
        first one), or "auto" for TensorFlow's choice, which is NCCL on GPUs. A
        ring is multi_worker's.

    Raises:
      ValueError: there is no GPU and no `devices` are given, or
        cross_device_ops is none of these.
    """
    if cross_device_ops not in _CROSS_DEVICE_OPS:
        raise ValueError(
            f"strategies.mirrored.cross_device_ops={cross_device_ops!r} is not "
            f"one of {', '.join(_CROSS_DEVICE_OPS)}.")
    devices = devices or [
        d.name for d in tf.config.list_logical_devices("GPU")
    ]
    if not devices:
        raise ValueError(
            "strategies.mirrored found no GPU on this machine. Use "
            "@strategies.one_device, or set strategies.mirrored.devices.")
    return _mirrored(tuple(devices), cross_device_ops)


@functools.lru_cache(maxsize=None)
def _mirrored(devices, cross_device_ops):
    # One strategy for a set of devices: a second one in the same process starts
    # numbering its collectives again, and they collide with the first one's.
    return tf.distribute.MirroredStrategy(
        devices, _CROSS_DEVICE_OPS[cross_device_ops]())


def logical_cpus(*, count=2):
    """Replicas on one CPU, to try them out without GPUs.

    Args:
      count: how many.

    Raises:
      RuntimeError: TensorFlow has set up its devices with another count.
    """
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    if len(tf.config.get_logical_device_configuration(cpu) or [0]) != count:
        tf.config.set_logical_device_configuration(cpu, devices)
    return mirrored(devices=[f"CPU:{i}" for i in range(count)])


@functools.lru_cache(maxsize=None)
def multi_worker(*, communication="AUTO", timeout=600):
    """One replica on each GPU, or the CPU, of each worker in TF_CONFIG.

    The same command runs on all workers, each with its own index in the
    environment variable TF_CONFIG, for example
      {"cluster": {"worker": ["host0:2222", "host1:2222"]},
       "task": {"type": "worker", "index": 0}}
    All see the same workdir. One that dies ends the others within a minute.

    Args:
      communication: "AUTO", "NCCL" (GPUs only) or "RING".
      timeout: seconds to wait for the other workers to start.

    Raises:
      ValueError: TF_CONFIG is missing or names no cluster and task, or the
        communication is none of the three.
      ConnectionError: another worker has not come in time; it is named.
    """
    if communication not in _COMMUNICATION:
        raise ValueError(f"strategies.multi_worker.communication="
                         f"{communication!r} is not one of "
                         f"{', '.join(_COMMUNICATION)}.")
    own, others = cluster.tasks(os.environ.get("TF_CONFIG", ""))
    cluster.meet(own, others, timeout)
    # All were there; should one die just now, TensorFlow waits without end, and
    # nothing but this can interrupt it.
    faulthandler.dump_traceback_later(timeout, exit=True)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=tf.distribute.experimental.
            CommunicationOptions(implementation=communication))
    finally:
        faulthandler.cancel_dump_traceback_later()


@functools.lru_cache(maxsize=None)
def tpu(*, address=None):
    """All cores of a TPU: a VM's own, a pod slice's, or a remote one's.

    Args:
      address: "local" on a TPU VM; the name of a TPU node or pod slice
        otherwise (with TPU_NAME in the environment, None finds it).

    Raises:
      ValueError: there is no such TPU.
    """
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=address or os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    # Of names TensorFlow asks Google's API, whose errors are of all kinds.
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"strategies.tpu.address={address!r}: {str(error).splitlines()[0]} "
            "On a TPU VM use 'local' and install tfvit[tpu]; else set the "
            "TPU's name, here or in TPU_NAME.") from error
    return tf.distribute.TPUStrategy(resolver)


def auto(*, require=None):
    """A TPU, else all workers of TF_CONFIG, else all GPUs, else the CPU.

    Warns of taking the CPU of a machine that has something faster.

    Args:
      require: "TPU", "GPU" or "CPU": refuse to run on anything else. None for
        whatever there is.

    Raises:
      ValueError: there is no such device, or require is none of these.
    """
    if require not in (None, *_KINDS):
        raise ValueError(f"strategies.auto.require={require!r} is not one of "
                         f"{', '.join(map(repr, _KINDS))}, or None.")
    gpus = tf.config.list_physical_devices("GPU")
    has_tpu = os.environ.get("TPU_NAME") or (
        tf.config.list_physical_devices("TPU"))
    kind = "TPU" if has_tpu else "GPU" if gpus else "CPU"
    idle = _idle_accelerator() if kind == "CPU" else ""
    if require and kind != require:
        raise ValueError(
            f"strategies.auto.require={require!r}, but what TensorFlow finds "
            f"here is {'no more than ' * (kind == 'CPU')}a {kind}"
            f"{f', though there is {idle}' if idle else ''}. `tfvit doctor` "
            "says what is wrong.")
    if idle and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        logging.warning("Running on the CPU, though there is %s: `tfvit "
                        "doctor` says why TensorFlow does not see it.", idle)
    if has_tpu:
        return tpu()
    if os.environ.get("TF_CONFIG"):
        return multi_worker()
    several = len(tf.config.list_logical_devices("GPU")) > 1
    return mirrored() if several else one_device()


def _idle_accelerator():
    """What the operating system sees and TensorFlow does not, or ""."""
    for pattern, name in (("/dev/nvidia[0-9]*", "a GPU of NVIDIA's"),
                          ("/dev/accel[0-9]*", "a TPU")):
        if found := glob.glob(pattern):
            return f"{name} ({sorted(found)[0]})"
    return ""


def use_jit(jit, strategy):
    """Resolves "auto" to XLA on accelerators only: CPUs gain nothing by it."""
    if is_one_program(strategy):
        return False  # It compiles what it runs, all-reduces and all.
    if jit != "auto":
        return jit
    devices = strategy.extended.worker_devices
    return not all("CPU" in d.upper().split("/")[-1] for d in devices)


def device_name(strategy):
    """A name for the hardware of a replica."""
    name = strategy.extended.worker_devices[0]
    for device in tf.config.list_physical_devices():
        if device.device_type in name and device.device_type != "CPU":
            details = tf.config.experimental.get_device_details(device)
            return details.get("device_name", device.device_type)
    return "CPU"


def is_chief(strategy):
    """Whether this process is the one that writes files."""
    resolver = strategy.cluster_resolver
    if resolver is None or not has_workers(strategy):
        return True
    chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not chief and
                                             resolver.task_id == 0)


def is_one_program(strategy):
    """Whether XLA compiles all of a step, with what replicas tell each other.
    """
    return isinstance(strategy, (tf.distribute.TPUStrategy, stand_in.Slice))


def has_workers(strategy):
    """Whether other processes, each with its own replicas, are part of it."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def any_worker(strategy):
    """Makes a function: bool -> whether it is True on any worker.

    All workers have to call it equally often.
    """
    total = _total(strategy)
    return lambda flag: total(flag) > 0


def mean(strategy):
    """Makes a function: number or list -> mean over all workers; None for one.
    """
    if not has_workers(strategy):
        return None
    total = _total(strategy)
    return lambda number: total(number) / strategy.num_replicas_in_sync


def same_everywhere(strategy, number):
    """Whether all workers, which all have to ask, give the same number."""
    return _total(strategy)(number) == number * strategy.num_replicas_in_sync


def _total(strategy):
    """Makes a function: number -> its sum over the replicas of all workers."""
    if not has_workers(strategy):
        return lambda number: number * strategy.num_replicas_in_sync

    @tf.function
    def total(number):

        def reduce(value):
            context = tf.distribute.get_replica_context()
            # A copy: an argument of a function lies on no device.
            return context.all_reduce(tf.distribute.ReduceOp.SUM,
                                      tf.identity(value))

        return strategy.run(reduce, args=(number,))

    return lambda number: strategy.experimental_local_results(
        total(tf.constant(number, tf.float64)))[0].numpy()


def lost_worker(error, strategy):
    """The other workers of which a tf.errors.OpError says that they are gone.

    Returns:
      Their names, or "another worker", or None if the error says no such thing.
    """
    gone = (tf.errors.UnavailableError, tf.errors.AbortedError,
            tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError,
            tf.errors.CancelledError)
    resolver = strategy.cluster_resolver
    if not isinstance(error, gone) or resolver is None:
        return None
    tasks = re.findall(r"/job:(\w+)/replica:\d+/task:(\d+)", error.message)
    own = (resolver.task_type, str(resolver.task_id))
    return ", ".join(f"{job} {i}" for job, i in sorted(
        {*tasks} - {own})) or "another worker"

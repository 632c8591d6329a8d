"""Whether TensorFlow computes the same bits each time: of the whole process."""

from absl import logging
import tensorflow as tf
# Public is only how to require it, and there may be another experiment after.
from tensorflow.python.framework import config as tf_config

CHOICES = (True, False, "auto")


def resolve(wanted, strategy):
    """Experiment.deterministic as True or False.

    It costs nothing on CPUs and TPUs. On GPUs XLA then measures no kernels:
    matrix products get its default tiles and convolutions cuDNN's first
    deterministic algorithm (OpDeterminismRequired sets
    xla_gpu_deterministic_ops, with which GemmFusionAutotuner and
    CudnnConvAlgorithmPicker pick without autotuning), and sums by scattering
    are serialised.
    """
    if wanted != "auto":
        return wanted
    return not any("GPU" in device.upper().split("/")[-1]
                   for device in strategy.extended.worker_devices)


def require(wanted, strategy):
    """Sets the process up for it, and says so where "auto" decides against."""
    required = resolve(wanted, strategy)
    if required:
        tf.config.experimental.enable_op_determinism()
    else:
        tf_config.disable_op_determinism()
    if wanted == "auto" and not required:
        logging.info(
            "Not deterministic on GPUs: a run that was stopped goes on with "
            "the same data, but not to the last bit the same. "
            "Experiment.deterministic = True has it so; XLA then takes default "
            "kernels instead of the fastest that it measures.")


def is_required():
    """Whether the process computes so now."""
    return tf_config.is_op_determinism_enabled()

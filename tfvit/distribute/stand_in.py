"""A strategy that stands for a TPU slice, to build and lower a run without one.
"""

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops as xla
from tensorflow.python.distribute import distribute_lib
from tensorflow.python.distribute import one_device_strategy
from tensorflow.python.distribute import tpu_strategy


class Slice(tf.distribute.Strategy):
    """N replicas of which this process builds one, as TPUStrategy does.

    Variables are plain ones on the CPU, and what `run` calls becomes part of
    the function that is being traced. Its replica context is TPUStrategy's own:
    an all-reduce is one of XLA's for each tensor, a mean is divided before it,
    and an all-gather is a masked all-reduce. What is traced so can be lowered
    and compiled for a slice; run here, it could be for one replica alone.

    Args:
      replicas: their number.
    """

    def __init__(self, replicas):
        super().__init__(_Extended(self, replicas))


class _Extended(one_device_strategy.OneDeviceExtended):
    """One device's ways with variables, and a slice's with replicas."""

    def __init__(self, strategy, replicas):
        super().__init__(strategy, "CPU:0")
        self._replicas = replicas

    @property
    def _num_replicas_in_sync(self):
        return self._replicas

    def _call_for_each_replica(self, fn, args, kwargs):
        # One replica's number is a constant, which XLA folds.
        number = xla.xla_replica_id() if self._replicas > 1 else 0
        with tpu_strategy._TPUReplicaContext(  # pylint: disable=protected-access
                self._container_strategy(), number):
            return fn(*args, **kwargs)

    def _reduce_to(self, reduce_op, value, destinations, options):
        del destinations, options
        if reduce_op == tf.distribute.ReduceOp.MEAN:
            value *= 1.0 / self._replicas
        # What TPUStrategy calls, CrossReplicaSum, becomes the same instruction,
        # but has no kernel here.
        return value if self._replicas == 1 else xla.xla_all_reduce(
            value, [list(range(self._replicas))], "Add", "CrossReplica")

    def _distribute_datasets_from_function(self, dataset_fn, options):
        del options
        return dataset_fn(distribute_lib.InputContext(
            num_replicas_in_sync=self._replicas))

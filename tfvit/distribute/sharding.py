"""Variables in shares: each replica keeps one, and updates no other (ZeRO-1).

As ZeRO's first stage (arXiv 1910.02054) has it for the state of optimizers:
gradients are summed, each replica updates its share of every parameter, and all
gather the new ones. A tensor is cut along its first axis whose length the
replicas divide: TPUs hold tensors in tiles of the two last axes, and what is
flattened is copied (1280 x 5120: 30 s of compiling, for 5 s). What has no such
axis, a bias or two, stays whole everywhere.
"""

import functools

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops as xla

from tfvit.distribute import strategies

SUM = tf.distribute.ReduceOp.SUM


def axis_of(shape, replicas):
    """The axis along which a tensor is cut, or None where none can be."""
    return next((i for i, size in enumerate(shape)
                 if size and size % replicas == 0), None)


def number(context):
    """Of this replica's share, int32 []."""
    if strategies.is_one_program(context.strategy):
        # The compiler's own count, by which XlaReduceScatter deals out;
        # TPUStrategy's may differ.
        return xla.xla_replica_id()
    return tf.convert_to_tensor(context.replica_id_in_sync_group)


def own(tensor, axis, number, replicas):
    """Share `number` of a tensor that is cut along `axis`."""
    size = tensor.shape.as_list()
    size[axis] //= replicas
    return tf.slice(tensor, _begin(size, axis, number), size)


def all_reduce(context, values):
    """The sum of a structure of tensors over the replicas: one all-reduce.

    Of each dtype, that is: they are packed as one.
    """
    flat = tf.nest.flatten(values)
    if strategies.is_one_program(context.strategy):
        # Without the barrier, TPUs' compiler would deal out the update by
        # itself, in two collectives for each large tensor.
        summed = xla.xla_optimization_barrier(context.all_reduce(SUM, flat))
        return tf.nest.pack_sequence_as(values, summed)
    summed, before = [None] * len(flat), []
    for dtype in dict.fromkeys(v.dtype for v in flat):
        numbers = [i for i, v in enumerate(flat) if v.dtype == dtype]
        with tf.control_dependencies(before):
            # With several in flight, replicas may pair up different ones.
            packed = [tf.identity(flat[i]) for i in numbers]
        before = context.all_reduce(SUM, packed)
        for i, value in zip(numbers, before):
            summed[i] = value
    return tf.nest.pack_sequence_as(values, summed)


def reduce_scatter(context, values, axes):
    """Own shares of the sums of `values`; None where an axis is None."""
    groups = [list(range(context.num_replicas_in_sync))]
    return [None if axis is None else
            xla.xla_reduce_scatter(value, groups, axis, "Add")
            for value, axis in zip(values, axes)]


def global_norm(context, grads, axes):
    """The global norm of gradients of which some are shares (axis not None)."""
    mine, whole = (
        sum(tf.reduce_sum(tf.square(grad)) for grad, axis in zip(grads, axes)
            if (axis is None) == is_whole) + tf.zeros([])
        for is_whole in (False, True))
    return tf.sqrt(all_reduce(context, mine) + whole)


def all_gather(context, shares, axes):
    """The whole tensors of which each replica gives its share, in one message.

    Args:
      context: the tf.distribute.ReplicaContext.
      shares: tensors of one dtype.
      axes: along which each is cut.
    """
    replicas = context.num_replicas_in_sync
    if strategies.is_one_program(context.strategy):
        # XLA's all-gather has no op in TensorFlow: as TPUStrategy does it.
        placed = []
        for share, axis in zip(shares, axes):
            size = share.shape.as_list()
            begin = _begin(size, axis, number(context))
            size[axis] *= replicas
            placed.append(xla.xla_dynamic_update_slice(
                tf.zeros(size, share.dtype), share, begin))
        return all_reduce(context, placed)
    packed = tf.concat([tf.reshape(share, [-1]) for share in shares], 0)
    rows = tf.reshape(context.all_gather(packed, axis=0),
                      [replicas, packed.shape[0]])
    parts = tf.split(rows, [s.shape.num_elements() for s in shares], axis=1)
    return [_joined(tf.reshape(part, [replicas, *share.shape]), axis)
            for part, share, axis in zip(parts, shares, axes)]


def _begin(size, axis, number):
    return tf.stack([number * n if i == axis else 0
                     for i, n in enumerate(size)])


def _joined(parts, axis):
    """[replicas, ..., n, ...] -> [..., replicas * n, ...]"""
    order = list(range(1, parts.shape.rank))
    order.insert(axis, 0)
    size = parts.shape.as_list()[1:]
    size[axis] *= parts.shape[0]
    return tf.reshape(tf.transpose(parts, order), size)


class Shards:
    """A variable of which each replica holds its share.

    For checkpoints it is whole: tf.identity(shards) gathers it, and assign
    deals it out. With several workers both have to be called on all.

    Attributes:
      shape, dtype: of the whole.
      axis: along which it is cut.
      share: the variable, in a replica's context its own.
    """

    def __init__(self, shape, dtype, axis, strategy, name):
        """Makes it of zeros; called in the strategy's scope."""
        self.shape, self.dtype, self.axis = tf.TensorShape(shape), dtype, axis
        self._strategy = strategy
        size = self.shape.as_list()
        size[axis] //= strategy.num_replicas_in_sync
        self.share = tf.Variable(
            tf.zeros(size, dtype), trainable=False, name=name,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.NONE)

    def assign(self, value):
        """Deals out a whole value; not for a replica's context."""
        value = tf.cast(value, self.dtype)
        for i, variable in self._local():
            variable.assign(own(value, self.axis, i,
                                self._strategy.num_replicas_in_sync))

    def whole(self):
        """All of it, on this process' host; not for a replica's context."""
        local = [tf.convert_to_tensor(v) for _, v in self._local()]
        with tf.device("CPU:0"):
            if not strategies.has_workers(self._strategy):
                return tf.concat([tf.identity(v) for v in local], self.axis)
        first = self._local()[0][0]
        values = self._strategy.experimental_distribute_values_from_function(
            lambda context: local[context.replica_id_in_sync_group - first])
        return _gathering(self._strategy)(values, self.axis)

    def numpy(self):
        return self.whole().numpy()

    def _local(self):
        """[(number, variable)] of this process' shares, in order."""
        variables = self._strategy.experimental_local_results(self.share)
        return sorted(zip(_numbers(self._strategy), variables),
                      key=lambda pair: pair[0])


def share(variable):
    """What of a variable, or of Shards, a replica has."""
    return variable.share if isinstance(variable, Shards) else variable


@functools.lru_cache(maxsize=None)
def _numbers(strategy):
    """Of the shares of this process' replicas."""

    @tf.function
    def numbers():
        return strategy.run(lambda: tf.identity(
            number(tf.distribute.get_replica_context())))

    return [int(n) for n in strategy.experimental_local_results(numbers())]


@functools.lru_cache(maxsize=None)
def _gathering(strategy):
    return tf.function(lambda value, axis: strategy.gather(value, axis))


def _convert(shards, dtype=None, name=None, as_ref=False):
    del name, as_ref
    whole = shards.whole()
    return whole if dtype is None else tf.cast(whole, dtype)


tf.register_tensor_conversion_function(Shards, _convert)

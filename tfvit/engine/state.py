"""The variables that training changes: weights, slots, averages, step."""

import contextlib
import functools

import tensorflow as tf

from tfvit.distribute import sharding
from tfvit.distribute import strategies
from tfvit.optimize import loss_scale as loss_scale_lib
from tfvit.optimize import optim


class TrainState:
    """The variables that a step changes; create it in the strategy's scope.

    Attributes:
      step: number of finished updates, skipped ones included, int64 [].
      params: {published name: variable}.
      trained: those of them that are not frozen.
      slots: {slot name: {name in trained: variable}}; a variable need not have
        all of them. In shares, a sharding.Shards where it can be cut.
      ema: {name in trained: its moving average}; empty without averaging. In
        shares as the slots are.
      scale: variables of optimize.loss_scale; empty without loss scaling.
      statistics: {name: variable} of what no gradient changes, such as the
        moving averages of BatchNormalization.
      slot_dtypes: {slot name: {name: dtype}} as the optimizer has them, in
        which checkpoints hold the slots.
    """

    def __init__(self, params, optimizer, strategy, *, frozen=None, ema=False,
                 loss_scale=None, statistics=None, shard=False):
        """Makes the variables beside `params`.

        Args:
          params: {published name: variable}.
          optimizer: an optim.Optimizer.
          strategy: the tf.distribute.Strategy in whose scope this runs.
          frozen: regular expression for whole names that are not trained.
          ema: whether to keep moving averages; see start_averages.
          loss_scale: the first one; None for no loss scaling.
          statistics: see above.
          shard: whether each replica keeps its share alone of slots and
            averages; see distribute.sharding.

        Raises:
          ValueError: `frozen` matches nothing, or everything; or the
            optimizer's updates cannot be computed share by share.
        """
        replicas = strategy.num_replicas_in_sync
        self._strategy = strategy
        self._shard = shard and replicas > 1
        if shard and not optimizer.elementwise:
            raise ValueError(
                "Experiment.shard_optimizer=True: this optimizer looks at whole "
                "variables, not at each number alone as optim.adamw and "
                "optim.sgd do. Set it to False; optim.adafactor needs little "
                "memory anyway. (An optimizer of one's own says "
                "optim.Optimizer(..., elementwise=True).)")
        self.step = tf.Variable(
            0, dtype=tf.int64, trainable=False, name="step",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self.params = params
        self.trained = optim.unfrozen(params, frozen)
        self.statistics = statistics or {}
        self.slots, self.slot_dtypes = {}, {}
        self.ema = {
            name: self._variable(v.shape, tf.float32, f"ema/{name}")
            for name, v in self.trained.items() if ema
        }
        self.scale = ({} if loss_scale is None else
                      loss_scale_lib.variables(loss_scale))
        for name, variable in self.trained.items():
            for slot, (shape, dtype) in optimizer.slots(variable.shape).items():
                self.slot_dtypes.setdefault(slot, {})[name] = dtype
                if strategies.has_workers(strategy):
                    # Its first broadcast has no bfloat16 kernel; float32 holds
                    # the rounded values just as well. Checkpoints do not.
                    dtype = tf.float32
                self.slots.setdefault(slot, {})[name] = self._variable(
                    shape, dtype, f"{slot}/{name}")

    def axis(self, name):
        """Along which what belongs to a trained variable is cut, or None."""
        return sharding.axis_of(self.trained[name].shape, self._strategy.
                                num_replicas_in_sync) if self._shard else None

    def _variable(self, shape, dtype, name):
        axis = self.axis(name.split("/", 1)[1])
        if axis is not None:
            return sharding.Shards(shape, dtype, axis, self._strategy, name)
        return tf.Variable(tf.zeros(shape, dtype), trainable=False, name=name)

    def start_averages(self):
        """Starts the moving averages at the weights as they are now."""
        for name, average in self.ema.items():
            average.assign(tf.identity(self.params[name]))

    @contextlib.contextmanager
    def averaged(self):
        """Inside, the variables hold their averages, if there are any."""
        if not self.ema:
            yield
            return
        exchange, back = self._exchanges
        before = exchange()
        try:
            yield
        finally:
            back(before)

    @functools.cached_property
    def _exchanges(self):
        """Functions that put the averages in, and the weights back.

        Each replica does so with its own copies, which do not leave it.
        """
        params = [self.params[name] for name in self.ema]

        def put_in():
            before = [tf.identity(v) for v in params]
            for variable, average in zip(params, self._averages()):
                variable.assign(average)
            return before

        def put_back(before):
            for variable, value in zip(params, before):
                variable.assign(value)

        run = self._strategy.run
        return (tf.function(lambda: run(put_in)),
                tf.function(lambda before: run(put_back, (before,))))

    def _averages(self):
        """Whole averages, in a replica's context."""
        found = {name: tf.convert_to_tensor(v) for name, v in self.ema.items()
                 if not isinstance(v, sharding.Shards)}
        cut = {name: v for name, v in self.ema.items() if name not in found}
        if cut:
            found.update(zip(cut, sharding.all_gather(
                tf.distribute.get_replica_context(),
                [tf.convert_to_tensor(v.share) for v in cut.values()],
                [v.axis for v in cut.values()])))
        return [found[name] for name in self.ema]

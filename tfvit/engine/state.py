"""The variables that training changes: weights, slots, averages, step."""

import contextlib

import tensorflow as tf

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
        all of them.
      ema: {name in trained: its moving average}; empty without averaging.
      scale: variables of optimize.loss_scale; empty without loss scaling.
      statistics: {name: variable} of what no gradient changes, such as the
        moving averages of BatchNormalization.
      slot_dtypes: {slot name: {name: dtype}} as the optimizer has them, in
        which checkpoints hold the slots.
    """

    def __init__(self, params, optimizer, strategy, *, frozen=None, ema=False,
                 loss_scale=None, statistics=None):
        """Makes the variables beside `params`.

        Args:
          params: {published name: variable}.
          optimizer: an optim.Optimizer.
          strategy: the tf.distribute.Strategy in whose scope this runs.
          frozen: regular expression for whole names that are not trained.
          ema: whether to keep moving averages; see start_averages.
          loss_scale: the first one; None for no loss scaling.
          statistics: see above.

        Raises:
          ValueError: `frozen` matches nothing, or everything.
        """
        self.step = tf.Variable(
            0, dtype=tf.int64, trainable=False, name="step",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self.params = params
        self.trained = optim.unfrozen(params, frozen)
        self.statistics = statistics or {}
        self.slots, self.slot_dtypes = {}, {}
        self.ema = {
            name: tf.Variable(tf.zeros(v.shape), trainable=False,
                              name=f"ema/{name}")
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
                self.slots.setdefault(slot, {})[name] = tf.Variable(
                    tf.zeros(shape, dtype), trainable=False,
                    name=f"{slot}/{name}")

    def start_averages(self):
        """Starts the moving averages at the weights as they are now."""
        for name, average in self.ema.items():
            average.assign(tf.identity(self.params[name]))

    @contextlib.contextmanager
    def averaged(self):
        """Inside, the variables hold their averages, if there are any."""
        before = {name: tf.identity(self.params[name]) for name in self.ema}
        try:
            for name, average in self.ema.items():
                self.params[name].assign(tf.identity(average))
            yield
        finally:
            for name, value in before.items():
                self.params[name].assign(value)

"""build(exp): the one place that makes a run's parts out of an Experiment."""

import contextlib
import functools

from absl import logging
import tensorflow as tf
import tf_keras

from tfvit.data.images import decoding
from tfvit.engine import state as state_lib
from tfvit.engine import step as step_lib
from tfvit.weights import names


def build(exp, *, strategy=None, training=True):
    """Sets the process up for an experiment and makes its model.

    Args:
      exp: an experiment.Experiment.
      strategy: a tf.distribute.Strategy in place of the experiment's.
      training: whether two runs of the same config are to give the same bits,
        and the batch to divide evenly. Otherwise random numbers, which belong
        to whoever calls, are left alone.

    Returns:
      A Run.

    Raises:
      ValueError: the experiment cannot work with these devices.
    """
    strategy = strategy or exp.strategy()
    # These are of the process: TensorFlow has no setting of a model for them.
    tf.config.experimental.enable_tensor_float_32_execution(exp.tf32)
    if training:
        _check_replicas(exp, strategy)
        tf.config.experimental.enable_op_determinism()
        tf_keras.utils.set_random_seed(exp.seed % 2**32)
    with strategy.scope(), precision_policy(exp.precision):
        model = exp.model()
    return Run(exp, strategy, model)


class Run:
    """The parts of a run. What is no attribute yet is made when asked for.

    Attributes:
      exp: its experiment.Experiment.
      strategy: its tf.distribute.Strategy.
      model: tf_keras.Model.
      params: {published name: trainable variable of the model}.
      optimizer: optimize.optim.Optimizer.
      state: what training changes, a state.TrainState.
      source: of training examples.
      objective: one of optimize.objectives.
      evaluators: {name: evaluator}.
      train_step: see step.make_train_step.
    """

    def __init__(self, exp, strategy, model):
        self.exp = exp
        self.strategy = strategy
        self.model = model
        self.params = {names.of(v): v for v in model.trainable_variables}

    @functools.cached_property
    def optimizer(self):
        return self.exp.optimizer(self.exp.total_steps)

    @functools.cached_property
    def state(self):
        exp = self.exp
        scale = exp.loss_scale if exp.precision == "mixed_float16" else None
        with self.strategy.scope():
            state = state_lib.TrainState(
                self.params, self.optimizer, self.strategy, frozen=exp.frozen,
                ema=exp.ema_decay is not None, loss_scale=scale)
        if exp.frozen:
            logging.info("Frozen: %d of %d parameters.",
                         len(self.params) - len(state.trained),
                         len(self.params))
        return state

    @functools.cached_property
    def source(self):
        return self.exp.train_source()

    @functools.cached_property
    def objective(self):
        return self.exp.objective(model=self.model, loss=self.exp.loss,
                                  mix=self.exp.mix)

    @functools.cached_property
    def evaluators(self):
        return {
            name: make(name=name, model=self.model, strategy=self.strategy,
                       jit=self.exp.jit)
            for name, make in self.exp.evaluators.items()
        }

    @functools.cached_property
    def train_step(self):
        exp = self.exp
        return step_lib.make_train_step(
            objective=self.objective, state=self.state,
            gradients=exp.gradients, optimizer=self.optimizer,
            strategy=self.strategy, jit=exp.jit, seed=exp.seed,
            accum_steps=exp.accum_steps, clip_norm=exp.clip_norm,
            lr_multipliers=exp.lr_multipliers, ema_decay=exp.ema_decay,
            device_ops=exp.device_ops)

    def batches(self, start=0):
        """Iterator over the training batches from step `start` on."""
        exp = self.exp
        batches = self.strategy.distribute_datasets_from_function(
            lambda context: exp.train_data(
                source=self.source, batch_size=exp.batch_size, seed=exp.seed,
                start_step=start, input_context=context))
        decoding.check_images(self.model, batches.element_spec,
                              "pipeline.train.ops")
        return iter(batches)

    def evaluate(self, poll=lambda: None, only=None):
        """Runs the evaluators: {"evaluator/metric": value}.

        Args:
          poll: called often; may raise to end the evaluation.
          only: names of evaluators; None for all.
        """
        return {
            f"{name}/{metric}": value
            for name, evaluator in self.evaluators.items()
            if only is None or name in only
            for metric, value in evaluator.run(poll).items()
        }


@contextlib.contextmanager
def precision_policy(precision):
    """Keras layers made inside compute in `precision`."""
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


def _check_replicas(exp, strategy):
    """Raises ValueError unless the batch divides evenly."""
    replicas = strategy.num_replicas_in_sync
    if exp.batch_size % (replicas * exp.accum_steps):
        raise ValueError(
            f"Experiment.batch_size={exp.batch_size} must be a multiple of "
            f"{replicas} replicas x Experiment.accum_steps={exp.accum_steps}.")

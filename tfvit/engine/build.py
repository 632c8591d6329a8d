"""build(exp): the one place that makes a run's parts out of an Experiment."""

import contextlib
import functools
import inspect

from absl import logging
import tensorflow as tf
import tf_keras

from tfvit import config
from tfvit.data.images import decoding
from tfvit.data.images import keep as keep_lib
from tfvit.engine import compile_cache
from tfvit.engine import determinism
from tfvit.engine import extension
from tfvit.engine import state as state_lib
from tfvit.engine import step as step_lib
from tfvit.weights import names


def build(exp, *, strategy=None, training=True):
    """Sets the process up for an experiment and makes its model.

    Args:
      exp: an experiment.Experiment.
      strategy: a tf.distribute.Strategy in place of the experiment's.
      training: whether random numbers are to be those of exp.seed, and the
        batch to divide evenly. Otherwise they, which belong to whoever calls,
        are left alone, and exp.deterministic counts only where it is True.

    Returns:
      A Run.

    Raises:
      ValueError: the experiment cannot work with these devices.
    """
    compile_cache.set_up()
    if training:
        with tf.Graph().as_default():  # Nothing there touches a device.
            exp.optimizer(exp.total_steps).lr(0)  # Checks the schedule.
    strategy = strategy or devices(exp)
    compile_cache.hush()
    # These are of the process: TensorFlow has no setting of a model for them.
    tf.config.experimental.enable_tensor_float_32_execution(exp.tf32)
    if training:
        check_replicas(exp, strategy.num_replicas_in_sync)
        determinism.require(exp.deterministic, strategy)
        tf_keras.utils.set_random_seed(exp.seed % 2**32)
    elif exp.deterministic is True:
        determinism.require(True, strategy)
    with strategy.scope(), precision_policy(exp.precision):
        model = exp.model()
    return Run(exp, strategy, model)


def devices(exp):
    """The tf.distribute.Strategy of an experiment."""
    return exp.strategy()


class Run:
    """The parts of a run. What is no attribute yet is made when asked for.

    Attributes:
      exp: its experiment.Experiment.
      strategy: its tf.distribute.Strategy.
      model: tf_keras.Model.
      params: {published name: trainable variable of the model}.
      statistics: {published name: variable of it that is not trainable}, such
        as the moving averages of BatchNormalization.
      optimizer: optimize.optim.Optimizer.
      state: what training changes, a state.TrainState.
      source: of training examples.
      train_data: the experiment's, which skips what it says is to be skipped.
      objective: one of optimize.objectives.
      evaluators: {name: evaluator}.
      train_step: see step.make_train_step.
    """

    def __init__(self, exp, strategy, model):
        self.exp = exp
        self.shares = []  # tf.distribute.InputContexts of this process.
        self.strategy = strategy
        self.model = model
        self.params = _named(model.trainable_variables)
        self.statistics = _named(model.non_trainable_variables)

    @property
    def weights(self):
        """All variables of the model, {published name: variable}."""
        return {**self.params, **self.statistics}

    @functools.cached_property
    def optimizer(self):
        exp = self.exp
        return extension.optimizer(exp.optimizer, exp.total_steps, exp.extended)

    @functools.cached_property
    def state(self):
        exp = self.exp
        scale = exp.loss_scale if exp.precision == "mixed_float16" else None
        with self.strategy.scope():
            state = state_lib.TrainState(
                self.params, self.optimizer, self.strategy, frozen=exp.frozen,
                ema=exp.ema_decay is not None, loss_scale=scale,
                statistics=self.statistics, shard=exp.shard_optimizer)
        if exp.frozen:
            logging.info("Frozen: %d of %d parameters.",
                         len(self.params) - len(state.trained),
                         len(self.params))
        if exp.ema_decay and not exp.ema_warmup:
            _warn_of_long_average(exp)
        return state

    @functools.cached_property
    def source(self):
        if self.exp.train_source is None:
            raise ValueError("Experiment.train_source=None: there is nothing "
                             "to train on. Bind one of gin/data.")
        return self.exp.train_source()

    @functools.cached_property
    def objective(self):
        return self.exp.objective(model=self.model, loss=self.exp.loss,
                                  mix=self.exp.mix)

    @functools.cached_property
    def train_data(self):
        return _skipping(self.exp, self.exp.train_data, "Experiment.train_data")

    @functools.cached_property
    def evaluators(self):
        found = {}
        for name, make in self.exp.evaluators.items():
            self._steady_names()
            found[name] = _skipping(self.exp, make, f"evaluator {name!r}")(
                name=name, model=self.model, strategy=self.strategy,
                jit=self.exp.jit)
        return found

    @functools.cached_property
    def train_step(self):
        exp = self.exp
        return step_lib.make_train_step(
            objective=self.objective, state=self.state,
            gradients=exp.gradients, optimizer=self.optimizer,
            strategy=self.strategy, jit=exp.jit, seed=exp.seed,
            accum_steps=exp.accum_steps, clip_norm=exp.clip_norm,
            lr_multipliers=exp.lr_multipliers, layer_decay=exp.layer_decay,
            ema_decay=exp.ema_decay, ema_warmup=exp.ema_warmup,
            device_ops=exp.device_ops, reduce_dtype=exp.reduce_dtype)

    def trace(self, iterator):
        """Traces the train step, as all processes of this run do."""
        self._steady_names()
        return self.train_step.trace(iterator)

    def _steady_names(self):
        # Of the kernels of GPUs the program does not say whether they are.
        compile_cache.steady_names(determinism.is_required())

    def batches(self, start=0):
        """Iterator over the training batches from step `start` on."""
        exp = self.exp
        self.shares = []
        keep_lib.check(config.settings(exp.train_data).get("keep"),
                       exp.device_ops, "Experiment.device_ops")

        def pipe(context):
            self.shares.append(context)
            dataset = self.train_data(
                source=self.source, batch_size=exp.batch_size, seed=exp.seed,
                start_step=start, input_context=context)
            # Said, because several workers else ask each other before each
            # step whether there is another batch.
            return dataset.apply(tf.data.experimental.assert_cardinality(
                tf.data.INFINITE_CARDINALITY))

        batches = self.strategy.distribute_datasets_from_function(pipe)
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


def _named(variables):
    """{published name: variable}; raises ValueError if two have the same."""
    found = {}
    for variable in variables:
        name = names.of(variable)
        if name in found:
            raise ValueError(
                f"Two variables of the model are called {name!r}, and only one "
                "of them would be trained and saved: give their layers, or the "
                "tf.Variables, names of their own.")
        found[name] = variable
    return found


@contextlib.contextmanager
def precision_policy(precision):
    """Keras layers made inside compute in `precision`."""
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


def _skipping(exp, make, what):
    """`make`, told to skip what does not decode where the experiment says so.
    """
    if not exp.skip_corrupt or "skip_corrupt" in config.settings(make):
        return make
    takes = inspect.signature(make).parameters.values()
    if not any(p.name == "skip_corrupt" or p.kind is p.VAR_KEYWORD
               for p in takes):
        logging.warning("Experiment.skip_corrupt: %s has no argument "
                        "skip_corrupt, and decides by itself.", what)
        return make
    return functools.partial(make, skip_corrupt=True)


def _warn_of_long_average(exp):
    """Says where the average would mostly be of what the run started with."""
    updates = round(1 / (1 - exp.ema_decay))
    if updates > exp.total_steps:
        logging.warning(
            "Experiment.ema_decay=%s averages the weights over about %d "
            "updates, but the run has Experiment.total_steps=%d: %.0f %% of "
            "the average, which is what is evaluated, kept as best and "
            "exported, would still be the weights it started from. Set "
            "Experiment.ema_warmup = True, or a smaller ema_decay.",
            exp.ema_decay, updates, exp.total_steps,
            100 * exp.ema_decay**exp.total_steps)


def check_replicas(exp, replicas):
    """Raises ValueError unless the batch divides evenly over so many."""
    if exp.batch_size % (replicas * exp.accum_steps):
        raise ValueError(
            f"Experiment.batch_size={exp.batch_size} must be a multiple of "
            f"{replicas} replicas x Experiment.accum_steps={exp.accum_steps}.")

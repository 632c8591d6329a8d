"""train(exp, workdir): from an Experiment to a finished run."""

import contextlib
import os

from absl import logging
import tensorflow as tf
import tf_keras

from tfvit import checkpoint
from tfvit import distribute
from tfvit import experiment
from tfvit import loop
from tfvit import metrics
from tfvit import state as state_lib
from tfvit import step as step_lib
from tfvit.data import pipeline
from tfvit.weights import names


def train(exp, workdir):
    """Trains, or continues, the run in `workdir`.

    Args:
      exp: an experiment.Experiment.
      workdir: directory for checkpoints, metrics and labels; may be gs://.

    Returns:
      {evaluator: {metric: value}} of the evaluation after the last step.

    Raises:
      ValueError: something in the experiment or its data cannot work.
      loop.Preempted: SIGTERM came, and everything is saved.
      FloatingPointError: the loss is not finite, or above exp.max_loss.
      MemoryError: a device has too little memory for a step.
    """
    strategy = exp.strategy()
    check_replicas(exp, strategy)
    # Two runs of the same config give the same bits.
    tf.config.experimental.enable_op_determinism()
    tf_keras.utils.set_random_seed(exp.seed % 2**32)
    model, params = build_model(exp, strategy)
    optimizer = exp.optimizer(exp.total_steps)
    state = build_state(exp, params, optimizer, strategy)
    source = exp.train_source()
    build_objective(exp, model).check(source)
    chief = distribute.is_chief(strategy)
    if chief and source.class_names:
        write_labels(source.class_names, workdir)
    evaluators = build_evaluators(exp, model, strategy)

    # The order matters: this run's checkpoint, else pretrained weights, else
    # what the initializers gave.
    checkpoints = checkpoint.Checkpoints(workdir, state,
                                         keep=exp.keep_checkpoints,
                                         writes=chief)
    restored = checkpoints.restore()
    if restored:
        logging.info("Continuing %s from step %d.", workdir, checkpoints.saved)
    else:
        if exp.init:
            exp.init(model)
        state.start_averages()
    metrics.log_parameters(state.params)
    start = int(state.step.numpy())
    if not distribute.same_everywhere(strategy, start):
        raise ValueError(
            f"Not all workers take {workdir} to be at step {start}: each must "
            "see the same directory, such as gs://... or a shared disk.")

    memory = checkpoints.memory.data

    def batches():
        position = int(state.step.numpy()) + loop.skipped_batches(memory)
        return build_data(exp, source, strategy, position)

    iterator = batches()
    train_step = build_step(exp, model, state, optimizer, strategy)
    train_step.trace(iterator)
    if not restored:  # Else the same config passed before; init was not called.
        experiment.check_bindings_used()

    writer = metrics.Writer(workdir if chief else None)
    writer.rewind(memory.get("metrics_bytes", 0))
    writer.images(start, "train/batch", step_lib.apply(
        exp.device_ops, pipeline.preview(exp.train_data, source, exp.seed)))
    try:
        last = loop.run(
            state=state, train=train_step, iterator=iterator, batches=batches,
            evaluate=lambda poll: _evaluate_averaged(state, evaluators, poll),
            checkpoints=checkpoints, writer=writer, lr=optimizer.lr,
            total_steps=exp.total_steps, batch_size=exp.batch_size,
            steps_per_call=exp.steps_per_call, log_every=exp.log_every,
            eval_every=exp.eval_every, checkpoint_every=exp.checkpoint_every,
            best_metric=exp.best_metric, on_nan=exp.on_nan,
            max_loss=exp.max_loss, max_rollbacks=exp.max_rollbacks,
            any_worker=distribute.any_worker(strategy))
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(out_of_memory(exp, error)) from error
    except tf.errors.OpError as error:
        if lost := distribute.lost_worker(error, strategy):
            raise ConnectionError(
                f"Lost {lost}. Start all workers again with the same command; "
                "the run continues from step "
                f"{checkpoints.saved or 0}.") from error
        culprit = pipeline.blame(
            source, seed=exp.seed,
            start_step=int(state.step.numpy()) + loop.skipped_batches(memory),
            num_steps=exp.steps_per_call, batch_size=exp.batch_size)
        if culprit:
            raise ValueError(culprit) from error
        raise
    logging.info("Done: %s", workdir)
    return nested(last)


def build_model(exp, strategy):
    """Makes the model in the strategy's scope.

    Returns:
      (tf_keras.Model, {published name: trainable variable})
    """
    # Of the process: TensorFlow has no setting of a model for it.
    tf.config.experimental.enable_tensor_float_32_execution(exp.tf32)
    with strategy.scope(), precision_policy(exp.precision):
        model = exp.model()
    return model, {names.of(v): v for v in model.trainable_variables}


def build_state(exp, params, optimizer, strategy):
    """Makes what training adds to the model's variables."""
    scale = exp.loss_scale if exp.precision == "mixed_float16" else None
    with strategy.scope():
        state = state_lib.TrainState(
            params, optimizer, strategy, frozen=exp.frozen,
            ema=exp.ema_decay is not None, loss_scale=scale)
    if exp.frozen:
        logging.info("Frozen: %d of %d parameters.",
                     len(params) - len(state.trained), len(params))
    return state


def build_data(exp, source, strategy, start=0):
    """Iterator over the training batches from step `start` on."""
    return iter(strategy.distribute_datasets_from_function(
        lambda context: exp.train_data(
            source=source, batch_size=exp.batch_size, seed=exp.seed,
            start_step=start, input_context=context)))


def build_objective(exp, model):
    """The experiment's objective; one of tfvit.objectives."""
    return exp.objective(model=model, loss=exp.loss, mix=exp.mix)


def build_step(exp, model, state, optimizer, strategy):
    """The experiment's step.make_train_step."""
    return step_lib.make_train_step(
        objective=build_objective(exp, model), state=state,
        gradients=exp.gradients, optimizer=optimizer, strategy=strategy,
        jit=exp.jit, seed=exp.seed, accum_steps=exp.accum_steps,
        clip_norm=exp.clip_norm, lr_multipliers=exp.lr_multipliers,
        ema_decay=exp.ema_decay, device_ops=exp.device_ops)


@contextlib.contextmanager
def precision_policy(precision):
    """Keras layers made inside compute in `precision`."""
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


def check_replicas(exp, strategy):
    """Raises ValueError unless the batch divides evenly."""
    replicas = strategy.num_replicas_in_sync
    if exp.batch_size % (replicas * exp.accum_steps):
        raise ValueError(
            f"Experiment.batch_size={exp.batch_size} must be a multiple of "
            f"{replicas} replicas x Experiment.accum_steps={exp.accum_steps}.")


def build_evaluators(exp, model, strategy):
    """{name: evaluator} of an experiment."""
    return {
        name: make(name=name, model=model, strategy=strategy, jit=exp.jit)
        for name, make in exp.evaluators.items()
    }


def evaluate(evaluators, poll=lambda: None):
    """Runs all evaluators: {"evaluator/metric": value}."""
    return {
        f"{name}/{metric}": value
        for name, evaluator in evaluators.items()
        for metric, value in evaluator.run(poll).items()
    }


def _evaluate_averaged(state, evaluators, poll):
    with state.averaged():
        return evaluate(evaluators, poll)


def out_of_memory(exp, error):
    """What to say of a tf.errors.ResourceExhaustedError."""
    return (
        f"A device is out of memory: {error.message.splitlines()[0]} Turn one "
        "of these knobs, the first two of which cost time alone: the model's "
        "remat = True (vit.vit.remat, mixer.mixer.remat); "
        f"Experiment.accum_steps, now {exp.accum_steps}, doubled; "
        "Experiment.precision = 'mixed_bfloat16' instead of "
        f"{exp.precision!r}; a smaller Experiment.batch_size, now "
        f"{exp.batch_size}, with its learning rate; a smaller image size; for "
        "evaluation, the evaluators' batch_size. --dry_run estimates the "
        "memory of each.")


def nested(flat):
    """{"a/b": v} -> {"a": {"b": v}}."""
    tree = {}
    for name, value in flat.items():
        first, rest = name.split("/", 1)
        tree.setdefault(first, {})[rest] = value
    return tree


def write_labels(class_names, workdir):
    """Writes WORKDIR/labels.txt, one class name a line."""
    tf.io.gfile.makedirs(workdir)
    with tf.io.gfile.GFile(os.path.join(workdir, "labels.txt"), "w") as f:
        f.write("".join(f"{name}\n" for name in class_names))

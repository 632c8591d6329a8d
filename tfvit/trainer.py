"""train(exp, workdir): from an Experiment to a finished run."""

import contextlib
import os

from absl import logging
import tensorflow as tf

from tfvit import config
from tfvit.data import pipeline
from tfvit.data.images import decoding
from tfvit.distribute import cluster
from tfvit.distribute import strategies
from tfvit.engine import actions
from tfvit.engine import banner
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.engine import lock
from tfvit.engine import loop
from tfvit.engine import run_changes
from tfvit.engine import run_config
from tfvit.engine import same_data
from tfvit.engine import start_up
from tfvit.engine import stopping
from tfvit.engine import train_log
from tfvit.engine import writer_thread
from tfvit.engine import writers
from tfvit.storage import errors


def claim(text, workdir, extends=False):
    """Makes a directory that of the run with this config, or goes on with it.

    Args:
      text: the config.
      workdir: the directory.
      extends: see run_config.save.

    Raises:
      ValueError: another run has begun there.
      OSError: another process is at it, or it cannot be written.
    """
    first = cluster.is_first(os.environ.get("TF_CONFIG"))
    if first:  # Who comes second must not change config.gin.
        lock.take(workdir)
    run_config.save(text, workdir, started=checkpoint.steps(workdir),
                    keep=not first, extends=extends)


def train(exp, workdir):
    """Trains, or continues, the run in `workdir`.

    Args:
      exp: an experiment.Experiment.
      workdir: directory for checkpoints, metrics and labels; may be gs://.

    Returns:
      {evaluator: {metric: value}} of the evaluation after the last step.

    Raises:
      ValueError: something in the experiment or its data cannot work.
      stopping.Preempted: SIGTERM or Ctrl-C came, and everything is saved.
      FloatingPointError: the loss is not finite, or above exp.max_loss.
      MemoryError: a device has too little memory for a step.
      ConnectionError: another worker is gone.
      OSError: what a run leaves cannot be written, or another process trains in
        `workdir`.
    """
    begun = start_up.StartUp(counts_imports=True)
    run = build.build(exp)
    run.objective.check(run.source)
    chief = strategies.is_chief(run.strategy)
    with lock.held(workdir) if chief else contextlib.nullcontext():
        return _train(run, workdir, chief, begun)


def _train(run, workdir, chief, begun):
    exp = run.exp
    banner.log(run, workdir)
    # Made now, by all workers, for what cannot work to be said now.
    todo, made = actions.of(exp), writers.make(exp.writers, workdir)
    run.evaluators  # pylint: disable=pointless-statement
    actions.check(todo, run)
    begun.lap("model and evaluators")

    # The order matters: this run's checkpoint, else pretrained weights, else
    # what the initializers gave.
    checkpoints = checkpoint.Checkpoints(workdir, run.state,
                                         keep=exp.keep_checkpoints,
                                         writes=chief)
    restored = checkpoints.restore()
    same_data.check(run.source, checkpoints.memory.data, workdir,
                    run_changes.places(config.text()), restored=restored,
                    writes=chief)
    if restored:
        logging.info("Continuing %s from step %d.", workdir, checkpoints.saved)
        if checkpoints.saved > exp.total_steps:
            raise ValueError(f"{workdir} is at step {checkpoints.saved} "
                             "already, beyond "
                             f"Experiment.total_steps={exp.total_steps}.")
        if chief:
            run_config.renew(config.text(), workdir, checkpoints.saved)
    else:
        if exp.init:
            exp.init(run.model)
        run.state.start_averages()
    checkpoints.memory.data["patch_grid"] = getattr(run.model, "image_grid",
                                                    None)
    table = train_log.parameters(run.params)
    logging.debug("Parameters:\n%s", table)
    if chief and not restored:
        path = os.path.join(workdir, "parameters.txt")
        with errors.writing(path, "Choose another --workdir."):
            with tf.io.gfile.GFile(path, "w") as f:
                f.write(f"{table}\n")
    if not strategies.same_everywhere(run.strategy, run.state.step.numpy()):
        raise ValueError(
            f"Not all workers take {workdir} to be at step "
            f"{run.state.step.numpy()}: each must see the same directory, such "
            "as gs://... or a shared disk.")

    begun.lap("weights")
    training = loop.Training(
        run, checkpoints=checkpoints, chief=chief,
        writers=writer_thread.Writers(made if chief else {},
                                      writer_thread.pause(workdir)),
        any_worker=strategies.any_worker(run.strategy),
        agree=strategies.mean(run.strategy), begun=begun)
    if restored and training.finished and not loop.left(training, todo):
        checkpoints.wait()
        training.writers.close()
        logging.info(
            "%s has all its %d steps already; --extend makes it longer."
            if training.step == exp.total_steps else
            "%s has ended at step %d already; --extend makes it longer.",
            workdir, training.step)
        return nested(training.memory["last"])
    begun.lap("data")
    run.trace(training.iterator)
    begun.lap("tracing")
    actions.check(todo, run)
    if not restored:  # Else the same config passed before; init was not called.
        config.check_bindings_used()
    training.writers.rewind(training.memory.get("writers", {}), training.step)
    if chief and not training.finished:
        training.writers.images(
            training.step, "train/batch", decoding.on_device(
                exp.device_ops,
                pipeline.preview(run.train_data, run.source, exp.seed)))
    if chief:
        lock.begin(workdir)
    try:
        last = _run(training, todo)
    except tf.errors.OpError as error:
        if errors.is_memory(error):
            raise MemoryError(out_of_memory(exp, error)) from error
        if lost := strategies.lost_worker(error, run.strategy):
            raise ConnectionError(
                f"Lost {lost}. Start all workers again with the same command; "
                "the run continues from step "
                f"{checkpoints.saved or 0}.") from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise OSError(
                f"{errors.sentence(error)} With that mended, the same command "
                f"continues {workdir} from step {checkpoints.saved or 0}."
            ) from error
        for share in run.shares:  # Of several workers, this one's.
            culprit = pipeline.blame(
                run.source, seed=exp.seed, start_step=training.position(),
                num_steps=training.pace.steps, batch_size=exp.batch_size,
                input_context=share)
            if culprit:
                raise ValueError(culprit) from error
        raise
    finally:
        training.writers.close()
    logging.info("Done: %s", workdir)
    return nested(last)


def _run(training, todo):
    """loop.run, at whose end the workers wait for each other.

    One that is started again at once would else meet others' old processes.
    """
    try:
        last = loop.run(training, todo)
    except stopping.Preempted:
        training.any_worker(False)
        raise
    training.any_worker(False)
    return last


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

"""What a run would do and cost, without doing it."""

import tensorflow as tf

from tfvit import config
from tfvit.distribute import sharding
from tfvit.engine import actions
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.engine import cost
from tfvit.engine import writers


def report(exp, workdir):
    """Builds and traces a run as training does; trains and writes nothing.

    Datasets that are not on disk are downloaded, as their sizes are not known
    before; checkpoints and pretrained weights are not.

    Args:
      exp: an experiment.Experiment.
      workdir: directory of the run.

    Returns:
      {what: number or text}; memory is in bytes for each replica, estimated as
      cost.peak_bytes does. Gradients are part of what that counts.

    Raises:
      ValueError: something in the experiment or its data cannot work.
    """
    run = build.build(exp)
    run.objective.check(run.source)
    todo = actions.of(exp)
    run.evaluators  # pylint: disable=pointless-statement
    actions.check(todo, run)
    writers.make(exp.writers, workdir)
    iterator = run.batches()
    step = run.train_step.trace(iterator)
    actions.check(todo, run)
    if not exp.init:  # Its bindings are read when it loads.
        config.check_bindings_used()
    model, params, state, source = run.model, run.params, run.state, run.source
    strategy = run.strategy
    slots = [sharding.share(v) for slot in state.slots.values()
             for v in slot.values()]
    ema = list(map(sharding.share, state.ema.values()))
    gradients = _bytes(state.trained.values())
    replicas = len(strategy.extended.worker_devices)  # In this process' graph.
    peak = cost.peak_bytes(step.graph) // replicas
    fixed = _bytes(model.variables) + _bytes(slots) + _bytes(ema)
    return {
        "parameters": sum(v.shape.num_elements() for v in params.values()),
        "trained parameters": gradients // 4,
        "replicas": strategy.num_replicas_in_sync,
        "examples": source.num_examples,
        "steps per epoch": source.num_examples / exp.batch_size,
        "epochs": exp.total_steps * exp.batch_size / source.num_examples,
        # Two towers have no one forward pass.
        **({"forward FLOPs per image": forward_flops(model)}
           if model.inputs else {}),
        "training FLOPs per image":
            cost.flops(step.graph) * strategy.num_replicas_in_sync //
            (replicas * exp.batch_size),
        "memory of weights": _bytes(model.variables),
        "memory of optimizer slots": _bytes(slots),
        "memory of moving averages": _bytes(ema),
        "memory of gradients": gradients,
        "memory of activations": max(peak - gradients, 0),
        "memory in all": fixed + max(peak, gradients),
        "starts from": _start(exp, workdir),
    }


def forward_flops(model):
    """Floating-point operations of a model's outputs for one image."""
    call = tf.function(lambda images: model(images, training=False))
    spec = tf.TensorSpec([1, *model.input_shape[1:]])
    return cost.flops(call.get_concrete_function(spec).graph)


def _bytes(variables):
    return sum(v.shape.num_elements() * v.dtype.size for v in variables)


def _start(exp, workdir):
    """What training would load."""
    if steps := checkpoint.steps(workdir):
        return f"this run's checkpoint of step {steps[-1]}"
    if not exp.init:
        return "random weights"
    arguments = ", ".join(
        f"{k}={v!r}" for k, v in config.settings(exp.init).items())
    name = getattr(exp.init, "func", exp.init).__name__
    return f"{name}({arguments})"


def table(values):
    """A report as lines for people."""
    width = max(map(len, values))
    return "\n".join(f"{name:{width}}  {_readable(name, value)}"
                     for name, value in values.items())


def _readable(name, value):
    if name.startswith("memory"):
        return f"{value / 2**20:,.1f} MiB"
    if "FLOPs" in name:
        return f"{value / 1e9:,.4g} G"
    return f"{value:,.1f}" if isinstance(value, float) else (
        f"{value:,}" if isinstance(value, int) else value)

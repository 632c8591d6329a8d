"""What training says before its first step: what, where, on which devices."""

from absl import logging

from tfvit.distribute import strategies


def log(run, workdir):
    """Logs three lines about a build.Run."""
    exp, source, strategy = run.exp, run.source, run.strategy
    count = sum(v.shape.num_elements() for v in run.params.values())
    classes = len(source.class_names)
    logging.info(
        "%s of %s parameters on %s examples%s: %s steps of %d, %.1f epochs.",
        run.model.name, f"{count:,}", f"{source.num_examples:,}",
        f" of {classes:,} classes" * bool(classes), f"{exp.total_steps:,}",
        exp.batch_size,
        exp.total_steps * exp.batch_size / source.num_examples)
    logging.info("%s gets checkpoints, metrics, config.gin and parameters.txt.",
                 workdir)
    logging.info(
        "%s replica%s on %s by %s, %s%s.", strategy.num_replicas_in_sync,
        "s" * (strategy.num_replicas_in_sync > 1),
        strategies.device_name(strategy), type(strategy).__name__,
        exp.precision,
        ", compiled by XLA" * strategies.use_jit(exp.jit, strategy))

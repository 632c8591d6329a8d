"""Macros of gin files that have no value: counted, or asked for."""

from collections.abc import Mapping, Sequence
import copy

from absl import logging
import tensorflow as tf

from tfvit.bindings import binding_words
from tfvit.bindings import replaced

_EXPERIMENT = ("", "tfvit.experiment.Experiment")


def check(config: Mapping, files: Sequence[str]) -> int | None:
    """Counts the classes of the training data if that is all that is open.

    Args:
      config: what gin holds, {(scope, function): {argument: value}}.
      files: the gin files that it comes from.

    Returns:
      The value of binding_words.COUNTED; None where no macro is open.

    Raises:
      ValueError: a macro has no value; or the data cannot be read.
    """
    missing = sorted(scope for scope, selector in replaced.named(config)
                     if selector == "gin.macro" and
                     (scope, selector) not in config)
    if not missing:
        return None
    classes = _classes(config) if missing == [binding_words.COUNTED] else None
    if not classes:
        raise binding_words.missing(missing, files)
    logging.info("%s = %d, counted in the training data.", *missing, classes)
    return classes


def _classes(config):
    """How many classes the training data has; None where it cannot tell."""
    source = config.get(_EXPERIMENT, {}).get("train_source")
    if not source:
        return None
    try:
        # In a graph: the strategy has yet to set up the devices.
        with tf.Graph().as_default():
            # A copy resolves Gin's references.
            return len(copy.deepcopy(source)().class_names) or None
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        # Not a source with names, or one that needs more than a graph: the
        # caller then asks for the number.
        return None

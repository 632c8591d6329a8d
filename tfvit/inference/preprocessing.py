"""How images reach a finished model: as its run's first evaluator has it."""

import inspect
import json

from absl import logging
import tensorflow as tf

from tfvit import config as config_lib
from tfvit.data.datasets import source
from tfvit.data.images import decoding


def ops(exp, model):
    """Preprocessing for a model of images alone, from bytes to [H, W, 3].

    What an evaluator that only classifies has is taken without building it,
    which takes seconds.
    """
    for name, make in exp.evaluators.items():
        settings = config_lib.settings(make)
        if decoding.op_name(make) == "Classification" and "ops" in settings:
            logging.info("Preprocessing as evaluator %r does.", name)
            return settings["ops"]
        break
    return evaluator(exp, model).ops


def evaluator(exp, model):
    """The first evaluator, which says how inputs are preprocessed.

    It is built without its data, which need not be on this machine: on the
    first stand-in, of captions or labels, that it takes, if it takes any.

    Raises:
      ValueError: none takes any.
    """
    images = getattr(model, "img", model)
    stand_ins = [_labelled(images)]
    if images is not model:
        stand_ins.insert(0, _captioned(images))
    refused = None
    for name, make in exp.evaluators.items():
        for stand_in in stand_ins:
            try:
                made = make(name=name, model=model, jit=False,
                            strategy=tf.distribute.get_strategy(),
                            source=lambda stand_in=stand_in: stand_in)
            except ValueError as error:
                refused = error
                continue
            logging.info("Preprocessing as evaluator %r does.", name)
            return made
    if refused:
        raise refused
    raise ValueError("Experiment.evaluators is empty: it defines how images "
                     "are preprocessed. Bind one, for example as "
                     "gin/recipes/published.gin does.")


def record(ops):
    """Names of ops, all their parameters, and value_range, for JSON."""
    return {
        "preprocessing": [decoding.op_name(op) for op in ops],
        "settings": [_settings(op) for op in ops],
        "value_range": value_range(ops),
    }


def value_range(ops):
    """What becomes of 0 and 255, [low, high]; [] where no op says."""
    return [float(op(tf.constant(value, tf.float32)))
            for op in ops if decoding.op_name(op) == "value_range"
            for value in (0, 255)]


def _settings(op):
    parameters = inspect.signature(op).parameters.values()
    values = {parameter.name: parameter.default for parameter in parameters
              if parameter.default is not parameter.empty}
    values.update(config_lib.settings(op))
    return json.loads(json.dumps(values, default=str))


def _labelled(model):
    """A source of one image with a label."""
    return _one(model, [str(i) for i in range(model.output_shape[-1])],
                lambda index: index)


def _captioned(model):
    """A source of one image with a caption."""
    return _one(model, (), lambda index: tf.constant([""]))


def _one(model, class_names, label):
    return source.Indexed(
        num_examples=1, class_names=class_names,
        fetch=lambda index: {
            "image": tf.zeros(model.input_shape[1:], tf.uint8),
            "label": label(index), "name": "stand-in"
        })

"""What exports and files of weights note of a model's preprocessing."""

import inspect
import json

import tensorflow as tf

from tfvit import config
from tfvit.data.images import decoding


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
    values.update(config.settings(op))
    return json.loads(json.dumps(values, default=str))

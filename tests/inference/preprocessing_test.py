"""What is noted of the preprocessing is what a stranger needs to repeat it."""
import functools

import gin

from tfvit import config
from tfvit.data.images import ops
from tfvit.inference import preprocessing


def test_parameters_are_all_there_the_defaults_too():
    found = preprocessing.record([
        functools.partial(ops.decode, upright=True),
        functools.partial(ops.resize_small, smaller_size=256),
        functools.partial(ops.value_range, low=0.)])
    assert found == {
        "preprocessing": ["decode", "resize_small", "value_range"],
        "settings": [
            {"channels": 3, "upright": True},
            {"smaller_size": 256, "method": "area", "antialias": False,
             "max_aspect": 16.0}, {"low": 0.0, "high": 1.0}],
        "value_range": [0.0, 1.0]}


def test_what_gin_binds_is_noted():
    config.parse(["gin/models/tiny.gin", "gin/recipes/published.gin"],
                 ["NUM_CLASSES = 10", "IMAGE_SIZE = 96"])
    bound = [reference.scoped_configurable_fn for reference in
             gin.query_parameter("classification.Classification.ops")]
    found = preprocessing.record(bound)
    assert found["settings"][:2] == [
        {"channels": 3, "upright": True},
        {"size": 96, "method": "bilinear", "antialias": False}]
    assert found["value_range"] == [-1.0, 1.0]

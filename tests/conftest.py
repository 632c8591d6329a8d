"""Two logical CPUs for all tests, so that replicas can be tested anywhere."""

import logging
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # As the commands do.
os.environ["TFVIT_XLA_CACHE"] = "0"  # But where it is tested.

from absl import flags
import gin
import numpy as np
import pytest
import tensorflow as tf

_define = flags.FlagValues.__setitem__


def _define_again(values, name, flag):
    """Lets several commands, each a process of its own for users, have a flag.
    """
    flag.allow_override = True
    _define(values, name, flag)


flags.FlagValues.__setitem__ = _define_again

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2)


_LEVELS = {name: logging.getLogger(name).level
           for name in (None, "absl", "tensorflow")}


@pytest.fixture(autouse=True)
def log_levels():
    """Begins each test with the levels of a new process.

    Commands, run here within the tests' process, set them, as does a test's
    logging.set_verbosity: what caplog sees would depend on the tests before.
    """
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(autouse=True)
def clean_gin():
    """Leaves no bindings, and no locked config, to the next test."""
    yield
    gin.clear_config()


@pytest.fixture(scope="session")
def golden():
    """Reads tests/goldens/NAME.npz, recorded from the JAX original."""
    folder = pathlib.Path(__file__).parent / "goldens"
    return lambda name: dict(np.load(folder / f"{name}.npz"))

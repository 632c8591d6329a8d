"""What the model tests share: golden arrays and a precision policy."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"

# How the JAX original numbers an encoder block's sublayers -> the published
# files, which ours follow.
PUBLISHED = {
    "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
    "LayerNorm_1": "LayerNorm_2",
    "MlpBlock_0": "MlpBlock_3",
}


def _published(name):
    match = re.fullmatch(r"(.*/encoderblock_\d+)/(\w+)/(.+)", name)
    if not match:
        return name
    block, sublayer, rest = match.groups()
    return f"{block}/{PUBLISHED.get(sublayer, sublayer)}/{rest}"


@pytest.fixture(scope="session")
def golden():
    """golden("vit_token") -> {name in the file: array}."""
    return lambda name: dict(np.load(GOLDENS / f"{name}.npz"))


@pytest.fixture(scope="session")
def assign():
    """assign(weights, arrays, prefix) sets each weight from its namesake."""

    def assign_all(weights, arrays, prefix="params/"):
        arrays = {
            _published(name.removeprefix(prefix)): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        weights = {weight.name.removesuffix(":0"): weight for weight in weights}
        assert set(weights) == set(arrays)
        for name, weight in weights.items():
            # The published GroupNorm arrays are [1, 1, 1, C].
            weight.assign(np.reshape(arrays[name], weight.shape))

    return assign_all


@pytest.fixture(scope="session")
def assert_close_in_bfloat16():
    """Asserts that a model's outputs are float32, and near the recorded ones.

    `precisions` is how many times the precision of bfloat16, at the size of the
    outputs, they may be off.
    """

    def check(model, arrays, precisions):
        outputs = model(arrays["images"])
        assert outputs.dtype == tf.float32
        size = np.abs(arrays["outputs"]).max()
        np.testing.assert_allclose(outputs, arrays["outputs"], rtol=0,
                                   atol=precisions * 2**-8 * size)

    return check


@pytest.fixture
def bfloat16():
    """Builds models for bfloat16 arithmetic inside the test."""
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    tf_keras.mixed_precision.set_global_policy("float32")

"""What the tests of weights share."""

import pytest

from tests import toy
from tfvit.weights import names


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "weights.npz")


@pytest.fixture(scope="session")
def params(golden):
    """params("vit_token") -> {name in the JAX original: array}."""

    def read(name, prefix="params/"):
        return {
            key.removeprefix(prefix): value
            for key, value in golden(name).items()
            if key.startswith(prefix)
        }

    return read


@pytest.fixture(scope="session")
def tiny():
    """Builds the ViT of the golden files, or a variant of it."""
    return toy.recorded_vit


@pytest.fixture(scope="session")
def values():
    """values(model) -> {published name: array}."""
    return lambda model: {names.of(v): v.numpy() for v in model.weights}

"""Eigenvalues and losses against numpy, on a model with a known Hessian."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import toy
from tfvit.data.datasets import source
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.evaluators import sharpness
from tfvit.optimize import losses

STRATEGIES = {"one": strategies.one_device, "two": strategies.logical_cpus}
SHARPNESS = functools.partial(
    sharpness.Sharpness, name="sharpness", source=lambda: toy.images(13),
    ops=[ops.decode, functools.partial(ops.resize, size=2), ops.value_range],
    batch_size=4, loss=losses.softmax_xent, num_batches=None,
    tolerance=1e-6)


@pytest.fixture(scope="module", params=STRATEGIES)
def linear(request):
    """(strategy, model, features [13, 12], labels [13, 7])."""
    strategy = STRATEGIES[request.param]()
    with strategy.scope():
        inputs = tf_keras.Input([2, 2, 3])
        x = tf_keras.layers.Flatten()(inputs)
        initializer = tf_keras.initializers.RandomNormal(seed=0)
        model = tf_keras.Model(inputs, tf_keras.layers.Dense(
            7, use_bias=False, kernel_initializer=initializer)(x))
    records = list(toy.images(13).examples())
    features = np.stack([
        ops.value_range(ops.resize(r["image"], size=2)) for r in records])
    labels = np.eye(7)[[int(r["label"]) for r in records]]
    return strategy, model, features.reshape(13, 12), labels


def _loss(kernel, x, y):
    logits = x @ kernel
    log_z = np.log(np.exp(logits).sum(1))
    return np.mean(log_z - (logits * y).sum(1))


def _probabilities(kernel, x):
    exp = np.exp(x @ kernel)
    return exp / exp.sum(1, keepdims=True)


@pytest.mark.parametrize("jit", [False, True])
def test_equals_logistic_regression_by_hand(linear, jit):
    strategy, model, x, y = linear
    evaluator = SHARPNESS(model=model, strategy=strategy, jit=jit,
                          radii=(0.3, -0.2))
    before = model.get_weights()[0]
    kernel = before.astype(np.float64)
    result = evaluator.run()
    p = _probabilities(kernel, x)
    # d2 loss / dW_ic dW_jd = mean of x_i x_j (p_c [c = d] - p_c p_d).
    inner = p[:, :, None] * (np.eye(7) - p[:, None, :])
    hessian = np.einsum("ni,nj,ncd->icjd", x, x, inner).reshape(84, 84) / 13
    gradient = x.T @ (p - y) / 13
    gradient /= np.linalg.norm(gradient)
    assert result == {
        "top_eigenvalue": pytest.approx(np.linalg.eigvalsh(hessian)[-1],
                                        rel=1e-3),
        "loss": pytest.approx(_loss(kernel, x, y), rel=1e-5),
        "loss_at_0.3": pytest.approx(_loss(kernel + 0.3 * gradient, x, y),
                                     rel=1e-5),
        "loss_at_-0.2": pytest.approx(_loss(kernel - 0.2 * gradient, x, y),
                                      rel=1e-5),
        "examples": 13,
    }
    for copy in strategy.experimental_local_results(model.weights[0]):
        assert copy.numpy().tobytes() == before.tobytes()


def test_the_loss_is_the_one_that_training_descends(linear):
    strategy, model, x, y = linear
    smoothed = functools.partial(losses.softmax_xent, label_smoothing=0.1)
    evaluator = SHARPNESS(model=model, strategy=strategy, jit=False,
                          loss=smoothed)
    (value,), _ = evaluator.along([0.0])
    assert value == pytest.approx(_loss(
        model.get_weights()[0], x, 0.9 * y + 0.1 / 7), rel=1e-5)


def test_a_poll_that_raises_leaves_the_weights_alone(linear):
    strategy, model, _, _ = linear
    evaluator = SHARPNESS(model=model, strategy=strategy, jit=False)
    before = model.get_weights()[0]
    calls = iter(range(100))

    def poll():
        if next(calls) == 8:  # Four batches for the gradient, four at 0.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator.along((0.0, 1.0), poll)
    for copy in strategy.experimental_local_results(model.weights[0]):
        assert copy.numpy().tobytes() == before.tobytes()


def test_only_the_first_batches_count(linear):
    strategy, model, x, y = linear
    evaluator = SHARPNESS(model=model, strategy=strategy, jit=False,
                          num_batches=2)
    (value,), examples = evaluator.along([0.0])
    kernel = model.get_weights()[0]
    assert examples == 8
    assert value == pytest.approx(_loss(kernel, x[:8], y[:8]), rel=1e-5)


def test_the_top_eigenvalue_is_found_where_a_negative_one_is_larger():
    inputs = tf_keras.Input([1, 1, 3])
    x = tf_keras.layers.Flatten()(inputs)
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(
        1, use_bias=False, kernel_initializer="ones")(x))
    # The images are the unit vectors: the Hessian is diagonal.
    pixels = tf.constant(255 * np.eye(3), tf.uint8)
    curvatures = np.float32([0.5, -3.0, 2.0])
    evaluator = SHARPNESS(
        model=model, strategy=strategies.one_device(), jit=False, batch_size=3,
        source=lambda: source.Indexed(
            num_examples=3, class_names=["only"], fetch=lambda i: {
                "image": pixels[i][None, None], "label": i * 0, "name": ""
            }),
        ops=[functools.partial(ops.value_range, low=0.0)],
        loss=lambda logits, labels: 1.5 * curvatures * logits[:, 0]**2)
    assert evaluator.top_eigenvalue() == pytest.approx(2.0, rel=1e-3)

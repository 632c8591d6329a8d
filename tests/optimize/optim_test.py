"""Optimizers against a few lines of numpy."""

import numpy as np
import pytest
import tensorflow as tf

from tfvit.optimize import optim

RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(size=(6, 4)).astype(np.float32)
START = RNG.normal(size=4).astype(np.float32)


def _schedule(step, *, base, total_steps):
    return base * (1.0 - tf.cast(step, tf.float32) / total_steps)


def _run(optimizer, name="a/kernel", *, start=START, gradients=GRADIENTS):
    value = tf.constant(start)
    slots = {
        k: tf.zeros(shape, dtype)
        for k, (shape, dtype) in optimizer.slots(start.shape).items()
    }
    for step, gradient in enumerate(gradients):
        value, slots = optimizer.update(name, value, gradient, slots,
                                        lr=optimizer.lr(step),
                                        step=float(step))
    return value.numpy()


def test_sgd_is_heavy_ball_momentum():
    value, moment = START.copy(), 0.0
    for step, gradient in enumerate(GRADIENTS):
        moment = gradient + 0.9 * moment
        value -= 0.1 * (1 - step / 6) * moment
    ours = _run(optim.sgd(6, lr=0.1, schedule=_schedule, accumulator="float32"))
    np.testing.assert_allclose(ours, value, rtol=1e-5)


def test_bfloat16_momentum_decays_by_bfloat16_of_its_rate():
    round_ = lambda x: tf.cast(tf.cast(x, tf.bfloat16), tf.float32).numpy()
    value, stored = START.copy(), np.zeros(4, np.float32)
    for step, gradient in enumerate(GRADIENTS):
        moment = gradient + np.float32(0.8984375) * stored
        value -= np.float32(0.1 * (1 - step / 6)) * moment
        stored = round_(moment)
    ours = _run(optim.sgd(6, lr=0.1, schedule=_schedule))
    np.testing.assert_allclose(ours, value, rtol=1e-5)


def _adamw(weight_decay):
    value = START.astype(np.float64)
    first = second = 0.0
    for step, gradient in enumerate(GRADIENTS):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        adam = (first / (1 - 0.9**(step + 1))) / (
            np.sqrt(second / (1 - 0.999**(step + 1))) + 1e-8)
        value -= 0.1 * (1 - step / 6) * (adam + weight_decay * value)
    return value


def test_adamw_decays_decoupled_from_the_gradient():
    ours = _run(
        optim.adamw(6, lr=0.1, schedule=_schedule, weight_decay=0.3))
    np.testing.assert_allclose(ours, _adamw(0.3), rtol=1e-4)


def test_adamw_decays_kernels_only():
    optimizer = optim.adamw(6, lr=0.1, schedule=_schedule, weight_decay=0.3)
    for name in ("a/bias", "LayerNorm_0/scale", "pos_embedding", "cls"):
        np.testing.assert_allclose(_run(optimizer, name), _adamw(0.0),
                                   rtol=1e-4)


def test_clipping_scales_to_the_limit_and_leaves_smaller_gradients():
    grads = [tf.constant([3.0]), tf.constant([4.0])]
    clip = lambda limit: [
        g.numpy()[0] for g in optim.clip_by_global_norm(grads, 5.0, limit)
    ]
    np.testing.assert_allclose(clip(1.0), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(clip(10.0), [3.0, 4.0])


def _adafactor(gradients, start, *, clip_rms, weight_decay):
    """The formulas of arXiv 2106.04560 for a matrix, in float64."""
    value, moment, rows, columns = start.astype(np.float64), 0.0, 0.0, 0.0
    for step, gradient in enumerate(gradients):
        beta2 = min(0.999, 1 - (step + 1)**-0.8)
        squares = gradient.astype(np.float64)**2
        rows = beta2 * rows + (1 - beta2) * squares.mean(1, keepdims=True)
        columns = beta2 * columns + (1 - beta2) * squares.mean(0, keepdims=True)
        scaled = gradient / np.sqrt(rows * columns / rows.mean())
        if clip_rms:
            scaled /= max(1, np.sqrt((scaled**2).mean()) / clip_rms)
        moment = 0.9 * moment + 0.1 * scaled
        value -= 0.1 * (1 - step / 6) * (moment + weight_decay * value)
    return value


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("clip_rms", [None, 0.5])
def test_adafactor_factors_the_squares_of_matrices(clip_rms, transposed):
    turn = np.transpose if transposed else lambda x: x
    gradients = [turn(RNG.normal(size=(33, 40)).astype(np.float32))
                 for _ in range(6)]
    start = turn(RNG.normal(size=(33, 40)).astype(np.float32))
    optimizer = optim.adafactor(6, lr=0.1, schedule=_schedule, weight_decay=0.3,
                                clip_rms=clip_rms, first_moment="float32")
    shapes = {k: tuple(s) for k, (s, _) in optimizer.slots(start.shape).items()}
    assert sorted(shapes.values()) == sorted([(33,), (40,), start.shape])
    np.testing.assert_allclose(
        _run(optimizer, start=start, gradients=gradients),
        _adafactor(gradients, start, clip_rms=clip_rms, weight_decay=0.3),
        rtol=1e-4, atol=1e-5)


def test_adafactor_factors_the_two_longest_axes_of_a_tensor():
    shapes = {
        k: tuple(s) for k, (s, _) in optim.adafactor(
            6, lr=0.1, schedule=_schedule, weight_decay=0.0).slots(
                (64, 3, 32)).items()
    }
    assert shapes == {"moment": (64, 3, 32), "squares_without_longest": (3, 32),
                      "squares_without_second": (64, 3)}
    # Along the axis in between nothing is shared, so three matrices of one
    # tensor, in a tensor of three, go their own ways but for their mean.
    gradients = [np.tile(RNG.normal(size=(64, 1, 32)), (1, 3, 1)).astype(
        np.float32) for _ in range(6)]
    start = np.zeros((64, 3, 32), np.float32)
    optimizer = optim.adafactor(6, lr=0.1, schedule=_schedule, weight_decay=0.0,
                                first_moment="float32")
    tensor = _run(optimizer, start=start, gradients=gradients)
    matrix = _adafactor([g[:, 0] for g in gradients], start[:, 0],
                        clip_rms=None, weight_decay=0.0)
    for i in range(3):
        np.testing.assert_allclose(tensor[:, i], matrix, rtol=1e-4, atol=1e-6)


def test_adafactor_keeps_all_squares_of_small_variables():
    value, moment, squares = START.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS):
        beta2 = min(0.999, 1 - (step + 1)**-0.8)
        squares = beta2 * squares + (1 - beta2) * gradient**2
        moment = 0.9 * moment + 0.1 * gradient / np.sqrt(squares)
        value -= 0.1 * (1 - step / 6) * moment
    optimizer = optim.adafactor(6, lr=0.1, schedule=_schedule, weight_decay=0.3,
                                first_moment="float32")
    np.testing.assert_allclose(_run(optimizer, "a/bias"), value, rtol=1e-4)


def test_adafactor_caps_the_decay_of_squares():
    optimizer = optim.adafactor(10**6, lr=1.0, schedule=_schedule,
                                weight_decay=0.0, first_moment="float32")
    ones = tf.ones([4])
    slots = {"moment": tf.zeros([4]), "squares": 4 * ones}
    _, new = optimizer.update("a/bias", ones, ones, slots, lr=0.0, step=1e9)
    np.testing.assert_allclose(new["squares"], [0.999 * 4 + 0.001] * 4,
                               rtol=1e-6)

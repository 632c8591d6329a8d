"""SAM and GSAM against the JAX recordings, and what they do on replicas."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import toy
from tests.engine import step_test
from tfvit.distribute import strategies
from tfvit.engine import state as state_lib
from tfvit.engine import step
from tfvit.optimize import gradients
from tfvit.optimize import losses
from tfvit.optimize import objectives
from tfvit.optimize import optim

STRATEGIES = {"one": strategies.one_device, "two": strategies.logical_cpus}
SAM = functools.partial(gradients.sam, rho=0.05)
GSAM = functools.partial(gradients.gsam, rho_min=0.1, rho_max=0.6, lr_min=3e-5,
                         lr_max=3e-3, alpha=0.6)
GOLDENS = {"sam": SAM, "gsam": GSAM}
GSAM_LR = 1.5e-3  # Of the recording.
GSAM_RHO = 0.1 + 0.5 * (1.5e-3 - 3e-5) / (3e-3 - 3e-5)


def constant(step, *, base, total_steps):
    del step, total_steps
    return tf.constant(base)


def _model(golden, depth=0, **model_args):
    """The recordings' model, and its parameters by name.

    Without its two blocks, which are most of the work of tracing and compiling,
    what is left is a small function that is not linear.
    """
    model = toy.recorded_vit(depth=depth, **model_args)
    start = golden("vit_token")
    params = {v.name.split(":")[0]: v for v in model.trainable_variables}
    for name, variable in params.items():
        variable.assign(start[step_test.linen(name)])
    return model, params


def _data(golden):
    data = golden("finetune_data")
    return (data["images"].astype(np.float32).reshape(-1, 32, 32, 3),
            data["labels"].reshape(-1).astype(np.int64))


def _train(golden, method, *, replicas="one", jit=False, accum_steps=1, lr=0.0,
           steps=1, weights=None, clip_norm=None, **model_args):
    """Trains; returns (metrics, the last update's gradient, params)."""
    # Without momentum, the slot holds the gradient.
    optimizer = optim.sgd(steps, lr=lr, schedule=constant, momentum=0.0,
                          accumulator="float32")
    strategy = STRATEGIES[replicas]()
    with strategy.scope():
        model, params = _model(golden, **model_args)
        state = state_lib.TrainState(params, optimizer, strategy)
    train = step.make_train_step(
        objective=objectives.Supervised(model=model, loss=losses.softmax_xent),
        state=state, gradients=method,
        optimizer=optimizer, strategy=strategy, jit=jit, seed=0,
        accum_steps=accum_steps, clip_norm=clip_norm)
    images, labels = _data(golden)
    batches = {"images": images, "labels": labels}
    if weights is not None:
        batches["weights"] = np.tile(np.float32(weights), 20)
    iterator = iter(strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensor_slices(batches).batch(
            context.get_per_replica_batch_size(8), drop_remainder=True)))
    metrics = {k: v.numpy() for k, v in train(iterator, steps).items()}
    momentum = state.slots["momentum"]
    return metrics, {k: v.numpy() for k, v in momentum.items()}, params


def _by_hand(golden, combine, examples, *, rho, adaptive=False):
    """Mean of combine(g, g at w + e) over replicas with these examples."""
    model, params = _model(golden)
    images, labels = _data(golden)
    start = [v.numpy() for v in params.values()]

    @tf.function  # The kernels of graph mode round differently.
    def value_and_gradients(images, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                losses.softmax_xent(model(images), tf.one_hot(labels, 10)))
        return tape.gradient(loss, list(params.values()))

    def gradient(part, values):
        for variable, value in zip(params.values(), values):
            variable.assign(value)
        return [np.float64(tf.convert_to_tensor(g))
                for g in value_and_gradients(images[part], labels[part])]

    total = 0
    for part in examples:
        g = gradient(part, start)
        # In float32, as the rounding of w + e moves the result by 1e-6.
        scale = np.float32(rho / np.linalg.norm(_flat(g)))
        size = [np.abs(w) if adaptive else np.float32(1) for w in start]
        there = gradient(part, [
            w + scale * np.float32(x) * s for w, s, x in zip(start, size, g)
        ])
        total += combine(_flat(g), _flat(there)) / len(examples)
    return total


def _flat(arrays):
    if isinstance(arrays, dict):
        arrays = arrays.values()
    return np.concatenate([np.ravel(a) for a in arrays])


def _check(ours, expected, bound):
    error = np.linalg.norm(_flat(ours) - expected) / np.linalg.norm(expected)
    assert error < bound


def _gsam_by_hand(g, there):
    unit = there / np.linalg.norm(there)
    return there - 0.6 * (g - np.dot(unit, g) * unit)


@pytest.mark.parametrize("name, replicas, jit, accum_steps", [
    ("sam", "one", False, 1),
    pytest.param("sam", "one", True, 2, marks=pytest.mark.slow),
    pytest.param("sam", "two", True, 1, marks=pytest.mark.slow),
    pytest.param("gsam", "one", False, 2, marks=pytest.mark.slow),
    pytest.param("gsam", "one", True, 1, marks=pytest.mark.slow),
    ("gsam", "two", False, 2),
])
def test_equals_the_original(golden, name, replicas, jit, accum_steps):
    expected = golden(name)
    # The recordings are of one worker: two equal one if they work together.
    method = functools.partial(GOLDENS[name], synchronized=replicas == "two")
    metrics, ours, params = _train(golden, method, replicas=replicas, jit=jit,
                                   accum_steps=accum_steps, lr=GSAM_LR, depth=2)
    grads = [expected[step_test.linen(k).replace("params/", "grads/")]
             for k in params]
    _check(ours, _flat(grads), 1e-5)
    for key in {"loss", "perturbed_loss", "rho"} & set(expected):
        np.testing.assert_allclose(metrics[key], [expected[key]], rtol=1e-5)
    np.testing.assert_allclose(
        metrics["surrogate_gap"],
        [expected["perturbed_loss"] - expected["loss"]], rtol=1e-3)
    np.testing.assert_allclose(metrics["grad_norm"],
                               [np.linalg.norm(_flat(grads))], rtol=1e-5)


@pytest.mark.parametrize("method, combine, rho, jit, bound", [
    (SAM, lambda g, there: there, 0.05, False, 1e-6),
    (GSAM, _gsam_by_hand, GSAM_RHO, False, 1e-6),
    (GSAM, _gsam_by_hand, GSAM_RHO, True, 5e-6),  # XLA rounds otherwise.
])
def test_each_replica_perturbs_with_its_own_gradient(golden, method, combine,
                                                     rho, jit, bound):
    _, ours, _ = _train(golden, method, replicas="two", jit=jit, lr=GSAM_LR)
    halves = [slice(0, 4), slice(4, 8)]
    _check(ours, _by_hand(golden, combine, halves, rho=rho), bound)
    # The test can tell: working together gives something else.
    together = _by_hand(golden, combine, [slice(0, 8)], rho=rho)
    assert np.linalg.norm(_flat(ours) - together) > 1e-3 * np.linalg.norm(
        together)


def test_the_adaptive_perturbation_scales_with_the_weights(golden):
    method = functools.partial(gradients.sam, rho=2.0, adaptive=True)
    _, ours, _ = _train(golden, method)
    _check(ours, _by_hand(golden, lambda g, there: there, [slice(0, 8)],
                          rho=2.0, adaptive=True), 1e-5)


@pytest.mark.parametrize("method, same", [
    (functools.partial(GSAM, rho_min=0.05, rho_max=0.05, alpha=0.0), SAM),
    (functools.partial(gradients.sam, rho=0.0), gradients.plain),
    (functools.partial(gradients.sam, rho=0.0, every=2), gradients.plain),
])
def test_limits_are_exact(golden, method, same):
    metrics, ours, _ = _train(golden, method, lr=GSAM_LR, steps=2,
                              dropout_rate=0.3)
    expected, theirs, _ = _train(golden, same, lr=GSAM_LR, steps=2,
                                 dropout_rate=0.3)
    for name in expected:
        np.testing.assert_array_equal(metrics[name], expected[name])
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)


@pytest.mark.parametrize("replicas, jit, options", [
    ("one", True, {"every": 2}),
    pytest.param("two", True, {"every": 2}, marks=pytest.mark.slow),
    ("two", False, {"synchronized": True, "adaptive": True}),
])
def test_the_perturbation_is_gone_bit_for_bit(golden, replicas, jit, options):
    method = functools.partial(GSAM, **options)
    _, before = _model(golden)
    metrics, grads, after = _train(golden, method, replicas=replicas, jit=jit,
                                   accum_steps=2, steps=3)  # lr = 0.
    assert metrics["surrogate_gap"].max() > 1e-3
    for name, variable in after.items():
        copies = variable.values if replicas == "two" else [variable]
        for copy in copies:
            assert copy.numpy().tobytes() == before[name].numpy().tobytes()
    assert np.isfinite(_flat(grads)).all()


def test_what_is_clipped_is_the_gradient_of_sam(golden):
    _, free, _ = _train(golden, SAM, replicas="two")
    metrics, ours, _ = _train(golden, SAM, replicas="two", clip_norm=0.1)
    norm = np.linalg.norm(_flat(free))
    assert norm > 0.2
    np.testing.assert_allclose(metrics["grad_norm"], [norm], rtol=1e-6)
    _check(ours, _flat(free) * (0.1 / norm), 1e-6)


def test_both_gradients_draw_the_same_dropout_masks(golden):
    metrics, _, _ = _train(golden, functools.partial(gradients.sam, rho=0.0),
                           replicas="two", accum_steps=2, dropout_rate=0.5)
    np.testing.assert_array_equal(metrics["perturbed_loss"], metrics["loss"])


def test_every_other_step_is_plain(golden):
    metrics, ours, _ = _train(golden, functools.partial(SAM, every=2), steps=4)
    np.testing.assert_array_equal(metrics["rho"],
                                  np.float32([0.05, 0, 0.05, 0]))
    np.testing.assert_array_equal(metrics["surrogate_gap"] > 0,
                                  [True, False, True, False])
    _, expected, _ = _train(golden, gradients.plain, steps=4)
    _check(ours, _flat(expected), 1e-6)


@pytest.mark.parametrize("lr, rho", [
    (0.0, 0.1),  # The first step of a warm-up.
    (3e-5, 0.1),
    (2.2575e-3, 0.475),
    (3e-3, 0.6),
])
def test_rho_follows_the_learning_rate(lr, rho):
    variable = tf.Variable([1.0])
    metrics, _ = GSAM(lambda synchronized: (tf.constant(1.0), [variable * 2.0]),
                      [variable], tf.constant(lr), tf.constant(0, tf.int64))
    np.testing.assert_allclose(metrics["rho"], rho, rtol=1e-5)


def test_weights_count_in_the_synchronized_perturbation(golden):
    weights = [1, 0, 0, 0, 1, 1, 0, 1]
    method = functools.partial(SAM, synchronized=True)
    _, ours, _ = _train(golden, method, replicas="two", weights=weights)
    kept = np.flatnonzero(weights)
    _check(ours, _by_hand(golden, lambda g, there: there, [kept], rho=0.05),
           1e-5)


def test_a_replica_without_examples_stays_finite(golden):
    metrics, ours, _ = _train(golden, GSAM, replicas="two",
                              weights=[1, 1, 1, 1, 0, 0, 0, 0])
    assert all(np.isfinite(v).all() for v in metrics.values())
    _check(ours, _by_hand(golden, _gsam_by_hand, [slice(0, 4)], rho=0.1), 1e-5)


def test_mixed_precision_perturbs_in_float32(golden):
    _, expected, _ = _train(golden, SAM)
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        metrics, ours, params = _train(golden, SAM)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    start = golden("vit_token")
    for name, variable in params.items():
        np.testing.assert_array_equal(variable, start[step_test.linen(name)])
    _check(ours, _flat(expected), 0.1)  # Plain gradients differ by 0.03.
    assert metrics["perturbed_loss"] > metrics["loss"]


@pytest.mark.parametrize("method, message", [
    (functools.partial(SAM, every=0), "every=0"),
    (functools.partial(SAM, every=2, synchronized=True), "every=2.*synchron"),
    (functools.partial(GSAM, rho_min=0.7), "rho_min=0.7.*rho_max=0.6"),
    (functools.partial(GSAM, lr_max=1e-5), "lr_min=3e-05.*lr_max=1e-05"),
])
def test_settings_that_cannot_work_are_refused(method, message):
    with pytest.raises(ValueError, match=message):
        method(None, [], tf.constant(1e-3), tf.constant(0, tf.int64))

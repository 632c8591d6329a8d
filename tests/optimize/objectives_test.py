"""Contrastive training: replicas, micro-batches and a locked tower."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import two_towers
from tfvit.data.datasets import captions
from tfvit.data.datasets import sources
from tfvit.distribute import strategies
from tfvit.engine import state as state_lib
from tfvit.engine import step
from tfvit.models import vit
from tfvit.optimize import gradients
from tfvit.optimize import losses
from tfvit.optimize import objectives
from tfvit.optimize import optim
from tfvit.weights import names

STRATEGIES = {"one": strategies.one_device, "two": strategies.logical_cpus}
B = 8
RANDOM = np.random.default_rng(0)
BATCH = {
    "images": RANDOM.normal(size=[50 * B, 4, 4, 3]).astype(np.float32),
    "tokens": RANDOM.integers(0, 50, [50 * B, 3]).astype(np.int32),
}
LOSSES = {
    "softmax": losses.contrastive_softmax,
    "sigmoid": losses.contrastive_sigmoid,
}


def constant(step, *, base, total_steps):
    del step, total_steps
    return tf.constant(base)


def setup(strategy, *, loss="softmax", accum_steps=1, jit=False, lr=0.0,
          frozen=None, weights=None, method=gradients.plain, **model_args):
    """(train function, iterator, state), with weights that do not vary."""
    optimizer = optim.sgd(50, lr=lr, schedule=constant, momentum=0.0,
                          accumulator="float32")
    with strategy.scope():
        model = two_towers.build(bias_init=-2.0, **model_args)
        params = {names.of(v): v for v in model.trainable_variables}
        for i, (name, v) in enumerate(sorted(params.items())):
            if len(v.shape) > 1:
                v.assign(np.random.default_rng(i).normal(size=v.shape) * 0.3)
        state = state_lib.TrainState(params, optimizer, strategy, frozen=frozen)
    train = step.make_train_step(
        objective=objectives.Contrastive(model=model, loss=LOSSES[loss]),
        state=state, gradients=method, optimizer=optimizer, strategy=strategy,
        jit=jit, seed=0, accum_steps=accum_steps, clip_norm=None)
    batches = dict(BATCH)
    if weights is not None:
        batches["weights"] = np.tile(np.float32(weights), 50)
    iterator = iter(strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensor_slices(batches).batch(
            context.get_per_replica_batch_size(B), drop_remainder=True)))
    return train, iterator, state, model


def first_gradient(*args, **kwargs):
    """(loss, {name: gradient}) of the first step; the slot holds it."""
    train, iterator, state, _ = setup(*args, **kwargs)
    loss = train(iterator, 1)["loss"].numpy()[0]
    return loss, {k: v.numpy() for k, v in state.slots["momentum"].items()}


def expected(loss, keep=range(B), **kwargs):
    """The same of the whole batch on one device, by a plain tape."""
    _, _, state, model = setup(strategies.one_device(), loss=loss, **kwargs)
    keep = list(keep)
    with tf.GradientTape() as tape:
        value = by_hand(
            loss, model.embed_images(BATCH["images"][:B][keep]),
            model.embed_texts(BATCH["tokens"][:B][keep]), model.temperature(),
            model.bias())
    grads = tape.gradient(
        value, list(state.params.values()),
        unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return value.numpy(), dict(zip(state.params, [g.numpy() for g in grads]))


def by_hand(loss, images, texts, temperature, bias):
    """The mean loss, from the papers' formulas, term by term."""
    logits = temperature * images @ tf.transpose(texts)
    if loss == "softmax":
        p, q = tf.exp(logits), tf.exp(tf.transpose(logits))
        return -0.5 * sum(
            tf.reduce_mean(tf.math.log(tf.linalg.diag_part(
                x / tf.reduce_sum(x, 1, keepdims=True)))) for x in (p, q))
    signs = 2.0 * tf.eye(len(logits)) - 1.0
    return -tf.reduce_mean(tf.reduce_sum(
        tf.math.log(1 / (1 + tf.exp(-signs * (logits + bias)))), 1))


def check(found, wanted, rtol=1e-6):
    np.testing.assert_allclose(found[0], wanted[0], rtol=rtol)
    assert found[1]
    for name, grad in found[1].items():
        error = np.linalg.norm(grad - wanted[1][name])
        scale = np.linalg.norm(np.concatenate(
            [np.ravel(g) for g in wanted[1].values()]))
        assert error <= rtol * scale, (name, error, scale)


@pytest.mark.parametrize("loss, replicas, accum_steps, jit", [
    ("softmax", "one", 4, True), ("softmax", "two", 2, False),
    ("sigmoid", "two", 2, False),
    *(pytest.param(*row, marks=pytest.mark.slow) for row in (
        ("sigmoid", "one", 4, True), ("softmax", "two", 1, True),
        ("sigmoid", "two", 1, True), ("softmax", "one", 1, False))),
])
def test_every_pair_counts_against_the_whole_global_batch(
        loss, replicas, accum_steps, jit):
    found = first_gradient(STRATEGIES[replicas](), loss=loss, jit=jit,
                           accum_steps=accum_steps)
    check(found, expected(loss))


def test_losses_equal_numpy():
    z = RANDOM.normal(size=[2, 5, 3])
    logits = 3.0 * z[0] @ z[1].T  # [images, texts]
    log_p = [x - np.log(np.exp(x).sum(1, keepdims=True))
             for x in (logits, logits.T)]
    rows = -0.5 * (np.diag(log_p[0]) + np.diag(log_p[1]))
    found = losses.contrastive_softmax(
        *tf.constant(z, tf.float32), own=tf.constant([2, 3]),
        temperature=tf.constant(3.0), bias=tf.constant(0.0))
    np.testing.assert_allclose(found, rows[[2, 3]], rtol=1e-6)
    signs = 2 * np.eye(5) - 1
    rows = np.log1p(np.exp(-signs * (logits - 1.5))).sum(1)
    found = losses.contrastive_sigmoid(
        *tf.constant(z, tf.float32), own=tf.constant([2, 3]),
        temperature=tf.constant(3.0), bias=tf.constant(-1.5))
    np.testing.assert_allclose(found, rows[[2, 3]], rtol=1e-6)


@pytest.mark.parametrize("loss, replicas", [
    ("softmax", "two"), ("sigmoid", "one"),
    pytest.param("sigmoid", "two", marks=pytest.mark.slow)])
def test_pairs_of_weight_zero_are_neither_right_nor_wrong(loss, replicas):
    found = first_gradient(STRATEGIES[replicas](), loss=loss,
                           weights=[1, 0, 0, 0, 1, 1, 1, 1])
    check(found, expected(loss, keep=[0, 4, 5, 6, 7]))


def test_both_passes_draw_the_same_dropout():
    # Halves of a batch drop alike on one replica in two micro-batches, and in
    # the two passes, or the surrogate's gradient would not be the loss's.
    kwargs = dict(dropout_rate=0.2, accum_steps=2)
    loss, grads = first_gradient(strategies.one_device(), **kwargs)
    eps = 1e-3
    direction = {k: np.sign(g) for k, g in grads.items()}

    def at(offset):
        train, iterator, state, _ = setup(strategies.one_device(), **kwargs)
        for name, v in state.params.items():
            v.assign_add(offset * direction[name])
        return train(iterator, 1)["loss"].numpy()[0]

    slope = (at(eps) - at(-eps)) / (2 * eps)
    total = sum(np.abs(g).sum() for g in grads.values())
    np.testing.assert_allclose(slope, total, rtol=2e-2)
    assert abs(loss - first_gradient(strategies.one_device())[0]) > 1e-3


@pytest.mark.parametrize("replicas, accum_steps, jit",
                         [("one", 1, True), ("two", 2, False)])
def test_a_locked_tower_keeps_its_bits_and_has_no_slots(
        replicas, accum_steps, jit):
    train, iterator, state, _ = setup(STRATEGIES[replicas](), lr=0.1, jit=jit,
                                      accum_steps=accum_steps,
                                      frozen="img/.*", dropout_rate=0.2)
    before = {k: v.numpy() for k, v in state.params.items()}
    values = train(iterator, 50)
    assert values["loss"][-10:].numpy().mean() < values["loss"][0]
    for name, v in state.params.items():
        same = np.array_equal(before[name], v.numpy())
        # The softmax does not depend on the bias.
        assert same == (name.startswith("img/") or name == "b"), name
    assert not any(k.startswith("img/") for k in state.slots["momentum"])
    np.testing.assert_array_equal(values["temperature"][0], 10.0)


def test_sam_runs_with_the_global_loss_on_replicas():
    method = functools.partial(gradients.sam, rho=1e-12)
    found = first_gradient(STRATEGIES["two"](), method=method)
    check(found, expected("softmax"), rtol=1e-4)


def test_objectives_refuse_each_others_sources():
    images = np.zeros([2, 4, 4, 3], np.uint8)
    labelled = sources.arrays(images=images, labels=[0, 1],
                              class_names=["a", "b"])
    captioned = captions.arrays(images=images, captions=[["a"], ["b"]])
    both = dict(model=two_towers.build(), loss=None)
    objectives.Contrastive(**both).check(captioned)
    with pytest.raises(ValueError, match="captions, but .* has 2 classes"):
        objectives.Contrastive(**both).check(labelled)
    supervised = objectives.Supervised(
        model=vit.vit(num_classes=2, image_size=4, patch_size=4, width=8,
                      depth=1, num_heads=2, mlp_dim=8), loss=None)
    supervised.check(labelled)
    with pytest.raises(ValueError, match="captions.*objectives.Contrastive"):
        supervised.check(captioned)


def test_sam_in_some_steps_only_is_refused_where_replicas_share_a_loss():
    train, iterator, _, _ = setup(
        strategies.logical_cpus(),
        method=functools.partial(gradients.sam, rho=0.1, every=2))
    with pytest.raises(ValueError, match="every=2 must be 1 on several"):
        train(iterator, 1)

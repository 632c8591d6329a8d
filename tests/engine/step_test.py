"""Twenty recorded fine-tuning steps of the JAX original, replayed."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tests import workers
from tfvit.data.images import mixup
from tfvit.distribute import strategies
from tfvit.engine import state as state_lib
from tfvit.engine import step
from tfvit.optimize import gradients
from tfvit.optimize import losses
from tfvit.optimize import objectives
from tfvit.optimize import optim
from tfvit.optimize import schedules

STRATEGIES = {
    "one": strategies.one_device,
    "two": strategies.logical_cpus,
}


def linen(name):
    """A released name as the linen modules number it."""
    for old, new in (("Attention_1", "Attention_0"),
                     ("LayerNorm_2", "LayerNorm_1"),
                     ("MlpBlock_3", "MlpBlock_0")):
        name = name.replace(old, new)
    return f"params/{name}"


def _setup(golden, strategy, *, accum_steps=1, accumulator="float32",
           jit=False, weights=None, mix=None, **model_args):
    optimizer = optim.sgd(
        20, lr=0.1, accumulator=accumulator,
        schedule=functools.partial(schedules.cosine, warmup_steps=5))
    start = golden("vit_token")
    with strategy.scope():
        model = toy.recorded_vit(**model_args)
        params = {v.name.split(":")[0]: v for v in model.trainable_variables}
        for name, variable in params.items():
            variable.assign(start[linen(name)])
        state = state_lib.TrainState(params, optimizer, strategy)
    train = step.make_train_step(
        objective=objectives.Supervised(model=model, loss=losses.softmax_xent,
                                        mix=mix),
        state=state, gradients=gradients.plain, optimizer=optimizer,
        strategy=strategy, jit=jit, seed=0, accum_steps=accum_steps,
        clip_norm=1.0)
    data = golden("finetune_data")
    batches = {
        "images": data["images"].astype(np.float32).reshape(-1, 32, 32, 3),
        "labels": data["labels"].reshape(-1).astype(np.int64)
    }
    if weights is not None:
        batches["weights"] = weights
    iterator = iter(strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensor_slices(batches).batch(
            context.get_per_replica_batch_size(8), drop_remainder=True)))
    return train, iterator, state


@pytest.mark.parametrize("accumulator", ["float32", "bfloat16"])
@pytest.mark.parametrize("accum_steps, replicas, jit", [
    (1, "one", False),
    (2, "one", True),
    pytest.param(1, "two", True, marks=pytest.mark.slow),
    (2, "two", False),
])
def test_replays_the_original(golden, accumulator, accum_steps, replicas, jit):
    train, iterator, state = _setup(golden, STRATEGIES[replicas](), jit=jit,
                                    accum_steps=accum_steps,
                                    accumulator=accumulator)
    expected = golden(f"finetune_accum{accum_steps}_{accumulator}")
    # Calls of 1, 4, 7 and 8 steps: how steps are grouped must not matter.
    metrics = [train(iterator, n) for n in (1, 4, 7, 8)]
    loss, norm = (np.concatenate([m[k] for m in metrics])
                  for k in ("loss", "grad_norm"))
    bound = {"float32": (1e-5, 1e-5), "bfloat16": (1e-4, 5e-4)}[accumulator]
    np.testing.assert_allclose(loss, expected["losses"], rtol=bound[0])
    np.testing.assert_allclose(norm, expected["grad_norms"], rtol=bound[0])
    ours, theirs = (np.concatenate([np.ravel(a) for a in arrays]) for arrays in
                    zip(*((v.numpy(), expected[linen(k)])
                          for k, v in state.params.items())))
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert error < bound[1]
    assert state.step.numpy() == 20


@pytest.mark.parametrize("accum_steps, replicas", [(1, "one"), (2, "two")])
def test_examples_of_weight_zero_do_not_count(golden, accum_steps, replicas):
    weights = np.ones([20, 8], np.float32)
    weights[:, [1, 2, 3]] = 0  # Unequal numbers in halves and quarters.
    train, iterator, _ = _setup(golden, STRATEGIES[replicas](),
                                accum_steps=accum_steps,
                                weights=weights.reshape(-1))
    data, start = golden("finetune_data"), golden("vit_token")
    model = toy.recorded_vit()
    for v in model.variables:
        v.assign(start[linen(v.name.split(":")[0])])
    keep = [0, 4, 5, 6, 7]
    logits = model(data["images"][0][keep].astype(np.float32))
    labels = np.eye(10, dtype=np.float32)[data["labels"][0][keep]]
    expected = np.mean(losses.softmax_xent(logits, labels))
    metrics = train(iterator, 1)
    np.testing.assert_allclose(metrics["loss"], [expected], rtol=1e-6)
    np.testing.assert_array_equal(metrics["skipped"], [3])


@pytest.mark.parametrize("accum_steps, replicas, jit", [
    (1, "one", True),
    (2, "two", False),
])
def test_each_replica_mixes_its_batch_with_a_share_of_its_own(
        golden, accum_steps, replicas, jit):
    mix = functools.partial(mixup.mixup, alpha=0.8)
    strategy = STRATEGIES[replicas]()
    train, iterator, _ = _setup(golden, strategy, accum_steps=accum_steps,
                                jit=jit, mix=mix)
    data, start = golden("finetune_data"), golden("vit_token")
    model = toy.recorded_vit()
    for v in model.variables:
        v.assign(start[linen(v.name.split(":")[0])])
    count = strategy.num_replicas_in_sync
    fold = tf.random.experimental.stateless_fold_in

    @functools.partial(tf.function, jit_compile=jit)  # XLA draws other numbers.
    def mixed(batch, number, replica):
        return mix(batch, fold(fold([0, 1], number), replica))

    for number in range(2):  # The first update has a learning rate of 0.
        expected = []
        for replica in range(count):
            part = slice(replica * 8 // count, (replica + 1) * 8 // count)
            batch = mixed({
                "images": data["images"][number][part].astype(np.float32),
                "labels": np.eye(10, dtype=np.float32)[
                    data["labels"][number][part]]
            }, tf.constant(number, tf.int64), tf.constant(replica))
            expected.append(np.mean(losses.softmax_xent(
                model(batch["images"]), batch["labels"])))
        loss = train(iterator, 1)["loss"]
        np.testing.assert_allclose(loss, [np.mean(expected)], rtol=1e-6)


@pytest.mark.slow
def test_dropout_follows_from_seed_and_step(golden):

    def run(groups, rate):
        train, iterator, _ = _setup(golden, STRATEGIES["two"](),
                                    dropout_rate=rate)
        return np.concatenate([train(iterator, n)["loss"] for n in groups])

    first = run([1, 2], 0.5)
    np.testing.assert_array_equal(run([3], 0.5), first)
    assert not np.allclose(run([3], 0.0), first, rtol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_replicas_talk_once_a_step(golden, weighted):
    train, iterator, _ = _setup(
        golden, STRATEGIES["two"](),
        weights=np.ones([160], np.float32) if weighted else None)
    graph = train.trace(iterator).graph
    assert workers.collectives(graph) == {"CollectiveReduceV2": 2}  # One each.

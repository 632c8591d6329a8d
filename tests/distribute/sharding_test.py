"""The optimizer's state in shares: the same numbers as without."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tfvit.distribute import sharding
from tfvit.distribute import strategies
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.models import vit
from tfvit.optimize import gradients
from tfvit.optimize import optim

MODEL = functools.partial(  # 7 classes: the head's bias cannot be halved.
    vit.vit, num_classes=toy.NUM_CLASSES, image_size=8, patch_size=4, width=8,
    depth=0, num_heads=2, mlp_dim=16)
ONE_BLOCK = functools.partial(MODEL, depth=1)
ADAMW = functools.partial(
    optim.adamw, lr=0.01, weight_decay=0.1,
    schedule=toy.OPTIMIZER.keywords["schedule"])
SHARDED = dataclasses.replace(
    toy.EXPERIMENT, model=MODEL, strategy=strategies.logical_cpus,
    optimizer=ADAMW, shard_optimizer=True)


def arrays(state):
    groups = {"params": state.params, "ema": state.ema, **state.slots}
    return {f"{group}/{name}": value.numpy()
            for group, values in groups.items()
            for name, value in values.items()}


def train(exp, steps=4):
    run = build.build(exp)
    run.state.start_averages()
    metrics = run.train_step(run.batches(), steps)
    return run, {k: v.numpy() for k, v in metrics.items()}


@pytest.mark.parametrize("changes", [
    dict(ema_decay=0.9, clip_norm=0.1, jit=True),
    dict(optimizer=toy.OPTIMIZER, gradients=functools.partial(
        gradients.sam, rho=0.05), accum_steps=2),
    dict(precision="mixed_float16", loss_scale=2.0**40, model=ONE_BLOCK),
], ids=["adamw, averages, xla", "sgd, sam", "loss scaling"])
def test_shares_give_what_whole_state_does(changes):
    exp = dataclasses.replace(SHARDED, **changes)
    run, metrics = train(exp)
    whole, expected = train(dataclasses.replace(exp, shard_optimizer=False))
    for name, values in expected.items():
        np.testing.assert_allclose(metrics[name], values, rtol=1e-6,
                                   err_msg=name)
    if "loss_scale" in changes:  # It did overflow.
        assert expected["skipped_updates"].any()
    expected = arrays(whole.state)
    for name, value in arrays(run.state).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-9,
                                   err_msg=name)
    slot = next(iter(run.state.slots.values()))
    cut = [v for v in slot.values() if isinstance(v, sharding.Shards)]
    assert len(cut) == len(slot) - 1  # All but the head's bias.
    for value in cut:
        assert 2 * value.share.shape.num_elements() == (
            value.shape.num_elements())
    with run.state.averaged(), whole.state.averaged():
        for name, value in run.params.items():
            np.testing.assert_allclose(value, whole.params[name], rtol=1e-6,
                                       atol=1e-9)
    np.testing.assert_array_equal(
        [run.params[k].numpy().sum() for k in run.params],
        [arrays(run.state)[f"params/{k}"].sum() for k in run.params])


def test_checkpoints_are_those_of_whole_state(tmp_path):
    run, _ = train(dataclasses.replace(SHARDED, ema_decay=0.9))
    expected = arrays(run.state)
    for shard in (False, True):
        saver = checkpoint.Checkpoints(str(tmp_path), run.state, keep=1)
        saver.save()
        saver.wait()
        run = build.build(dataclasses.replace(SHARDED, ema_decay=0.9,
                                              shard_optimizer=shard))
        assert checkpoint.Checkpoints(str(tmp_path), run.state,
                                      keep=1).restore()
        found = arrays(run.state)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    for values in run.state.slots.values():  # Each replica has its own half.
        value = values["head/kernel"]
        halves = strategies.logical_cpus().experimental_local_results(
            value.share)
        assert value.axis == 0
        np.testing.assert_array_equal(np.concatenate(halves),
                                      value.numpy())
        assert not np.array_equal(*halves)


def test_adafactor_is_refused():
    exp = dataclasses.replace(SHARDED, optimizer=functools.partial(
        optim.adafactor, lr=0.01, weight_decay=0.1,
        schedule=ADAMW.keywords["schedule"]))
    with pytest.raises(ValueError, match="shard_optimizer=True: this optimizer "
                       "looks at whole variables"):
        build.build(exp).state  # pylint: disable=expression-not-assigned


def test_one_replica_keeps_all():
    run = build.build(dataclasses.replace(SHARDED,
                                          strategy=strategies.one_device))
    assert all(isinstance(v, tf.Variable) for slot in run.state.slots.values()
               for v in slot.values())


def test_gradients_may_be_added_up_in_bfloat16():
    exp = dataclasses.replace(SHARDED, shard_optimizer=False, clip_norm=None)
    norms = {dtype: train(dataclasses.replace(exp, reduce_dtype=dtype), 1)[1]
             for dtype in ("float32", "bfloat16")}
    half, full = (norms[d]["grad_norm"] for d in ("bfloat16", "float32"))
    np.testing.assert_allclose(half, full, rtol=2**-8)
    assert half != full
    np.testing.assert_array_equal(norms["bfloat16"]["loss"],
                                  norms["float32"]["loss"])

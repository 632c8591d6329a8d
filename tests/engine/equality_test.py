"""However a global batch is shared out, the losses stay the same.

Run as a program, this is one worker: it writes its losses to the file named.
"""

import dataclasses
import functools
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tests import workers
from tfvit.data import pipeline
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.engine import build
from tfvit.models import vit


def same_batches(*, input_context, **kwargs):
    """pipeline.train, but workers share out the batches of one.

    (It gives each worker its own shard of the examples.)
    """
    replicas = input_context.num_replicas_in_sync
    data = pipeline.train(input_context=tf.distribute.InputContext(
        1, 0, replicas), **kwargs)
    return data.shard(input_context.num_input_pipelines,
                      input_context.input_pipeline_id)


# No dropout: each replica draws its own.
EXPERIMENT = dataclasses.replace(
    toy.EXPERIMENT, batch_size=8, steps_per_call=1,
    model=functools.partial(vit.vit, num_classes=7, image_size=8, patch_size=4,
                            width=8, depth=1, num_heads=2, mlp_dim=16),
    train_data=functools.partial(same_batches,
                                 ops=toy.EXPERIMENT.train_data.keywords["ops"]))


def losses(exp):
    """The losses of all steps [20]."""
    run = build.build(exp)
    iterator = run.batches()
    calls = range(exp.total_steps // exp.steps_per_call)
    return np.concatenate(
        [run.train_step(iterator, exp.steps_per_call)["loss"] for _ in calls])


@pytest.fixture(scope="module")
def one_replica():
    values = losses(EXPERIMENT)
    assert len(values) == 20 and values[-1] < 0.9 * values[0]
    return values


@pytest.mark.parametrize("change", [
    {"strategy": strategies.logical_cpus, "accum_steps": 2,
     "steps_per_call": 5},
    {"strategy": lambda: strategies.mirrored(
        devices=["CPU:0", "CPU:1"], cross_device_ops="one_device")},
    {"strategy": lambda: strategies.mirrored(
        devices=["CPU:0", "CPU:1"], cross_device_ops="hierarchical")},
], ids=["2 replicas that accumulate, 5 steps a call", "added up on one device", "hierarchical"])
def test_losses_are_those_of_one_replica(one_replica, change):
    np.testing.assert_allclose(
        losses(dataclasses.replace(EXPERIMENT, **change)), one_replica,
        rtol=1e-5)


@pytest.mark.parametrize("strategy, jit", [
    (strategies.one_device, True),
    (strategies.logical_cpus, False),
    pytest.param(strategies.logical_cpus, True, marks=pytest.mark.slow),
])
def test_images_may_travel_as_uint8(strategy, jit):
    crop, flip, value_range = EXPERIMENT.train_data.keywords["ops"]
    before = functools.partial(same_batches, ops=[
        crop, flip, ops.to_uint8, value_range])
    after = functools.partial(same_batches, ops=[crop, flip, ops.to_uint8])
    exp = dataclasses.replace(EXPERIMENT, strategy=strategy, jit=jit,
                              total_steps=5, train_data=before)
    other = dataclasses.replace(exp, train_data=after,
                                device_ops=[value_range])
    run = build.build(other)
    replicas, batch = run.strategy, next(run.batches())
    images = replicas.experimental_local_results(batch["images"])
    assert {v.dtype for v in images} == {tf.uint8}
    # Kernels that run in parallel add up in any order.
    np.testing.assert_allclose(losses(other), losses(exp), rtol=1e-6)


@pytest.mark.slow
def test_the_device_augments_alike_on_any_number_of_replicas():
    crop, flip, value_range = EXPERIMENT.train_data.keywords["ops"]
    del flip
    exp = dataclasses.replace(
        EXPERIMENT, total_steps=5, device_ops=[ops.flip_lr, value_range],
        train_data=functools.partial(same_batches, ops=[crop, ops.to_uint8]))
    plain = dataclasses.replace(exp, device_ops=[value_range])
    one = losses(exp)
    np.testing.assert_allclose(losses(dataclasses.replace(
        exp, strategy=strategies.logical_cpus)), one, rtol=1e-5)
    assert not np.allclose(losses(plain), one, rtol=1e-4)


def test_random_ops_of_single_images_are_none_of_the_device():
    with pytest.raises(ValueError, match="device_ops.*random_flip"):
        dataclasses.replace(EXPERIMENT, device_ops=[toy.random_flip])


def test_unknown_cross_device_ops_are_refused():
    with pytest.raises(ValueError, match="cross_device_ops='mpi'.*nccl"):
        strategies.mirrored(devices=["CPU:0"], cross_device_ops="mpi")


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one(one_replica, tmp_path):
    addresses = workers.addresses(2)
    files = [tmp_path / f"{i}.npy" for i in range(2)]
    for code, log in workers.end_all([
            workers.Worker(["-m", "tests.engine.equality_test", str(file)], addresses,
                           i) for i, file in enumerate(files)
    ]):
        assert code == 0, log
    for file in files:
        np.testing.assert_allclose(np.load(file), one_replica, rtol=1e-5)


if __name__ == "__main__":
    np.save(sys.argv[1], losses(dataclasses.replace(
        EXPERIMENT, strategy=strategies.multi_worker, steps_per_call=5)))

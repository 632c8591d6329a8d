"""A lowered step, run by a stranger: JAX on the CPU beside TensorFlow."""

import dataclasses
import functools
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tfvit import config
from tfvit import experiment
from tfvit.distribute import strategies
from tfvit.engine import build
from tfvit.engine import lowering
from tfvit.tpu import environment

ROOT = pathlib.Path(config.ROOT)
STEP = 150  # Past the warm-up of digits, whose first rate is zero.


def variables_of(run):
    slots = [v for slot in run.state.slots.values() for v in slot.values()]
    return [*run.model.variables, run.state.step, *slots]


def own(value, replica):
    """A replica's copy of a variable."""
    return getattr(value, "values", [value] * (replica + 1))[replica].numpy()


def by_jax(lowered, batches, folder):
    """What JAX's CPU makes of it: (metrics of each replica, {id: value}).

    The values are those of the variables that the step changes.
    """
    handles = {id(v.handle): v for v in lowered.step.graph.variables}
    captured = [handles.get(id(c), c) for c in lowered.step.captured_inputs]
    arrays = {}
    for r, batch in enumerate(batches):
        args = [*(batch[name] for name in sorted(lowered.batch)), *captured]
        for i, value in enumerate(args):
            arrays[f"in_{r}_{i:04}"] = tf.convert_to_tensor(value).numpy()
    np.savez(folder / "step.npz", **arrays)
    (folder / "step.hlo.pb").write_bytes(lowered.hlo)
    subprocess.run(
        [environment.python(), ROOT / "tests/tpu/run_step.py",
         ROOT / "tfvit/tpu/compile_step.py", folder], check=True, env={
             **os.environ, "XLA_FLAGS":
             f"--xla_force_host_platform_device_count={len(batches)}"})
    found = np.load(folder / "results.npz")
    metrics = [{name: found[f"{r}_{i:04}"]
                for i, name in enumerate(lowered.metrics)}
               for r in range(len(batches))]
    aliases = json.loads((folder / "aliases.json").read_text())
    return metrics, {
        id(captured[parameter - len(lowered.batch)]): found[f"0_{result:04}"]
        for parameter, result in aliases}


def random_batch(spec, seed):
    rng = np.random.default_rng(seed)
    return {name: tf.constant(
        rng.uniform(-1, 1, s.shape) if s.dtype == tf.float32 else
        rng.integers(0, 7, s.shape), s.dtype) for name, s in spec.items()}


def agrees(before, ours, theirs):
    """Whether two updates differ by little of what they change."""
    change = np.max(np.abs(theirs.astype(np.float64) - before))
    return np.max(np.abs(ours.astype(np.float64) - theirs)) <= 1e-3 * change


needs_jax = pytest.mark.skipif(
    not environment.is_ready(), reason="the environment of tpu_check, which "
    "it makes when it first runs, is not there")


@needs_jax
@pytest.mark.slow
def test_the_hlo_of_digits_run_by_jax_is_tensorflows_step(tmp_path):
    exp, _ = experiment.from_config(["gin/digits.gin"])
    lowered = lowering.lower(exp, 1)
    run = lowered.run
    run.state.step.assign(STEP)
    batch = random_batch(lowered.batch, 0)
    (metrics,), after = by_jax(lowered, [batch], tmp_path)
    before = {id(v): v.numpy() for v in variables_of(run)}
    # Without XLA.
    expected = tf.function(lambda b: run.strategy.run(
        run.train_step.replica_step, args=(b,)))(batch)
    for name in lowered.metrics:
        np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-5)
    assert after[id(run.state.step)] == run.state.step.numpy() == STEP + 1
    changed = [v for v in variables_of(run) if id(v) in after]
    assert len(changed) >= 3 * len(run.params)  # With both moments.
    for v in changed:
        assert agrees(before[id(v)], after[id(v)], v.numpy()), v.name


@needs_jax
@pytest.mark.slow
def test_the_hlo_of_two_replicas_is_mirrored_strategys_step(tmp_path):
    exp = dataclasses.replace(  # XLA draws other numbers for dropout.
        toy.EXPERIMENT, strategy=lambda: strategies.logical_cpus(count=2),
        optimizer=functools.partial(toy.OPTIMIZER, accumulator="float32"),
        model=functools.partial(
            toy.EXPERIMENT.model, dropout_rate=0.0, attention_dropout_rate=0.0,
            stochastic_depth=0.0))
    lowered = lowering.lower(exp, 2)
    lowered.run.state.step.assign(5)
    batches = [random_batch(lowered.batch, seed) for seed in range(2)]
    metrics, after = by_jax(lowered, batches, tmp_path)
    mirrored = build.build(exp)
    mirrored.state.step.assign(5)
    before = [own(v, 0) for v in variables_of(mirrored)]
    batch = mirrored.strategy.experimental_distribute_values_from_function(
        lambda context: batches[context.replica_id_in_sync_group])
    expected = tf.function(lambda: mirrored.strategy.run(
        mirrored.train_step.replica_step, args=(batch,)))()
    for r in range(2):
        for name in lowered.metrics:
            np.testing.assert_allclose(
                metrics[r][name], own(expected[name], r), rtol=1e-5)
    ours, theirs = variables_of(lowered.run), variables_of(mirrored)
    assert len(ours) == len(theirs)
    compared = 0
    for v, w, old in zip(ours, theirs, before):
        if id(v) in after:
            compared += 1
            assert agrees(old, after[id(v)], own(w, 0)), v.name
    assert compared >= 2 * len(lowered.run.params)


def test_a_replicas_batch_is_what_its_pipeline_would_yield():
    run = build.build(toy.EXPERIMENT)
    assert lowering.batch_spec(run) == {
        "images": tf.TensorSpec([4, 8, 8, 3], tf.float32),
        "labels": tf.TensorSpec([4], tf.int64)}
    run = build.build(dataclasses.replace(toy.EXPERIMENT, skip_corrupt=True))
    assert lowering.batch_spec(run)["weights"] == tf.TensorSpec([4])


def test_an_op_that_xla_has_not_is_a_sentence():

    def loss(logits, labels):
        del labels
        return tf.numpy_function(np.abs, [logits[:, 0]], tf.float32)

    exp = dataclasses.replace(toy.EXPERIMENT, loss=loss)
    with pytest.raises(ValueError, match="has no form of this step: .*PyFunc"):
        lowering.lower(exp, 1)

"""Rematerialised blocks: the same numbers from less memory."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import toy
from tfvit.distribute import strategies
from tfvit.models import mixer

VIT = functools.partial(toy.EXPERIMENT.model, depth=1)
MIXER = functools.partial(
    mixer.mixer, num_classes=toy.NUM_CLASSES, image_size=8, patch_size=4,
    width=8, depth=2, tokens_mlp_dim=4, channels_mlp_dim=16,
    stochastic_depth=0.2)


def train(model, remat, **change):
    """(losses of three steps, the weights after them by name)."""
    exp = dataclasses.replace(toy.EXPERIMENT, **change,
                              model=functools.partial(model, remat=remat))
    tf_keras.utils.set_random_seed(0)
    _, state, train_step, batch = toy.build(exp)
    strategy = exp.strategy()
    iterator = iter(strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensor_slices(batch).batch(
            context.get_per_replica_batch_size(4), True).repeat()))
    losses = train_step(iterator, 3)["loss"].numpy()
    return losses, {k: v.numpy() for k, v in state.params.items()}


@pytest.mark.slow
@pytest.mark.parametrize("model, change", [
    (VIT, {"jit": True, "accum_steps": 2}),
    (MIXER, {"strategy": strategies.logical_cpus, "frozen": "stem/.*"}),
], ids=["vit", "mixer"])
def test_training_gives_the_same_weights(model, change):
    losses, weights = train(model, False, **change)
    again, same = train(model, True, **change)
    assert losses[2] != losses[0]
    np.testing.assert_allclose(again, losses, rtol=1e-6)
    for name, value in weights.items():
        np.testing.assert_allclose(same[name], value, rtol=1e-5, atol=1e-6,
                                   err_msg=name)

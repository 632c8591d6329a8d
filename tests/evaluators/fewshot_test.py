"""Few-shot evaluation against a ridge regression written out in numpy."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.evaluators import fewshot
from tfvit.models import vit

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("num_examples", [5, 40])
def test_ridge_equals_the_closed_form(num_examples):
    x = RNG.normal(2.0, 3.0, [num_examples, 8]).astype(np.float32)
    labels = np.arange(num_examples) % 3
    test = RNG.normal(size=[11, 8]).astype(np.float32)
    mean, spread = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    white = np.c_[(x - mean) / (spread + 1e-5), np.full(num_examples, 100.0)]
    weights = np.linalg.inv(white.T @ white + 1024 * np.eye(9)) @ white.T @ (
        np.where(labels[:, None] == np.arange(3), 1.0, -1.0))
    expected = np.c_[(test - mean) / (spread + 1e-5), np.full(11, 100.0)]
    np.testing.assert_allclose(
        fewshot.ridge(x, labels, 3, 1024.0)(test), expected @ weights,
        rtol=1e-6, atol=1e-6)


def test_draw_takes_as_many_of_each_class_and_depends_on_the_seed():
    labels = np.arange(100) % 4
    chosen = fewshot.draw(labels, 4, 6, seed=1)
    assert (np.bincount(labels[chosen]) == 6).all()
    assert len(set(chosen)) == 24
    assert set(chosen) != set(fewshot.draw(labels, 4, 6, seed=2))
    assert len(fewshot.draw(labels, 4, 30, seed=1)) == 100


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("make", [strategies.one_device,
                                  strategies.logical_cpus])
def test_scores_all_test_examples_on_what_stands_before_the_head(make, jit):
    strategy = make()
    with strategy.scope():
        model = vit.vit(num_classes=5, image_size=8, patch_size=4, width=8,
                        depth=1, num_heads=2, mlp_dim=8)
        headless = vit.vit(num_classes=None, image_size=8, patch_size=4,
                           width=8, depth=1, num_heads=2, mlp_dim=8)
        headless.set_weights(model.get_weights()[:-2])
    train, test = toy.images(50), toy.images(13, seed=1)
    preprocessing = [functools.partial(ops.resize, size=8), ops.value_range]
    result = fewshot.FewShot(
        name="toy", model=model, strategy=strategy, jit=jit,
        train_source=lambda: train, test_source=lambda: test,
        ops=preprocessing, batch_size=4, shots=(2, 3), seeds=(0, 7)).run()

    def features(source):
        records = list(source.examples())
        images = tf.stack([ops.value_range(ops.resize(r["image"], size=8))
                           for r in records])
        return headless(images).numpy(), np.array([r["label"] for r in records])

    (x, y), (x_test, y_test) = features(train), features(test)
    chosen = fewshot.draw(y, toy.NUM_CLASSES, 3, seed=7)
    scores = fewshot.ridge(x[chosen], y[chosen], toy.NUM_CLASSES, 1024.0)
    assert result["3shot-seed-7"] == pytest.approx(
        (scores(x_test).argmax(1) == y_test).mean())
    assert result["3shot"] == pytest.approx(
        (result["3shot-seed-0"] + result["3shot-seed-7"]) / 2)
    assert result["examples"] == 13


def test_features_must_be_vectors():
    model = vit.vit(num_classes=5, image_size=8, patch_size=4, width=8, depth=1,
                    num_heads=2, mlp_dim=8, classifier="unpooled")
    with pytest.raises(ValueError, match="'toy' needs features"):
        fewshot.FewShot(name="toy", model=model, strategy=None, jit=False,
                        train_source=None, test_source=None, ops=[],
                        batch_size=4)

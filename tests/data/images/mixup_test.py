"""mixup and cutmix against numpy; Beta against scipy."""
import functools

import numpy as np
import pytest
from scipy import stats
import tensorflow as tf

from tfvit.data.images import mixup

RNG = np.random.default_rng(0)
BATCH = {
    "images": RNG.uniform(-1, 1, [5, 6, 9, 3]).astype(np.float32),
    "labels": np.eye(5, 8, dtype=np.float32),  # So labels tell the shares.
}
MIXUP = functools.partial(mixup.mixup, alpha=0.8)
CUTMIX = functools.partial(mixup.cutmix, alpha=1.0)


def mixed(mix, seed=0, **more):
    """(images, labels, share of each image's own)"""
    batch = tf.nest.map_structure(tf.constant, {**BATCH, **more})
    out = mix(batch, tf.constant([seed, 3]))
    assert out.keys() == batch.keys()
    labels = out["labels"].numpy()
    return out["images"].numpy(), labels, labels[range(5), range(5)]


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 0.8, 1.0, 3.0])
def test_beta_has_its_distribution(alpha):
    draws = mixup.beta(20_000, [1, 2], alpha=alpha).numpy()
    # float32 does not tell what is closer to 1 than 6e-8.
    known = lambda x: stats.beta.cdf(np.clip(x, 1e-7, 1 - 1e-7), alpha, alpha)
    inner = draws[(draws > 1e-6) & (draws < 1 - 1e-6)]
    low, high = known(1e-6), known(1 - 1e-6)
    assert stats.kstest(
        inner, lambda x: (known(x) - low) / (high - low)).pvalue > 0.01
    assert abs(np.mean(draws <= 1e-6) - low) < 0.01
    assert np.isfinite(draws).all() and 0 <= draws.min() <= draws.max() <= 1


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("per_example", [False, True])
def test_mixup_adds_the_previous_image_and_label(per_example, jit):
    mix = functools.partial(MIXUP, per_example=per_example)
    images, labels, own = mixed(tf.function(mix, jit_compile=jit))
    assert (own >= 0.5).all() and (len(set(own)) == 5) == per_example
    before = np.roll(np.arange(5), 1)
    np.testing.assert_allclose(labels[range(5), before], 1 - own, atol=1e-7)
    share = own[:, None, None, None]
    x = BATCH["images"]
    np.testing.assert_allclose(images, share * x + (1 - share) * x[before],
                               atol=1e-6)


def test_mixup_takes_the_larger_share_of_beta():
    draws = np.array([mixed(MIXUP, seed)[2][0] for seed in range(300)])
    known = lambda x: 2 * stats.beta.cdf(x, 0.8, 0.8) - 1  # Of max(x, 1 - x).
    assert stats.kstest(draws, known).pvalue > 0.01


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("per_example", [False, True])
def test_cutmix_pastes_boxes_and_mixes_labels_by_their_areas(per_example, jit):
    mix = functools.partial(CUTMIX, per_example=per_example)
    images, labels, own = mixed(tf.function(mix, jit_compile=jit), 4)
    x = BATCH["images"]
    kept, pasted = (np.all(images == y, -1) for y in (x, np.roll(x, 1, 0)))
    assert (kept ^ pasted).all()
    np.testing.assert_allclose(own, kept.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-6)
    for image in pasted:
        rows, columns = image.any(1), image.any(0)
        np.testing.assert_array_equal(image, np.outer(rows, columns))
        for side in rows, columns:  # In one piece.
            assert np.abs(np.diff(side.astype(int))).sum() <= 2
    assert len({image.tobytes() for image in pasted}) > 1 or not per_example


def test_boxes_of_cutmix_are_those_of_the_paper():
    # With the shares and the centres known, as the authors' code has it.
    seed, size = tf.constant([7, 3]), np.array([6, 9])
    first, second = tf.random.experimental.stateless_split(seed, 2)
    share = mixup.beta(5, first, alpha=1.0).numpy()[:, None]
    centre = (tf.random.stateless_uniform([2, 5], second).numpy().T *
              size).astype(int)
    half = (size * np.sqrt(1 - share)).astype(int) // 2
    low, high = np.clip(centre - half, 0, size), np.clip(centre + half, 0, size)
    _, _, own = mixed(functools.partial(CUTMIX, per_example=True), 7)
    np.testing.assert_allclose(own, 1 - np.prod(high - low, 1) / 54, atol=1e-6)
    assert len(set(own)) > 2


@pytest.mark.parametrize("mix", [MIXUP, CUTMIX])
def test_an_image_of_weight_0_is_mixed_into_none(mix):
    scale = np.float32([1.25, 1.25, 0, 1.25, 1.25])
    images, labels, _ = mixed(mix, scale=scale)
    np.testing.assert_array_equal(images[3], BATCH["images"][3])
    np.testing.assert_array_equal(labels[3], BATCH["labels"][3])
    full, full_labels, _ = mixed(mix)
    others = [0, 1, 2, 4]
    assert (labels[others, others] < 1).all()
    np.testing.assert_array_equal(images[others], full[others])
    np.testing.assert_array_equal(labels[others], full_labels[others])


@pytest.mark.parametrize("mix", [mixup.mixup, mixup.cutmix])
def test_alpha_0_changes_nothing_not_even_a_single_image(mix):
    batch = {k: v[:1] for k, v in BATCH.items()}
    assert mix(batch, [0, 0], alpha=0.0) is batch


@pytest.mark.parametrize("jit", [False, True])
def test_one_of_several_is_drawn_each_time(jit):
    mix = tf.function(functools.partial(mixup.one_of, mixes=[MIXUP, CUTMIX]),
                      jit_compile=jit)
    x, cuts = BATCH["images"], 0
    for seed in range(40):
        images, _, _ = mixed(mix, seed)
        same = np.all((images == x) | (images == np.roll(x, 1, 0)))
        cuts += same
    assert 10 <= cuts <= 30


@pytest.mark.parametrize("mix, text", [
    (functools.partial(mixup.mixup, alpha=-1), "mixup.mixup.alpha=-1"),
    (CUTMIX, "mixup.cutmix .*1 alone.*Experiment.batch_size"),
])
def test_what_cannot_be_mixed_is_an_error(mix, text):
    with pytest.raises(ValueError, match=text):
        mix({k: v[:1] for k, v in BATCH.items()}, [0, 0])

"""Weighted and repeated sampling: its statistics, and its order's promises."""

import functools

import numpy as np
import pytest
from scipy import stats
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.datasets import combine
from tfvit.data.datasets import sampling
from tfvit.data.datasets import source as source_lib
from tfvit.data.datasets import sources
from tfvit.data.images import ops

COUNTS = (50, 9, 4)  # Of the classes a, b, c.
LABELS = np.repeat([0, 1, 2], COUNTS)


def base():
    """63 images of one pixel, whose value is their number."""
    images = np.arange(len(LABELS), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return sources.arrays(images=images, labels=LABELS, class_names="abc")


def epochs(source, count):
    """The numbers of the examples drawn, [count, N]; one call for all."""
    size = source.num_examples
    places = np.tile(np.arange(size), count)
    seeds = np.stack([np.full(count * size, 5), np.arange(count).repeat(size)],
                     1)
    return source.order(tf.constant(places), tf.constant(seeds)).numpy(
    ).reshape(count, size)


def tally(source, count):
    """How often each example is drawn, [count, N]."""
    return np.stack([np.bincount(numbers, minlength=len(LABELS))
                     for numbers in epochs(source, count)])


def test_what_there_is_is_the_source_without_its_draws():
    source = sampling.sampled(base=base, sampler="balanced")
    assert sampling.unsampled(source) is source.base
    assert sampling.unsampled(source.base) is source.base


def test_an_epoch_is_what_its_order_says():
    source = sampling.sampled(base=base, sampler="balanced", repeats=2)
    found = [[int(e["image"][0, 0, 0]) for e in source.examples(
        seed=[5, 3], shard_index=i, num_shards=3, skip=2)] for i in range(3)]
    order = epochs(source, 4)[3].tolist()
    assert found == [order[6 + i::3] for i in range(3)]
    assert [len(part) + 2 for part in found] == [source.shard_size(i, 3)
                                                 for i in range(3)]


def torch_weights(sampler):
    """As WeightedRandomSampler is usually given them, by hand."""
    power = {"balanced": 1, "sqrt": 0.5}[sampler]
    weights = np.array([1 / COUNTS[label]**power for label in LABELS])
    return weights / weights.sum()


@pytest.mark.parametrize("sampler", ["balanced", "sqrt"])
def test_with_replacement_it_is_pytorchs_weighted_random_sampler(sampler):
    source = sampling.sampled(base=base, sampler=sampler, replacement=True)
    counts = tally(source, 300)
    expected = 300 * 63 * torch_weights(sampler)
    # Independent draws: neither farther from the mean than chance, nor nearer.
    p = stats.chisquare(counts.sum(0), expected).pvalue
    assert 1e-3 < p < 1 - 1e-3
    classes = np.stack([counts[:, LABELS == c].sum(1) for c in range(3)], 1)
    p = np.array([stats.chisquare(row, 63 * np.bincount(
        LABELS, torch_weights(sampler))).pvalue for row in classes])
    assert stats.kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("sampler", ["balanced", "sqrt"])
def test_each_is_drawn_as_often_as_its_weight_says_or_once_more(sampler):
    source = sampling.sampled(base=base, sampler=sampler)
    counts, means = tally(source, 300), 63 * torch_weights(sampler)
    assert (counts >= np.floor(means)).all()
    assert (counts <= np.ceil(means)).all()
    for label in range(3):
        total = counts[:, LABELS == label].sum(1)
        due = means[LABELS == label].sum()
        assert (np.abs(total - due) < 1 + 1e-9).all()
        # Who gets the draw more is chance: of each epoch's, as often as others.
        extra = (counts - np.floor(means))[:, LABELS == label].sum(0)
        assert stats.chisquare(extra).pvalue > 1e-3
    # Not always the same together: the first of a with the first of b.
    if sampler == "balanced":
        pairs = counts[:, 0].astype(bool)
        assert 0.2 < np.mean(pairs) < 0.65


def test_places_are_as_chance_has_them():
    source = sampling.sampled(base=base, sampler="balanced")
    first = LABELS[epochs(source, 60)[:, :21]]
    counts = np.bincount(first.reshape(-1))
    assert stats.chisquare(counts).pvalue > 1e-3
    assert len(set(map(tuple, first))) == 60


def test_factors_of_classes(tmp_path):
    source = sampling.sampled(base=base, class_weights={"b": 3.0, "c": 0})
    means = np.array([1.0] * 50 + [3.0] * 9 + [0.0] * 4)
    np.testing.assert_allclose(source.means, means * 63 / means.sum())
    assert epochs(source, 3).max() < 59
    (tmp_path / "w.csv").write_text("b, 3\nc,0\n")
    other = sampling.sampled(base=base,
                             class_weights_file=str(tmp_path / "w.csv"))
    np.testing.assert_array_equal(epochs(other, 2), epochs(source, 2))
    both = sampling.sampled(base=base, sampler="balanced",
                            class_weights={"a": 2.0})
    np.testing.assert_allclose(np.bincount(LABELS, both.means),
                               [31.5, 15.75, 15.75])


def test_without_weights_each_is_drawn_once():
    found = epochs(sampling.sampled(base=base), 3)
    np.testing.assert_array_equal(np.sort(found), [range(63)] * 3)
    assert len(set(map(tuple, found))) == 3


def test_storage_order_is_that_of_the_draws():
    source = sampling.sampled(base=base, sampler="balanced", repeats=2)
    found = source.order(tf.range(126, dtype=tf.int64), None).numpy()
    assert (np.diff(found) >= 0).all()
    assert np.bincount(LABELS[found]).tolist() == [42, 42, 42]


def test_a_pipeline_goes_on_where_it_was_and_repeats_within_batches():
    source = sampling.sampled(base=base, sampler="balanced", repeats=3)
    build = functools.partial(
        pipeline.train, source=source, batch_size=12, seed=4, ops=[
            ops.decode, functools.partial(ops.resize, size=1)])
    batches = [b["images"].numpy().reshape(-1) for b in build().take(40)]
    for batch in batches:  # Over epochs: 63 * 3 is no multiple of 12.
        values, counts = np.unique(batch, return_counts=True)
        assert set(counts % 3) == {0}, values
    resumed = [b["images"].numpy().reshape(-1)
               for b in build(start_step=33).take(5)]
    np.testing.assert_array_equal(resumed, batches[33:38])


def test_copies_are_augmented_anew():
    source = sampling.sampled(base=base, repeats=4)

    def noise(image, seed):
        return image + tf.cast(tf.random.stateless_uniform(
            [1, 1, 1], seed, maxval=2**20, dtype=tf.int32), tf.float32) / 2**20

    batch = next(iter(pipeline.train(
        source=source, batch_size=4, seed=1, ops=[
            ops.decode, functools.partial(ops.resize, size=1), noise])))
    values = batch["images"].numpy().reshape(-1)
    assert len(set(np.floor(values))) == 1 and len(set(values)) == 4


def streamed():
    return source_lib.Streamed(
        class_names="ab", shuffle_buffer=1, shard_size=lambda *shard: 2,
        read=lambda *shard: tf.data.Dataset.range(2))


def captions():
    return source_lib.Indexed(num_examples=3, class_names=(), fetch=None)


@pytest.mark.parametrize("knobs, message", [
    ({"sampler": "balance"}, "sampler = 'balance' is none of 'uniform'"),
    ({"repeats": 0}, "repeats = 0 must be a whole number"),
    ({"repeats": 1.5}, "repeats = 1.5 must be"),
    ({"class_weights": {"A": 1}}, "class_weights: the label 'A' is none of the 3 "
     "classes. Did you mean 'a'"),
    ({"class_weights": {"a": -1}}, "gives 'a' -1, which must be a number, 0"),
    ({"class_weights": {"a": "x"}}, "gives 'a' 'x'"),
    ({"class_weights": dict.fromkeys("abc", 0)}, "leave no example"),
    ({"class_weights": {}, "class_weights_file": "x"}, "Set one of"),
    ({"base": streamed}, "one after the other"),
    ({"base": captions, "sampler": "balanced"}, "the source has captions"),
])
def test_what_cannot_be_is_said(knobs, message):
    with pytest.raises(ValueError, match=message):
        sampling.sampled(**{"base": base, **knobs})


def test_labels_are_read_where_they_are_not_known():
    kept = sampling.sampled(base=functools.partial(combine.in_memory,
                                                   source=base),
                            sampler="balanced")
    np.testing.assert_array_equal(
        epochs(kept, 2), epochs(sampling.sampled(base=base, sampler="balanced"),
                                2))

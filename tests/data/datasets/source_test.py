"""The order of examples that any place can be computed of."""

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.datasets import source
from tfvit.data.datasets import sources
from tfvit.data.images import ops

permuted = tf.function(source.permuted, input_signature=[
    tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 2], tf.int64),
    tf.TensorSpec([], tf.int64)])


def numbered(count):
    images = np.zeros([count, 1, 1, 3], np.uint8)
    return sources.arrays(images=images, labels=np.arange(count),
                          class_names=[str(i) for i in range(count)])


def batches(read, batch_size, count, workers=1, replicas=1, start_step=0):
    """Labels of each step, [count, batch_size], of all workers."""
    parts = []
    for index in range(workers):
        dataset = pipeline.train(
            source=read, ops=[ops.decode], batch_size=batch_size, seed=3,
            start_step=start_step, input_context=tf.distribute.InputContext(
                workers, index, workers * replicas))
        labels = [batch["labels"].numpy()
                  for batch in dataset.take(count * replicas)]
        parts.append(np.reshape(labels, [count, -1]))
    return np.concatenate(parts, 1)


# TensorFlow's own index_shuffle fails at 65,537.
def test_a_permutation_has_every_number_once():
    for size in (1, 2, 3, 4, 5, 9, 10, 17, 100, 257, 1_797, 65_537):
        seeds = np.tile(np.array([[5, -7]], np.int64), [size, 1])
        found = permuted(tf.range(size, dtype=tf.int64), seeds, size).numpy()
        np.testing.assert_array_equal(np.sort(found), np.arange(size))


@pytest.mark.parametrize("size", [2, 5, 50])
def test_over_epochs_every_number_comes_equally_often_at_every_place(size):
    epochs = 4_000
    places = np.tile(np.arange(size), epochs)
    seeds = np.repeat(np.stack([np.full(epochs, 1), np.arange(epochs)], 1), size,
                      axis=0)
    found = permuted(places, seeds, size).numpy()
    counts = np.zeros([size, size])
    np.add.at(counts, (places, found), 1)
    # Chi-squared of fair shuffles: (size - 1)^2 on average, far below twice
    # that for 81 degrees of freedom, about four times for one.
    expected = epochs / size
    chi = np.sum((counts - expected)**2 / expected) / (size - 1)**2
    assert chi < (3 if size < 10 else 1.6)


def test_neighbours_and_epochs_have_nothing_to_do_with_each_other():
    size = 20_000
    first, second = (permuted(
        tf.range(size, dtype=tf.int64),
        np.tile(np.array([[0, epoch]], np.int64), [size, 1]), size).numpy()
                     for epoch in range(2))
    for pair in ((first[:-1], first[1:]), (first, np.arange(size)),
                 (first, second)):
        assert abs(np.corrcoef(*pair)[0, 1]) < 4 / np.sqrt(size)


@pytest.fixture(scope="module")
def alone():
    """{size: batches of one worker}."""
    return {size: batches(numbered(size), 48, 3) for size in (13, 24)}


# Batches are larger than the epochs, and end within them.
@pytest.mark.parametrize("size, workers, replicas", [
    (13, 2, 1), (13, 3, 2),
    pytest.param(24, 8, 1, marks=pytest.mark.slow)])
def test_the_batches_are_the_same_for_any_number_of_workers(size, workers,
                                                            replicas, alone):
    shared = batches(numbered(size), 48, 3, workers, replicas)
    np.testing.assert_array_equal(shared, alone[size])
    # Epoch after epoch, each example once, wherever the batches end.
    for epoch in range(48 * 3 // size):
        seen = shared.ravel()[epoch * size:(epoch + 1) * size]
        assert sorted(seen) == list(range(size))


def test_what_goes_on_is_shared_as_well(alone):
    later = batches(numbered(13), 48, 1, 3, 2, start_step=2)
    np.testing.assert_array_equal(later[0], alone[13][2])


def test_a_run_that_goes_on_reads_what_it_needs():
    read = []

    def fetch(i):
        note = tf.numpy_function(lambda i: read.append(int(i)) or i, [i],
                                 tf.int64)
        return {"image": tf.zeros([1, 1, 3], tf.uint8), "name": "",
                "label": tf.reshape(note, [])}

    many = source.Indexed(num_examples=200_000, class_names=["a", "b"],
                          fetch=fetch)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    dataset = pipeline.train(source=many, ops=[ops.decode], batch_size=50,
                             seed=0, start_step=7_000)
    labels = next(iter(dataset.with_options(options)))["labels"].numpy()
    assert set(labels) <= set(read)
    assert len(read) < 500  # Of 350,000 before it.
    places = np.arange(50) + 7_000 * 50 - 200_000
    seeds = np.tile(np.array([[0, 1]], np.int64), [50, 1])  # Epoch 1.
    np.testing.assert_array_equal(labels, permuted(places, seeds, 200_000))


def test_a_class_with_examples_of_its_own_has_an_order_of_its_own():

    class Backwards(source.Indexed):

        def examples(self, *, seed=None, shard_index=0, num_shards=1, skip=0):
            numbers = tf.range(self.num_examples, dtype=tf.int64)[::-1]
            return self.fetched(tf.data.Dataset.from_tensor_slices(
                numbers[shard_index::num_shards]).skip(skip))

    read = Backwards(num_examples=4, class_names=["a"], fetch=lambda i: {
        "image": tf.zeros([1, 1, 3], tf.uint8), "label": i, "name": ""})
    assert not source.has_order(read)
    assert batches(read, 2, 3).ravel().tolist() == [3, 2, 1, 0, 3, 2]
    assert batches(read, 2, 1, start_step=1).ravel().tolist() == [1, 0]

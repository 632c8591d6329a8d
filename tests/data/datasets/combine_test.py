import collections
import functools

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.datasets import combine
from tfvit.data.datasets import source
from tfvit.data.datasets import sources
from tfvit.data.images import ops


def numbered(count, first=0, classes=("a", "b")):
    """A source whose pixels count from `first`, of two classes in turns."""
    images = np.arange(first, first + count).reshape(-1, 1, 1, 1)
    return sources.arrays(images=np.uint8(images * np.ones((1, 2, 2, 3))),
                          labels=np.arange(count) % 2, class_names=classes)


def streamed(count):
    """The same, read one after the other and shuffled in a buffer."""
    read = numbered(count)
    return source.Streamed(
        class_names=read.class_names, shuffle_buffer=4,
        read=lambda i, n: read.examples(shard_index=i, num_shards=n),
        shard_size=read.shard_size)


def pixels(examples):
    return [int(e["image"][0, 0, 0]) for e in (
        examples.as_numpy_iterator() if isinstance(examples, tf.data.Dataset)
        else examples)]


def mixed(weights, *parts):
    return combine.mixture(sources=[lambda p=p: p for p in parts],
                           weights=weights)


@pytest.mark.parametrize("first", [
    pytest.param(numbered, marks=pytest.mark.slow), streamed])
def test_an_epoch_holds_the_shares_and_every_example(first):
    read = mixed([3, 1], first(12), numbered(3, 100))
    seen = pixels(read.examples(seed=1))
    # 12 are 3/4 of 16, so that the others come 4 times among 3.
    assert read.num_examples == len(seen) == 16
    assert sorted(x for x in seen if x < 100) == list(range(12))
    assert len([x for x in seen if x >= 100]) == 4
    assert seen != pixels(read.examples(seed=2))
    assert seen == pixels(read.examples(seed=1))
    # Not one source after the other.
    assert len({x >= 100 for x in seen[:8]} | {x >= 100 for x in seen[8:]}) == 2


@pytest.mark.parametrize("first", [
    pytest.param(numbered, marks=pytest.mark.slow), streamed])
def test_skipping_leaves_out_the_first_examples(first):
    read = mixed([1, 1], first(5), numbered(8, 100))
    seen = []
    for index in range(2):
        shard = dict(seed=3, shard_index=index, num_shards=2)
        whole = pixels(read.examples(**shard))
        assert len(whole) == read.shard_size(index, 2)
        # Of each source some, and of one more than it has.
        assert pixels(read.examples(**shard, skip=5)) == whole[5:]
        seen += whole
    assert sorted(x for x in seen if x >= 100) == list(range(100, 108))


def test_over_epochs_all_examples_come_equally_often():
    read = mixed([2, 1], numbered(10), numbered(3, 100))  # 5 of 3 an epoch.
    size, epochs = read.num_examples, 60
    seeds = np.stack([np.arange(epochs).repeat(size), np.zeros(epochs * size)],
                     1).astype(np.int64)
    found = read.order(tf.constant(np.tile(np.arange(size), epochs)),
                       tf.constant(seeds)).numpy()
    # What fetched takes of the second source comes after all of the first's.
    seen = collections.Counter(found.tolist())
    (*ten, first, second, third) = sorted(seen)
    assert [seen[x] for x in ten] == [60] * 10
    assert pixels(read.fetched(tf.data.Dataset.from_tensor_slices(
        np.array([*ten, first, second, third])))) == [*range(10), 100, 101, 102]
    assert all(80 <= seen[x] <= 120 for x in (first, second, third))


def test_training_at_a_step_goes_on_as_it_would_have():
    build = functools.partial(
        pipeline.train, source=mixed([1, 2], streamed(7), numbered(5, 100)),
        ops=[ops.decode, ops.flip_lr], batch_size=4, seed=0)
    whole = list(build().take(9))
    batch = next(iter(build(start_step=8)))  # Of 21 an epoch: the second.
    for key, value in batch.items():
        np.testing.assert_array_equal(value, whole[8][key])


def test_classes_are_matched_by_name():
    read = mixed([1, 1], numbered(2), numbered(2, 100, ("c", "a")))
    assert read.class_names == ("a", "b", "c")
    found = {pixels([e])[0]: int(e["label"]) for e in read.examples()}
    assert found == {0: 0, 1: 1, 100: 2, 101: 0}


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -2]])
def test_weights_that_are_none_are_an_error(weights):
    with pytest.raises(ValueError, match="combine.mixture.weights=.*2 sources"):
        mixed(weights, numbered(2), numbered(2))


def test_probabilities_of_other_classes_are_an_error():
    dense = sources.arrays(images=np.zeros((2, 2, 2, 3)), labels=np.eye(2),
                           class_names=["x", "y"])
    with pytest.raises(ValueError, match="different classes"):
        mixed([1, 1], numbered(2), dense)


def test_a_source_too_small_for_the_workers_is_an_error():
    read = mixed([1, 9], streamed(1), numbered(9))
    with pytest.raises(ValueError, match="1 examples is too small for 2"):
        read.examples(shard_index=1, num_shards=2)


def test_in_memory_has_the_same_examples_and_reads_once(tmp_path):
    for i in range(6):
        path = tmp_path / "train" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(np.full((2, 2, 3), i, np.uint8))
                         .numpy())
    make = functools.partial(sources.folder, path=str(tmp_path), split="train")
    kept, read = combine.in_memory(source=make), make()
    expected = [{k: v.numpy() for k, v in e.items()}
                for e in read.examples(seed=5)]
    for path in (tmp_path / "train").rglob("*.png"):
        path.unlink()
    found = [{k: v.numpy() for k, v in e.items()}
             for e in kept.examples(seed=5)]
    assert found == expected and kept.class_names == read.class_names


def test_in_memory_shuffles_a_stream_wholly():
    kept = combine.in_memory(source=lambda: streamed(50))
    assert sorted(pixels(kept.examples(seed=0))) == list(range(50))
    assert max(pixels(kept.examples(seed=0))[:10]) > 20
    assert pixels(kept.examples(seed=0, skip=45)) == pixels(
        kept.examples(seed=0))[45:]


def encoded(tmp_path, sides):
    for i, side in enumerate(sides):
        path = tmp_path / "train" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(
            np.full((side, side, 3), i, np.uint8)).numpy())
    return functools.partial(sources.folder, path=str(tmp_path), split="train")


def test_in_memory_decodes_once(tmp_path):
    kept = combine.in_memory(source=encoded(tmp_path, [2] * 6), decoded=True)
    for example in kept.examples(seed=1):
        number = int(example["name"].numpy()[-5:-4])
        np.testing.assert_array_equal(example["image"],
                                      np.full((2, 2, 3), number, np.uint8))


def test_in_memory_says_how_much_it_would_take(tmp_path):
    make = encoded(tmp_path, [64] * 2)
    with pytest.raises(ValueError, match="2 images take about 2.29e-05 GiB "
                       "decoded, more than combine.in_memory.budget = 1e-05"):
        combine.in_memory(source=make, decoded=True, budget=1e-5)
    combine.in_memory(source=make, budget=1e-5)  # Their files are smaller.


def test_in_memory_decodes_no_images_of_several_sizes(tmp_path):
    with pytest.raises(ValueError, match="not decoded ones of several"):
        combine.in_memory(source=encoded(tmp_path, [2, 3]), decoded=True)


def test_in_memory_refuses_arrays_of_several_sizes():
    read = source.Indexed(
        num_examples=2, class_names=["a"],
        fetch=lambda i: {"image": tf.zeros([i + 1, 2, 3], tf.uint8),
                         "label": i, "name": ""})
    with pytest.raises(ValueError, match="combine.in_memory keeps encoded"):
        combine.in_memory(source=lambda: read)

"""Files that are read from front to back: who reads what, and in which order."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.datasets import files
from tfvit.data.datasets import sources
from tfvit.data.images import ops

COUNTS = (7, 4, 0, 12, 1)
TOTAL = sum(COUNTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """TFRecords of COUNTS examples, whose labels count up."""
    root, number = tmp_path_factory.mktemp("records"), 0
    image = tf.io.encode_png(np.zeros([1, 1, 3], np.uint8)).numpy()
    for file, count in enumerate(COUNTS):
        with tf.io.TFRecordWriter(str(root / str(file))) as writer:
            for _ in range(count):
                features = {
                    "image/encoded": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[image])),
                    "image/class/label": tf.train.Feature(
                        int64_list=tf.train.Int64List(value=[number]))}
                writer.write(tf.train.Example(features=tf.train.Features(
                    feature=features)).SerializeToString())
                number += 1
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))


def make(folder, shuffle_buffer=50_000):
    return sources.tfrecords(
        pattern=f"{folder}/*", num_examples=TOTAL,
        class_names=[str(i) for i in range(TOTAL)],
        shuffle_buffer=shuffle_buffer)


def labels(examples):
    return [int(label) for label in examples.map(
        lambda e: e["label"]).as_numpy_iterator()]


@pytest.mark.parametrize("shuffle_buffer, workers, seed", [
    (50_000, 1, 3), (50_000, 3, 3), (9, 2, 3), (9, 3, None), (9, 8, 3)])
def test_workers_share_an_epoch_and_read_no_file_of_others(
        folder, shuffle_buffer, workers, seed):
    read = make(folder, shuffle_buffer)
    shards = [dict(shard_index=i, num_shards=workers) for i in range(workers)]
    parts = [labels(read.examples(seed=seed, **shard)) for shard in shards]
    assert sorted(sum(parts, [])) == list(range(TOTAL))
    assert [len(part) for part in parts] == [
        read.shard_size(**shard) for shard in shards]
    if seed is None:  # A stretch of the files, one after the other.
        for part in parts:
            assert part == sorted(part) and max(part) - min(part) < len(part)


@pytest.mark.parametrize("shuffle_buffer", [50_000, 3])
def test_an_epoch_can_be_begun_anywhere(folder, shuffle_buffer):
    read = make(folder, shuffle_buffer)
    whole = labels(read.examples(seed=3))
    assert whole != labels(read.examples(seed=4))
    for skip in (0, 5, TOTAL):
        assert labels(read.examples(seed=3, skip=skip)) == whole[skip:]


@pytest.mark.parametrize("shuffle_buffer", [50_000, 9])
def test_training_goes_on_as_it_would_have(folder, shuffle_buffer):
    read = make(folder, shuffle_buffer)

    def steps(start, count):
        dataset = pipeline.train(
            source=read, batch_size=10, seed=0, start_step=start,
            ops=[ops.decode, functools.partial(ops.resize, size=1)],
            input_context=tf.distribute.InputContext(2, 1, 2))
        return [batch["labels"].numpy().tolist()
                for batch in dataset.take(count)]

    whole = steps(0, 8)
    size = read.shard_size(1, 2)
    epochs = [sorted(sum(whole, [])[i * size:(i + 1) * size]) for i in range(3)]
    # Files come in an order of the epoch's own, and so others to each worker.
    assert len(set(map(tuple, epochs))) > 1
    for start in (1, 5):
        assert steps(start, 1) == whole[start:start + 1]


def test_a_window_reads_its_own_records_alone():
    opened = []

    def read(file, skip):
        def note(file, skip):
            opened.append((int(file), int(skip)))
            return np.int64(0)

        begin = tf.numpy_function(note, [file, skip], tf.int64)
        return tf.data.Dataset.range(100).skip(skip + begin).map(
            lambda row: file * 100 + row)

    many = files.Files(
        class_names=["a"], counts=[100] * 20, read=read, shuffle_buffer=200,
        parse=lambda n: {"image": "", "label": n, "name": ""})
    dataset = many.endless(np.array([0, 0]), shard_index=1, num_shards=2,
                           skip=1_000 + 730)  # In the second epoch.
    numbers = labels(dataset.take(30))
    assert len(set(numbers)) == 30
    # A window and the next: a hundred records each, of two files each.
    assert len(opened) <= 6
    assert sum(skip > 0 for _, skip in opened) <= 2


def test_small_sets_are_mixed_wholly_and_large_ones_within_the_buffer():
    def order(buffer, seed):
        many = files.Files(
            class_names=["a"], counts=[1_000], shuffle_buffer=buffer,
            read=lambda file, skip: tf.data.Dataset.range(1_000).skip(skip),
            parse=lambda n: {"image": "", "label": n, "name": ""})
        return np.array(labels(many.examples(seed=seed)))

    for buffer in (1_000, 100):
        moved = np.abs(order(buffer, 1) - np.arange(1_000))
        assert moved.max() < buffer
        assert moved.mean() > buffer / 10
    # The windows of two epochs end at different places.
    ends = {tuple(sorted(order(100, seed)[:20])) for seed in range(6)}
    assert len(ends) > 1


def test_a_file_that_is_cut_short_is_named(folder, tmp_path):
    path = tmp_path / "cut"
    path.write_bytes((folder / "0").read_bytes()[:-5])
    with pytest.raises(ValueError, match=f"Cannot read {path}: after 6 records"):
        sources.tfrecords(pattern=str(path), class_names=["a"], num_examples=7)

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data import order
from tfvit.data import pipeline
from tfvit.data.datasets import sources
from tfvit.data.images import ops

CLASSES = [str(i) for i in range(1000)]


def numbered(count):
    """A source whose images say their number, which is the label, too."""
    images = np.arange(count).reshape(-1, 1, 1, 1) * np.ones((1, 4, 4, 3))
    return sources.arrays(images=images.astype(np.uint8),
                          labels=np.arange(count),
                          class_names=CLASSES)


def files(tmp_path, count, corrupt):
    """A folder of `count` PNG files of which some are cut short."""
    for i in range(count):
        contents = tf.io.encode_png(np.full((4, 4, 3), 10 + i, np.uint8))
        path = tmp_path / "train" / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        contents = contents.numpy()
        path.write_bytes(contents[:20] if i in corrupt else contents)
    return sources.folder(path=str(tmp_path), split="train")


def jitter(image, seed):
    """Adds a number that tells the seed."""
    return tf.cast(image, tf.float32) + tf.random.stateless_uniform([], seed)


def context(index, num_pipelines, replicas_per_pipeline=1):
    return tf.distribute.InputContext(num_pipelines, index,
                                      num_pipelines * replicas_per_pipeline)


def take(dataset, count):
    return [{
        k: v.numpy() for k, v in batch.items()
    } for batch in dataset.take(count)]


def assert_equal(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def labels(batches):
    return [int(x) for batch in batches for x in batch["labels"]]


OPS = [ops.decode, jitter, ops.flip_lr, jitter]
train = functools.partial(pipeline.train, ops=OPS, seed=3)


@pytest.mark.parametrize("skip_corrupt", [False, True])
@pytest.mark.parametrize("num_pipelines", [1, 2])
@pytest.mark.parametrize("start_step", [1, 4, 11])
def test_starting_at_a_step_continues_an_uninterrupted_run(
        num_pipelines, start_step, skip_corrupt):
    for index in range(num_pipelines):
        build = functools.partial(train,
                                  source=numbered(13),
                                  batch_size=4,
                                  input_context=context(index, num_pipelines),
                                  skip_corrupt=skip_corrupt)
        whole = take(build(), 14)
        assert_equal(take(build(start_step=start_step), 3),
                     whole[start_step:start_step + 3])


def test_starting_at_a_step_counts_the_batches_of_all_replicas():
    build = functools.partial(train,
                              source=numbered(13),
                              batch_size=8,
                              input_context=context(1, 2, 2))
    whole = take(build(), 12)
    assert whole[0]["images"].shape == (2, 4, 4, 3)
    assert_equal(take(build(start_step=4), 4), whole[8:12])


def test_every_epoch_is_complete_and_in_an_order_of_its_own():
    seen = labels(take(train(source=numbered(10), batch_size=4), 5))
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_workers_share_the_examples_of_an_epoch():
    seen = [
        labels(
            take(
                train(source=numbered(12),
                      batch_size=4,
                      input_context=context(index, 2)), 3))
        for index in range(2)
    ]
    assert [len(part) for part in seen] == [6, 6]
    assert sorted(seen[0] + seen[1]) == list(range(12))


def test_the_seed_changes_order_and_augmentation():
    first, again, other = (take(
        pipeline.train(source=numbered(20), ops=OPS, batch_size=20, seed=seed),
        1)[0] for seed in (0, 0, 1))
    assert_equal([first], [again])
    assert labels([first]) != labels([other])
    shifts = [
        set(batch["images"][:, 0, 0, 0] - batch["labels"])
        for batch in (first, other)
    ]
    assert not shifts[0] & shifts[1]


def test_random_ops_differ_between_examples_epochs_workers_and_places():
    values = []
    for index in range(2):
        batches = take(
            pipeline.train(source=numbered(6),
                           ops=[ops.decode, jitter],
                           batch_size=2,
                           seed=1,
                           input_context=context(index, 2)), 6)
        values.extend(
            float(batch["images"][0, 0, 0, 0] - batch["labels"][0])
            for batch in batches)
    assert len(set(values)) == 12
    # The two ops of one example.
    batch = take(
        pipeline.train(
            source=numbered(6),
            ops=[jitter, lambda image, seed: image - jitter(0, seed)],
            batch_size=6,
            seed=1), 1)[0]
    assert (batch["images"][:, 0, 0, 0] != batch["labels"]).all()


def test_training_batches_have_the_promised_types():
    batch = train(source=numbered(5), batch_size=2).element_spec
    assert batch == {
        "images": tf.TensorSpec([2, 4, 4, 3], tf.float32),
        "labels": tf.TensorSpec([2], tf.int64)
    }


def test_more_workers_than_examples_are_refused():
    with pytest.raises(ValueError, match="2 examples are too few for 3"):
        train(source=numbered(2), batch_size=3, input_context=context(2, 3))


def test_batches_that_replicas_cannot_share_are_refused():
    with pytest.raises(ValueError, match="batch_size = 5.* 4 replicas"):
        train(source=numbered(9), batch_size=5, input_context=context(0, 2, 2))


def test_ops_that_leave_the_size_open_are_refused(tmp_path):
    with pytest.raises(ValueError, match="flip_lr.*ops.resize"):
        pipeline.train(source=files(tmp_path, 4, []),
                       ops=[ops.decode, ops.flip_lr],
                       batch_size=2,
                       seed=0)


@pytest.mark.parametrize(
    "size,batch_size,num_pipelines,replicas",
    itertools.product([1, 5, 8, 9], [4, 8], [1, 2], [1, 2]))
def test_evaluation_sees_every_example_once(size, batch_size, num_pipelines,
                                            replicas):
    seen, counts = [], []
    for index in range(num_pipelines):
        dataset, num_batches = pipeline.evaluate(source=numbered(size),
                                                 ops=[ops.decode],
                                                 batch_size=batch_size,
                                                 input_context=context(
                                                     index, num_pipelines,
                                                     replicas))
        batches = take(dataset, -1)
        assert len(batches) == num_batches and num_batches % replicas == 0
        counts.append(num_batches)
        for batch in batches:
            assert len(batch["mask"]) == batch_size // num_pipelines // replicas
            real = batch["mask"] == 1
            assert (batch["mask"][~real] == 0).all()
            assert (batch["images"][~real] == 0).all()
            np.testing.assert_array_equal(batch["images"][real][:, 0, 0, 0],
                                          batch["labels"][real])
            seen.extend(batch["labels"][real])
    assert sorted(seen) == list(range(size))
    assert len(set(counts)) == 1
    # And no more work than needed: less than one step is filler.
    assert counts[0] / replicas == -(-size // batch_size) or size < batch_size


def test_evaluation_refuses_random_ops():
    with pytest.raises(ValueError, match=r"\['jitter'\]"):
        pipeline.evaluate(source=numbered(3), ops=[jitter], batch_size=2)


def test_skipping_gives_corrupt_images_weight_zero_and_names_them_once(
        tmp_path, capfd):
    source = files(tmp_path, 6, corrupt=[2])
    resize = functools.partial(ops.resize, size=4)
    dataset = pipeline.train(source=source,
                             ops=[ops.decode, resize],
                             batch_size=6,
                             seed=0,
                             skip_corrupt=True)
    for batch in take(dataset, 3):
        np.testing.assert_array_equal(np.sort(batch["images"][:, 0, 0, 0]),
                                      [0, 10, 11, 13, 14, 15])
        corrupt = batch["images"].max(axis=(1, 2, 3)) == 0
        np.testing.assert_array_equal(batch["weights"], 1. - corrupt)
        assert batch["labels"][corrupt] == 0
    assert capfd.readouterr().err.count("02.png") == 1


def test_skipping_does_not_change_the_other_examples(tmp_path):
    good = files(tmp_path / "good", 8, corrupt=[])
    bad = files(tmp_path / "bad", 8, corrupt=[3, 6])
    resize = functools.partial(ops.resize, size=4)
    batches = [
        take(
            pipeline.train(source=source,
                           ops=[ops.decode, resize, jitter],
                           batch_size=4,
                           seed=1,
                           skip_corrupt=True), 4) for source in (good, bad)
    ]
    for left, right in zip(*batches):
        weights = right["weights"]
        kept = left["images"] * weights[:, None, None, None]
        np.testing.assert_array_equal(kept, right["images"])
        assert (left["weights"] == 1).all()


def test_evaluation_masks_and_counts_corrupt_images(tmp_path):
    dataset, num_batches = pipeline.evaluate(
        source=files(tmp_path, 5, corrupt=[0, 4]),
        ops=[ops.decode, functools.partial(ops.resize, size=4)],
        batch_size=4,
        skip_corrupt=True)
    batches = take(dataset, -1)
    assert num_batches == 2
    assert sum(batch["mask"].sum() for batch in batches) == 3
    assert sum(batch["corrupt"].sum() for batch in batches) == 2


@pytest.mark.parametrize("num_pipelines", [1, 2])
def test_blame_names_the_file_at_which_training_stopped(tmp_path,
                                                        num_pipelines):
    source = files(tmp_path, 12, corrupt=[5])
    resize = functools.partial(ops.resize, size=4)
    blamed = []
    for index in range(num_pipelines):
        shard = dict(batch_size=2 * num_pipelines,
                     seed=1,
                     input_context=context(index, num_pipelines))
        iterator = iter(
            pipeline.train(source=source, ops=[ops.decode, resize], **shard))
        for step in range(12 // (2 * num_pipelines)):
            culprit = pipeline.blame(source, start_step=step, **shard)
            try:
                next(iterator)
                assert culprit is None
            except tf.errors.InvalidArgumentError:
                blamed.append(culprit)
                break
        else:
            continue
        assert pipeline.blame(source, start_step=0, num_steps=step + 1,
                              **shard) == culprit
    assert len(blamed) == 1
    assert "train/b/05.png: Invalid PNG" in blamed[0]
    assert "skip_corrupt = True" in blamed[0]


def test_blame_searches_all_examples_of_an_evaluation(tmp_path):
    source = files(tmp_path, 12, corrupt=[11])
    assert "11.png" in pipeline.blame(source, batch_size=4)
    assert pipeline.blame(numbered(5), batch_size=4) is None


@pytest.mark.parametrize("size,different", [(100, 8), (3, 3)])
def test_preview_shows_images_of_one_share_of_many(size, different):
    build = functools.partial(pipeline.train, ops=[ops.decode])
    images = pipeline.preview(build, numbered(size), seed=0, num_images=8)
    assert images.shape == (8, 4, 4, 3)
    assert len(np.unique(images)) == different
    assert np.ptp(images) > size / 2


@pytest.mark.parametrize("knob", [{"threads": 0}, {"ram_budget": -1}])
def test_threads_and_memory_are_above_0(knob):
    with pytest.raises(ValueError, match=r"pipeline.train.\w+ = .*above 0"):
        train(source=numbered(13), batch_size=4, **knob)


def test_threads_and_memory_change_no_bit():
    build = functools.partial(train, source=numbered(13), batch_size=4)
    assert_equal(take(build(threads=2, ram_budget=0.1), 5), take(build(), 5))


def test_a_slice_of_the_batches_reads_no_other_files(tmp_path):
    source = files(tmp_path, 12, corrupt=())
    share = order.share_of(batch_size=2, context=None)
    whole = [(int(n), r["name"].numpy()) for n, r in
             order.train_records(source, 0, 1, share).take(16)]
    some = order.train_records(source, 0, 2, share, every=3).take(4)
    assert [(int(n), r["name"].numpy()) for n, r in some] == [
        *whole[2:4], *whole[8:10]]

"""Images with captions: sources, random captions, resuming."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.data.datasets import fake_tfds
from tfvit.data import pipeline
from tfvit.data.datasets import captions
from tfvit.data.datasets import sources
from tfvit.data.datasets import targets
from tfvit.data.images import ops


def tokenizer(texts):
    """One token: the number in a text, -1 for an empty one."""
    texts = tf.strings.regex_replace(texts, "^$", "-1")
    return tf.strings.to_number(texts, tf.int32)[..., tf.newaxis]


def numbered(count):
    """Image i is filled with i; its i % 3 + 1 captions are 10 i, 10 i + 1, ..."""
    images = np.arange(count).reshape(-1, 1, 1, 1) * np.ones((1, 4, 4, 3))
    return captions.arrays(
        images=images.astype(np.uint8),
        captions=[[str(10 * i + j) for j in range(i % 3 + 1)]
                  for i in range(count)])


def train(source, **kwargs):
    return pipeline.train(
        source=source, ops=[ops.decode, functools.partial(ops.resize, size=4)],
        batch_size=4, tokenizer=tokenizer, **kwargs)


def rows(dataset, steps):
    """(image numbers, tokens) of so many batches, in order."""
    batches = list(dataset.take(steps).as_numpy_iterator())
    assert set(batches[0]) == {"images", "tokens"}
    assert batches[0]["tokens"].dtype == np.int32
    return [np.concatenate(x) for x in zip(*(
        (b["images"][:, 0, 0, 0], b["tokens"][:, 0]) for b in batches))]


def test_every_step_draws_one_of_the_images_own_captions():
    image, token = rows(train(numbered(11), seed=3), 300)
    np.testing.assert_array_equal(token // 10, image)
    # 1,200 draws, about 109 an image: uniform over its captions.
    for i in range(11):
        counts = np.bincount(token[image == i] % 10, minlength=i % 3 + 1)
        assert len(counts) == i % 3 + 1
        assert counts.min() > 0.6 * counts.mean()


def test_resuming_continues_the_same_captions():
    image, token = rows(train(numbered(11), seed=3), 12)
    later = rows(train(numbered(11), seed=3, start_step=7), 5)
    np.testing.assert_array_equal(later, [image[28:], token[28:]])
    other = rows(train(numbered(11), seed=4), 12)
    assert not np.array_equal(other[1], token)


def test_a_list_of_files_merges_the_lines_of_an_image(tmp_path):
    for name in "ab":
        pixels = np.full([2, 2, 3], ord(name), np.uint8)
        (tmp_path / f"{name}.png").write_bytes(
            tf.io.encode_png(pixels).numpy())
    (tmp_path / "x.csv").write_text(
        'image,caption\na.png,"one, two"\nb.png,three\na.png,four\n')
    (tmp_path / "x.jsonl").write_text("\n".join(
        json.dumps(row) for row in (
            {"image": "a.png", "caption": ["one, two", "four"]},
            {"image": "b.png", "caption": "three"})))
    for file in ("x.csv", "x.jsonl"):
        source = captions.table(path=str(tmp_path / file))
        found = [(r["name"].numpy(), r["label"].numpy().tolist())
                 for r in source.examples()]
        assert found == [
            (str(tmp_path / "a.png").encode(), [b"one, two", b"four"]),
            (str(tmp_path / "b.png").encode(), [b"three"]),
        ]
        pixels = ops.decode(next(iter(source.examples()))["image"])
        assert pixels[0, 0, 0] == ord("a")
        assert captions.most(source) == 2
    halves = [captions.table(path=str(tmp_path / "x.csv"), split=split)
              for split in ("all[:50%]", "all[50%:]")]
    assert [half.num_examples for half in halves] == [1, 1]


def pairs(tmp_path, lines, name="x.csv"):
    """A table of captions whose images are there."""
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(
            tf.io.encode_png(np.full([2, 2, 3], i, np.uint8)).numpy())
    (tmp_path / name).write_text("\n".join(lines))
    return str(tmp_path / name)


def files(path, split=None, **kwargs):
    source = captions.table(path=path, split=split, **kwargs)
    return [r["name"].numpy().decode().rsplit("/", 1)[-1]
            for r in source.examples()]


@pytest.mark.parametrize("column", ["split", "fold"])
def test_a_column_says_which_split_an_image_is_in(tmp_path, column):
    path = pairs(tmp_path, [f"image,caption,{column}", *(
        f"{i}.png,text {i},{('train', 'val', 'test')[i % 3]}"
        for i in range(20))])
    found = {split: files(path, split, split_column=column)
             for split in ("train", "val", "test")}
    for first, split in enumerate(found):
        assert sorted(found[split]) == sorted(
            f"{i}.png" for i in range(first, 20, 3))
    half = files(path, "train[:50%]", split_column=column)
    rest = files(path, "train[50%:]", split_column=column)
    assert sorted(half + rest) == sorted(found["train"]) and len(half) == 4
    assert len(files(path, split_column=column)) == 20
    for wrong in ("tain", "all", "all[:95%]", "Train"):
        with pytest.raises(ValueError, match=f"'{column}'.*'test', 'train'"):
            files(path, wrong, split_column=column)


@pytest.mark.parametrize("split", ["train", "val", "test", "tarin", "all"])
def test_a_table_without_such_a_column_has_no_splits_by_name(tmp_path, split):
    path = pairs(tmp_path, ["image,caption", "0.png,x", "1.png,y"])
    with pytest.raises(ValueError, match="captions.table.split = .*no column "
                       "'split': add one, or set a slice"):
        files(path, split)


@pytest.mark.parametrize("respell", [
    lambda i: f"{i}.png", lambda i: f"./{i}.png", lambda i: f"x/../{i}.png"])
def test_an_image_of_several_lines_lies_in_one_slice(tmp_path, respell):
    path = pairs(tmp_path, ["image,caption", *(
        f"{name},text" for i in range(20) for name in (f"{i}.png", respell(i)))])
    parts = [files(path, split) for split in ("a[:50%]", "a[50%:]")]
    assert len({*parts[0], *parts[1]}) == 20
    assert [len(part) for part in parts] == [10, 10]
    source = captions.table(path=path, split="a[:50%]")
    assert captions.most(source) == 2


def test_tabs_empty_rows_and_home_are_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pairs(tmp_path, ["image\tcaption", "0.png\tone, two", "\t", "1.png\tx"],
          "x.tsv")
    source = captions.table(path="~/x.tsv", root="~")
    assert source.num_examples == 2 and "1 empty rows" in source.notes[0]
    path = pairs(tmp_path, ["image;caption", "0.png;one, two"])
    with pytest.raises(ValueError, match="captions.table.delimiter = ';'"):
        files(path)


@pytest.mark.parametrize("lines, message", [
    ("image,caption\na.png,\n", "line 2: needs an image's name .*caption"),
    ("file,caption\na.png,x\n", "image_column"),
    ("image,caption\na.png,x\n", "a.png, which is not there"),
    ("image,caption\n", "has no images"),
])
def test_tables_that_cannot_work_are_refused(tmp_path, lines, message):
    path = tmp_path / "x.csv"
    path.write_text(lines)
    with pytest.raises(ValueError, match=message):
        captions.table(path=str(path))


def test_captions_need_a_tokenizer_and_labels_none():
    with pytest.raises(ValueError, match="tokenizer = None, .* 0 classes"):
        pipeline.train(source=numbered(4), ops=[ops.decode], batch_size=2,
                       seed=0)
    labelled = sources.arrays(images=np.zeros([4, 2, 2, 3], np.uint8),
                              labels=[0, 1, 0, 1], class_names=["x", "y"])
    with pytest.raises(ValueError, match="source has 2 classes"):
        train(labelled, seed=0)


def test_an_image_without_caption_stops_training_with_its_name():
    source = numbered(5)
    fetch = source._fetch

    def empty(index):
        record = fetch(index)
        return {**record, "label": record["label"][:0]}

    source._fetch = empty
    with pytest.raises(tf.errors.InvalidArgumentError, match="has no caption"):
        rows(train(source, seed=0), 1)


def test_coco_captions_reads_all_captions_of_an_image(tmp_path):
    fake_tfds.write_coco_captions(tmp_path, 9, 5)
    source = sources.tfds(name="coco_captions", split="train",
                          data_dir=str(tmp_path),
                          target=targets.captions, shuffle_buffer=5)
    assert source.num_examples == 9 and source.class_names == ()
    assert captions.most(source) == 7
    image, token = rows(train(source, seed=0), 30)
    # JPEG keeps such flat images to within one grey level.
    assert np.abs(token // 10 - image).max() <= 1
    assert len(set(token)) > 30


def test_evaluation_pads_captions_to_the_most_of_an_image():
    dataset, num_batches = pipeline.evaluate(
        source=numbered(5), ops=[ops.decode], batch_size=4,
        annotate=captions.every(tokenizer, 3))
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == num_batches == 2
    np.testing.assert_array_equal(batches[0]["tokens"][..., 0],
                                  [[0, -1, -1], [10, 11, -1], [20, 21, 22],
                                   [30, -1, -1]])
    np.testing.assert_array_equal(batches[1]["captions"], [2, 0, 0, 0])
    np.testing.assert_array_equal(batches[1]["mask"], [1, 0, 0, 0])


def test_a_corrupt_image_keeps_its_place_with_weight_zero(tmp_path):
    for i in range(4):
        pixels = tf.io.encode_png(np.full([2, 2, 3], i, np.uint8)).numpy()
        (tmp_path / f"{i}.png").write_bytes(pixels[:20] if i == 2 else pixels)
    (tmp_path / "x.csv").write_text("image,caption\n" + "".join(
        f"{i}.png,{10 * i}\n" for i in range(4)))
    dataset = train(captions.table(path=str(tmp_path / "x.csv")), seed=0,
                    skip_corrupt=True)
    batch = next(dataset.as_numpy_iterator())
    valid = batch["weights"] > 0
    assert sorted(batch["tokens"][valid, 0]) == [0, 10, 30]
    np.testing.assert_array_equal(batch["tokens"][~valid], [[0]])

"""Records equal the examples they were made of, also after an interruption."""

import os

from absl import flags
from absl.testing import flagsaver
import gin
import numpy as np
import pytest
import tensorflow as tf

from tfvit import config
from tfvit import experiment
from tfvit.data.datasets import sources
from tfvit.data.images import ops
from tools import to_tfrecords


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen images of two classes, with a train and a val split."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 1)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = tf.constant(random.integers(0, 256, [4, 5, 3]),
                                     tf.uint8)
                (root / split / name / f"{i}.png").write_bytes(
                    tf.io.encode_png(pixels).numpy())
    return root


def convert(folder, records, *arguments):
    with flagsaver.flagsaver():
        flags.FLAGS([
            "to_tfrecords", "--gin_file=gin/data/folder.gin",
            f"--gin_bindings=FOLDER = {str(folder)!r}",
            "--gin_bindings=train/sources.folder.split = 'train'",
            "--gin_bindings=val/sources.folder.split = 'val'",
            f"--records={records}", *arguments])
        to_tfrecords.main()


def contents(source):
    return sorted((e["image"].numpy(), int(e["label"]))
                  for e in source.examples())


def read(records, split):
    """The source that data.gin makes of a split."""
    config.parse([f"{records}/data.gin"])
    return config.sources()[split]()


@pytest.mark.parametrize("name", ["records[12]", "records?", "re*"])
def test_records_may_lie_in_a_folder_called_like_a_pattern(folder, tmp_path,
                                                           name):
    for out, shards in (("records1", 2), (name, 3)):
        convert(folder, tmp_path / out, f"--shards={shards}")
        convert(folder, tmp_path / out, f"--shards={shards}")  # All is there.
    assert len(list((tmp_path / "records1").iterdir())) == 2 * 2 + 3
    for split, count in (("train", 14), ("val", 2)):
        before = sources.folder(path=str(folder), split=split)
        assert contents(read(tmp_path / name, split)) == contents(before)
        # Not those beside it.
        assert len(contents(sources.tfrecords(
            pattern=f"{tmp_path}/{name}/{split}-*",
            class_names=before.class_names))) == count
    one = str(tmp_path / "records1" / "[tv]*")
    os.rename(tmp_path / "records1" / "val-00000-of-00002.tfrecord", one)
    assert len(contents(sources.tfrecords(
        pattern=one, class_names=before.class_names))) == 1
    with pytest.raises(ValueError, match="holds other files of train"):
        convert(folder, tmp_path / name, "--shards=2")


def test_records_equal_the_files_and_are_read_by_the_gin_file(folder, tmp_path):
    convert(folder, tmp_path, "--shards=3")
    for split, count in (("train", 14), ("val", 2)):
        before = sources.folder(path=str(folder), split=split)
        after = read(tmp_path, split)
        assert contents(after) == contents(before)
        assert after.class_names == before.class_names == ("cat", "dog")
        assert after.num_examples == count
    assert gin.query_parameter("NUM_CLASSES/gin.macro.value") == 2
    files = sorted(p.name for p in tmp_path.iterdir())
    assert files[:6] == ["class_names.txt", "config.gin", "data.gin",
                         "train-00000-of-00003.tfrecord",
                         "train-00001-of-00003.tfrecord",
                         "train-00002-of-00003.tfrecord"]
    assert len(files) == 9


def test_each_file_holds_all_classes_shuffled(folder, tmp_path):
    convert(folder, tmp_path, "--shards=2")
    for index in range(2):
        path = to_tfrecords.shard_path(str(tmp_path), "train", index, 2)
        one = sources.tfrecords(pattern=path, class_names=["cat", "dog"])
        labels = [int(e["label"]) for e in one.examples()]
        assert sum(labels) in (3, 4) and labels != sorted(labels)


def test_the_data_file_makes_an_experiment_with_a_recipe(folder, tmp_path):
    convert(folder, tmp_path)
    config.parse(["gin/recipes/augreg.gin", f"{tmp_path}/data.gin"],
                 ["AUGREG = 'Ti_16'"])
    for op in (ops.decode, ops.decode_and_inception_crop):
        assert config.settings(op)["upright"]  # As gin/data/folder.gin has it.
    exp = gin.get_configurable(experiment.Experiment)()
    assert list(exp.evaluators) == ["val"]
    assert exp.train_source().num_examples == 14


def test_arrays_become_png_with_the_same_pixels(tmp_path):
    source = sources.arrays(
        images=np.random.default_rng(0).integers(0, 256, [5, 8, 8, 1]),
        labels=[2, 0, 1, 1, 2], class_names="abc")
    to_tfrecords.convert("train", source, str(tmp_path), num_shards=1)
    after = sources.tfrecords(pattern=f"{tmp_path}/*", class_names="abc")

    def pixels(source):
        return sorted((ops.decode(e["image"]).numpy().tobytes(),
                       int(e["label"])) for e in source.examples())

    assert pixels(after) == pixels(source)


def test_an_interrupted_copy_goes_on_and_never_shows_half_a_file(
        folder, tmp_path, monkeypatch):
    written = []
    real = to_tfrecords.example

    def stops(record):
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(record["name"].numpy())
        return real(record)

    monkeypatch.setattr(to_tfrecords, "example", stops)
    with pytest.raises(KeyboardInterrupt):
        convert(folder, tmp_path, "--shards=3")
    complete = tmp_path / "train-00000-of-00003.tfrecord"
    assert [p.name for p in tmp_path.glob("*.tfrecord")] == [complete.name]
    before = os.stat(complete).st_mtime_ns
    monkeypatch.setattr(to_tfrecords, "example", real)
    convert(folder, tmp_path, "--shards=3")
    assert os.stat(complete).st_mtime_ns == before
    assert contents(read(tmp_path, "train")) == contents(
        sources.folder(path=str(folder), split="train"))
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_copy_that_lacks_a_file_does_not_train(folder, tmp_path, lost):
    convert(folder, tmp_path, "--shards=3")
    path = tmp_path / f"train-0000{lost}-of-00003.tfrecord"
    path.rename(f"{path}.unfinished")
    with pytest.raises(ValueError, match=f"lacks 1 of 00003 .*{path.name}"):
        read(tmp_path, "train")
    assert read(tmp_path, "val").num_examples == 2
    convert(folder, tmp_path, "--shards=3")  # Writes the rest.
    assert read(tmp_path, "train").num_examples == 14


@pytest.mark.parametrize("cut", [lambda data: data[:-5], lambda data: data[
    :12 + int.from_bytes(data[:8], "little") + 4], lambda data: b""])
def test_a_file_that_was_cut_short_does_not_train(folder, tmp_path, cut,
                                                  monkeypatch):
    convert(folder, tmp_path, "--shards=2")
    assert "train/sources.tfrecords.num_bytes = " in (
        tmp_path / "data.gin").read_text()
    path = tmp_path / "train-00001-of-00002.tfrecord"
    path.write_bytes(cut(path.read_bytes()))
    monkeypatch.setattr(sources.records, "_COUNTED", 0)
    with pytest.raises(ValueError, match="bytes, not the .*num_bytes"):
        read(tmp_path, "train")
    # The same command does not take the files for right, but says what to do.
    before = (tmp_path / "data.gin").read_text()
    with pytest.raises(ValueError, match="Remove train-.*tfrecord there"):
        convert(folder, tmp_path, "--shards=2")
    assert (tmp_path / "data.gin").read_text() == before
    # As copies of earlier versions are, whose data.gin has no sizes.
    text = (tmp_path / "data.gin").read_text()
    (tmp_path / "data.gin").write_text("".join(
        line for line in text.splitlines(True) if "num_bytes" not in line))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="Cannot read|hold .* records, not"):
        read(tmp_path, "train")


def test_records_keep_what_the_labels_depend_on(tmp_path):
    with flagsaver.flagsaver():
        flags.FLAGS(["to_tfrecords", "--gin_file=gin/data/digits.gin",
                     f"--records={tmp_path}", "--split=test"])
        to_tfrecords.main()
    config.parse(["gin/recipes/augreg.gin", f"{tmp_path}/data.gin"],
                 ["AUGREG = 'Ti_16'"])
    ops_of = gin.query_parameter("pipeline.train.ops")
    assert "flip_lr" not in str(ops_of)


def test_another_dataset_or_number_of_files_is_refused(folder, tmp_path):
    convert(folder, tmp_path, "--shards=2")
    with pytest.raises(ValueError, match="--shards as then"):
        convert(folder, tmp_path, "--shards=3")
    with pytest.raises(ValueError, match="config.gin belongs to another"):
        convert(folder, tmp_path, "--gin_bindings=train/sources.folder.split "
                "= 'train[:50%]'")


@pytest.mark.parametrize("argument, message", [
    ("--split=test", "test is none of train, val"), ("--split=val", None)])
def test_splits_can_be_chosen(folder, tmp_path, argument, message):
    if message:
        with pytest.raises(ValueError, match=message):
            convert(folder, tmp_path, argument)
    else:
        convert(folder, tmp_path, argument)
        assert not list(tmp_path.glob("train*"))
        assert len(contents(read(tmp_path, "val"))) == 2


def test_several_labels_are_refused(tmp_path):
    source = sources.arrays(images=np.zeros([2, 4, 4, 3]), class_names="abc",
                            labels=np.eye(3)[:2])
    with pytest.raises(ValueError, match="several labels"):
        to_tfrecords.convert("train", source, str(tmp_path))

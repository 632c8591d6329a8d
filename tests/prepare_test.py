"""tfvit prepare: what it writes is read by us, by TFDS's readers, at once."""

import json
import os
import pathlib

from array_record.python import array_record_data_source
import gin
import numpy as np
import pytest
import tensorflow as tf

from tests import preparing
from tfvit import config
from tfvit import experiment
from tfvit.data.datasets import array_records
from tfvit.data.datasets import prepared
from tfvit.data.datasets import sources
from tfvit.data.images import ops
from tfvit.data.preparation import photos
from tfvit.data.preparation import shards
from tfvit.finetuning import dataset

KINDS = ("array_record", "tfrecord")
both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of two classes, a train and a val split, and a broken file."""
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
    (root / "train/dog/broken.png").write_bytes(b"\x89PNG and no more")
    return root


def run(data, out, **arguments):
    return preparing.make(str(data), str(out), **arguments)


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """{kind: where the folder is prepared so, in three files}."""
    found = {}
    for kind in KINDS:
        found[kind] = tmp_path_factory.mktemp(kind)
        run(folder, found[kind], kind=kind, num_shards=3)
    return found


def contents(source, **arguments):
    return sorted((e["image"], int(e["label"]), e["name"])
                  for e in source.examples(**arguments).as_numpy_iterator())


def expected(folder, split):
    return [row for row in contents(sources.folder(path=str(folder),
                                                   split=split))
            if b"broken" not in row[2]]


@both
def test_it_equals_the_files_but_for_broken_ones(kind, made, folder):
    for split, count in (("train", 14), ("val", 2)):
        read = prepared.images(path=str(made[kind]), split=split, verify=True)
        assert contents(read) == expected(folder, split)
        assert read.class_names == ("cat", "dog")
        assert read.num_examples == count
        assert sorted(read.labels) == [0] * (count // 2) + [1] * (count // 2)
    assert (made[kind] / "train.left_out.txt").read_text().startswith(
        f"{folder}/train/dog/broken.png\t")
    said = json.loads((made[kind] / "train.index.json").read_text())
    assert said["left_out"] == 1 and said["examples"] == 14
    assert said["statistics"]["images_of_a_class"]["min"] == 7
    assert said["statistics"]["width"] == {"min": 5, "median": 5, "max": 5}
    names = {path.name for path in made[kind].iterdir()}
    assert not [name for name in names if "unfinished" in name]
    assert len(names) == 3 + 2 + 2 + 2 + 1 + 2  # Nor anything else.


@both
def test_any_number_of_workers_shares_it_and_goes_on_anywhere(kind, made):
    read = prepared.images(path=str(made[kind]), split="train")
    every = contents(read)
    parts = [contents(read, seed=1, shard_index=i, num_shards=3)
             for i in range(3)]  # Of other numbers: source_test.
    assert sorted(sum(parts, [])) == every

    names = [[e["name"] for e in read.examples(
        seed=1, skip=skip).as_numpy_iterator()] for skip in (0, 9)]
    assert names[1] == names[0][9:] and names[0] != sorted(names[0])


@both
def test_slices_share_no_image(kind, made):
    parts = [contents(prepared.images(path=str(made[kind]), split=split))
             for split in ("train[:30%]", "train[30%:75%]", "train[75%:]")]
    assert sorted(sum(parts, [])) == contents(
        prepared.images(path=str(made[kind]), split="train"))
    assert [len(part) for part in parts] == [4, 6, 4]


def test_strangers_read_it(made):
    files = sorted(map(str, made["array_record"].glob("train-*.array_record")))
    theirs = array_record_data_source.ArrayRecordDataSource(files)
    ours = list(prepared.images(path=str(made["array_record"]),
                                split="train").examples().as_numpy_iterator())
    assert len(theirs) == len(ours) == 14
    for i in (0, 13, 5):
        features = tf.train.Example.FromString(theirs[i]).features.feature
        assert features["image/encoded"].bytes_list.value[0] == ours[i]["image"]
        assert features["image/class/label"].int64_list.value[0] == (
            ours[i]["label"])
    streamed = sources.tfrecords(
        pattern=f"{made['tfrecord']}/train-*", num_examples=14,
        class_names=["cat", "dog"])
    assert [row[:2] for row in contents(streamed)] == [
        row[:2] for row in contents(prepared.images(
            path=str(made["tfrecord"]), split="train"))]


def test_finetune_and_recipes_read_the_folder(made):
    found = dataset.read(str(made["array_record"]))
    assert found.sizes == {"train": 14, "val": 2}
    assert found.class_names == ("cat", "dog") and found.share is None
    config.parse(["gin/recipes/augreg.gin", f"{made['tfrecord']}/data.gin"],
                 ["AUGREG = 'Ti_16'"])
    assert gin.query_parameter("NUM_CLASSES/gin.macro.value") == 2
    exp = gin.get_configurable(experiment.Experiment)()
    assert list(exp.evaluators) == ["val"]
    # Photos that are shown to the model later stand upright, as these do.
    assert config.settings(ops.decode)["upright"] is True
    assert exp.train_source().num_examples == 14


# Within a file and at the end; after one.
@pytest.mark.parametrize("kind, counts", [("array_record", (3, 17)),
                                          ("tfrecord", (9,))])
def test_what_is_stopped_anywhere_goes_on(kind, counts, folder, made, tmp_path,
                                          monkeypatch):
    arguments = dict(data=folder, out=tmp_path, kind=kind, num_shards=3)
    reached = 0
    real = shards.index_lib.write_json, shards._example

    class Stop(BaseException):
        pass

    def stops(count, call):
        def maybe(*values):
            nonlocal reached
            reached += 1
            if reached == count:
                raise Stop
            return call(*values)
        return maybe

    for count in counts:
        reached = 0
        monkeypatch.setattr(shards, "_example", stops(count, real[1]))
        monkeypatch.setattr(shards.index_lib, "write_json",
                            stops(count, real[0]))
        with pytest.raises(Stop):
            run(**arguments)
        monkeypatch.undo()
        assert not (tmp_path / "data.gin").exists()
    run(**arguments)
    for path in made[kind].iterdir():
        assert (tmp_path / path.name).read_bytes().replace(
            str(tmp_path).encode(), b"X") == path.read_bytes().replace(
                str(made[kind]).encode(), b"X"), path


@pytest.mark.parametrize("argument, message", [
    (dict(kind="tfrecord"), "its format was array_record, not tfrecord"),
    (dict(short_side=3), "its short_side was None, not 3"),
    (dict(num_shards=2), "its shards was 3, not 2"),
    (dict(splits=["test"]), "test is none of train, val")])
def test_another_preparation_is_refused(argument, message, folder, made):
    before = {p: p.stat().st_mtime_ns for p in made["array_record"].iterdir()}
    with pytest.raises(ValueError, match=message):
        run(folder, made["array_record"], **{"num_shards": 3, **argument})
    assert before == {p: p.stat().st_mtime_ns
                      for p in made["array_record"].iterdir()}


def test_the_source_stays_as_it_is(folder):
    before = sorted(folder.rglob("*"))
    for out in (folder, folder / "train/more"):
        with pytest.raises(ValueError, match="lies in .*: write beside it"):
            run(folder, out)
    assert sorted(folder.rglob("*")) == before


def test_a_file_that_is_not_as_it_was_is_named(folder, tmp_path):
    run(folder, tmp_path, num_shards=1, splits=["val"])
    (path,) = tmp_path.glob("val-*")
    right = path.read_bytes()
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"1 of 1 files differ.*{path.name}"):
        prepared.images(path=str(tmp_path), split="val", verify=True)
    path.write_bytes(right[:-1])
    with pytest.raises(ValueError, match=f"{path} has .* bytes, and .*index"):
        prepared.images(path=str(tmp_path), split="val")
    path.unlink()
    with pytest.raises(ValueError, match=f"{path} is not there"):
        prepared.images(path=str(tmp_path), split="val")
    path.write_bytes(right)
    for name in ("val.table.npz", "val.index.json"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:100])
        with pytest.raises(ValueError, match=f"{name} is damaged .*anew"):
            prepared.images(path=str(tmp_path), split="val")
        (tmp_path / name).write_bytes(whole)
    with pytest.raises(ValueError, match="no train.index.json.*has the splits "
                       "val"):
        prepared.images(path=str(tmp_path), split="train")


@both
def test_captions_several_labels_and_further_fields_come_along(kind, tmp_path):
    table = tmp_path / "captions.csv"
    image = tf.io.encode_png(np.zeros([3, 3, 3], np.uint8)).numpy()
    (tmp_path / "x.png").write_bytes(image)
    (tmp_path / "y.png").write_bytes(image)
    table.write_text("image,caption,split\nx.png,a cat,train\n"
                     "x.png,\"a \u00e9, too\",train\ny.png,why,val\n")
    run(table, tmp_path / "out", kind=kind)
    (example,) = prepared.images(path=str(tmp_path / "out"),
                                 split="train").examples().as_numpy_iterator()
    assert [text.decode() for text in example["label"]] == ["a cat",
                                                            "a \u00e9, too"]
    config.parse([f"{tmp_path}/out/data.gin"])
    assert [make().num_examples for make in config.sources().values()] == [1, 1]
    boxes = np.arange(4, dtype=np.float32).reshape(1, 4)
    several = sources.arrays(images=np.zeros([2, 4, 4, 3]), class_names="abc",
                             labels=np.eye(3)[:2])
    fetch = several._fetch
    several._fetch = lambda i: {**fetch(i), "boxes": tf.constant(boxes),
                                "id": i}
    (tmp_path / "more").mkdir()
    plan = shards.Plan(str(tmp_path / "more"), kind, photos.maker(None, 95))
    shards.write(plan, "train", several)
    found = sorted(prepared.images(path=str(tmp_path / "more"), split="train")
                   .examples().as_numpy_iterator(), key=lambda e: e["id"])
    np.testing.assert_array_equal([e["label"] for e in found], np.eye(3)[:2])
    np.testing.assert_array_equal(found[1]["boxes"], boxes)
    assert found[1]["id"] == 1 and found[0]["boxes"].dtype == np.float32


def test_without_the_package_tfrecords_are_written(folder, tmp_path,
                                                   monkeypatch, caplog):
    monkeypatch.setattr(array_records, "array_record_module", None)
    with pytest.raises(ValueError, match="not there.*--format=tfrecord"):
        run(folder, tmp_path, kind="array_record")
    with caplog.at_level("INFO"):
        run(folder, tmp_path, splits=["val"], num_shards=50)
    assert "Writing TFRecords: the package array_record is not" in caplog.text
    assert [p.suffix for p in pathlib.Path(tmp_path).glob("val-*")] == [
        ".tfrecord"] * 2  # No more than images.
    assert os.path.exists(tmp_path / "data.gin")

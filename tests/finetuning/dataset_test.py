"""DATA is recognised, counted and split, or refused in one sentence."""

import json
import pathlib
import shutil

import pytest

from tests import preparing
from tests.data.datasets import fake_tfds
from tests.finetuning import photos
from tfvit import config
from tfvit.finetuning import dataset
from tfvit.finetuning import kinds

NAMES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """plain/{class}/*, split/{training,test}/{class}/*, tables, records."""
    root = tmp_path_factory.mktemp("data")
    photos.draw(root / "plain", 20)
    photos.draw(root / "split" / "training", 10)
    photos.draw(root / "split" / "test", 4, seed=1)
    rows = [{"image": f"plain/{name}/{i:03}.jpg", "label": name,
             "split": "train" if i < 12 else "dev" if i < 15 else "test"}
            for name in NAMES for i in range(20)]
    table(root / "split.csv", rows)
    table(root / "split.tsv", rows, "\t")
    table(root / "plain.csv", [dict(list(r.items())[:2]) for r in rows])
    (root / "split.jsonl").write_text("".join(
        json.dumps(row) + "\n" for row in rows))
    preparing.make(f"{root}/plain", f"{root}/records")
    return root


def table(path, rows, delimiter=","):
    path.write_text("".join(delimiter.join(row) + "\n" for row in (
        rows[0], *(row.values() for row in rows))))


@pytest.mark.parametrize("data, sizes, share", [
    ("plain", {"train": 54, "val": 6}, 0.1),
    ("split", {"train": 27, "val": 3, "test": 12}, 0.1),
    ("plain.csv", {"train": 54, "val": 6}, 0.1),
    ("split.csv", {"train": 36, "val": 9, "test": 15}, None),
    ("split.tsv", {"train": 36, "val": 9, "test": 15}, None),
    ("split.jsonl", {"train": 36, "val": 9, "test": 15}, None),
    ("records", {"train": 54, "val": 6}, None),
    ("records/data.gin", {"train": 54, "val": 6}, None),
])
def test_images_are_counted_and_split(root, data, sizes, share):
    found = dataset.read(str(root / data))
    assert (found.sizes, found.share) == (sizes, share)
    assert found.class_names == NAMES
    # And the lines say it to whoever reads them alone.
    dataset.parse(dataset.text(found.includes, found.lines))
    read = {name: make().num_examples for name, make in config.sources().items()}
    assert read == sizes


def test_no_image_is_in_two_splits(root):
    for data in ("plain", "split", "plain.csv", "split.csv"):
        dataset.read(str(root / data))
        seen = [{str(e["name"].numpy()) for e in make().examples()}
                for make in config.sources().values()]
        assert len(set().union(*seen)) == sum(map(len, seen))


def test_the_share_is_what_one_says(root):
    found = dataset.read(str(root / "plain"), val_share=0.25)
    assert found.sizes == {"train": 45, "val": 15}
    for share in (0, 0.001, 0.125, 0.6, -0.1):
        with pytest.raises(ValueError, match=f"--val_share={share:g} must be"):
            dataset.read(str(root / "plain"), val_share=share)
    with pytest.raises(ValueError, match="--val_share=0.2: .* its own"):
        dataset.read(str(root / "split.csv"), val_share=0.2)


def test_bindings_change_how_data_is_read(root, tmp_path):
    path = tmp_path / "other.csv"
    table(path, [{"image": f"{root}/plain/{name}/{i:03}.jpg", "kind": name}
                 for name in NAMES for i in range(4)])
    binding = "sources.manifest.label_column = 'kind'"
    assert dataset.read(str(path), overrides=((), (binding,))).sizes == {
        "train": 9, "val": 3}


@pytest.mark.parametrize("data", ["cifar10", "cifar10:3.0.2"])
def test_a_dataset_of_tfds_has_splits_of_its_own(tmp_path, data):
    fake_tfds.write_cifar10(tmp_path, 50, 10)
    found = dataset.read(data, overrides=(
        (), (f"DATA_DIR = '{tmp_path}'",)))
    # gin/data/cifar10.gin keeps 2 % to validate, as the papers; else a tenth.
    val = 1 if data == "cifar10" else 5
    assert found.sizes == {"train": 50 - val, "val": val, "test": 10}
    assert found.class_names == fake_tfds.CIFAR10_CLASSES
    assert found.name.startswith("cifar10")


def test_a_class_may_be_called_like_a_split(tmp_path):
    photos.draw(tmp_path, 4)
    (tmp_path / "circle").rename(tmp_path / "train")
    assert dataset.read(str(tmp_path)).class_names == ("square", "train",
                                                       "triangle")


@pytest.mark.parametrize("make, message", [
    (lambda p: None, "is an empty folder"),
    (lambda p: p.rmdir(), "does not exist. Did you mean 'daten'"),
    (lambda p: photos.draw(p / "a", 3) and shutil.move(p / "a/circle", p) and
     shutil.rmtree(p / "a"), r"class folders \['circle'\]: at least two"),
    (lambda p: photos.draw(p, 3) and [
        f.unlink() for f in (p / "square").glob("00[12]*")],
     "1 of 3 classes have fewer than 2 images .* 'square'"),
    (lambda p: (p / "a.jpg").write_bytes(b"x"), "has 1 images and no folders"),
    (lambda p: [(p / f"a.{s}").write_text("x") for s in ("jpg", "txt")],
     "has captions, not classes"),
    (lambda p: [(p / f"a.{s}").write_text("x") for s in ("jpg", "csv")],
     "has no folders of classes. If a.csv names .* give that"),
    (lambda p: (p / "x.tfrecord-00000-of-00001").write_text("x"),
     "without the data.gin that tfvit prepare"),
    (lambda p: (p / "config.gin").write_text("x"), "the directory of a run"),
])
def test_a_folder_that_is_no_data_is_refused(tmp_path, make, message):
    (tmp_path / "daten").mkdir()
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    with pytest.raises(ValueError, match=message):
        dataset.read(str(tmp_path / "data"))


@pytest.mark.parametrize("name, content, message", [
    ("a.jpg", "", "is one image. Give the folder"),
    ("a.HEIC", "", "is one image"),
    ("a.zip", "", "is an archive: unpack it"),
    ("a.tar.gz", "", "is an archive"),
    ("a.npz", "", "To start from these weights: --from="),
    ("a.tfrecord", "", "without the data.gin"),
    ("a.pdf", "", "neither a folder of images nor a table"),
    ("a.csv", "image,caption\na.jpg,A cat.\n", "has captions, not classes"),
    ("a.csv", "image,label\n", "lists no images"),
    ("a.csv", "image,label\na.jpg,cat\nb.jpg,cat\n", "two or more classes"),
    ("a.csv", "file,label\na.jpg,cat\n", "no 'image'; there are"),
    ("a.csv", "image,label,split\na.jpg,cat,one\nb.jpg,dog,two\n",
     "the column 'split' has 'one', 'two', and no 'train'"),
    ("a.csv", "image,label,split\na.jpg,cat,train1\nb.jpg,dog,train2\n",
     "has 'train1' and 'train2': which is for train"),
])
def test_a_file_that_is_no_data_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        dataset.read(str(tmp_path / name))


@pytest.mark.parametrize("data, message", [
    ("gin/data/digits.gin", "no split to validate on; it has train, test"),
    ("/no/such/folder", "/no/such/folder does not exist"),
    ("gs://no-such-bucket-of-anybody.x/y.zip", "does not exist"),
    ("cifra10", "no file or folder; as a dataset of TFDS: .* cifar10"),
])
def test_a_name_that_is_no_data_is_refused(data, message, monkeypatch):
    monkeypatch.setattr(kinds.tf.io.gfile, "exists",
                        lambda path: pathlib.Path(path).exists())
    with pytest.raises(ValueError, match=message):
        dataset.read(data)

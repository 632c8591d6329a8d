"""DATA may be files that hold many images each."""

import io
import pathlib
import tarfile

import pytest

from tests.finetuning import photos
from tfvit.finetuning import dataset

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "hugging_face"
NAMES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    photos.draw(root / "plain", 10)
    return root


def shard(path, samples):
    """A tar file of {key: (class, bytes)} as WebDataset has them."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, (label, data) in samples.items():
            for suffix, content in ("jpg", data), ("cls", label.encode()):
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("data, sizes, share", [
    ("shards", {"train": 27, "val": 3}, 0.1),
    ("shards/train-{00..01}.tar", {"train": 27, "val": 3}, 0.1),
    ("split_shards", {"train": 30, "val": 30}, None)])
def test_tar_shards_are_counted_and_split(root, tmp_path, monkeypatch, data,
                                          sizes, share):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    files = sorted((root / "plain").glob("*/00?.jpg"))
    samples = [(f"{i:03}", (file.parent.name, file.read_bytes()))
               for i, file in enumerate(files)]
    shard(tmp_path / "shards/train-00.tar", dict(samples[:20]))
    shard(tmp_path / "shards/train-01.tar", dict(samples[20:]))
    for split in "train", "validation":
        shard(tmp_path / f"split_shards/{split}-0.tar", dict(samples))
    found = dataset.read(str(tmp_path / data))
    assert (found.sizes, found.share) == (sizes, share)
    assert found.class_names == NAMES
    assert found.train == "train/webdataset.shards"


@pytest.mark.parametrize("form, maker", [("hub", "parquet"), ("disk", "arrow")])
def test_folders_of_hugging_face_have_their_splits(form, maker):
    pytest.importorskip("pyarrow", reason="pip install 'tfvit[parquet]'")
    found = dataset.read(str(GOLDENS / form))
    assert found.sizes == {"train": 47, "val": 6, "test": 9}
    assert found.class_names == ("cat", "dog", "fox")
    assert found.train == f"train/{maker}.table"
    files = GOLDENS / "hub/data/*-of-*.parquet"
    assert dataset.read(str(files)).sizes == found.sizes


@pytest.mark.parametrize("name, message", [
    ("n02084071.tar", "a tar file for each class. Prepare it, .* tfvit prepare "
     "gin/data/class_tars.gin"),
    ("test-0.tar", "has the splits 'test', and no 'train'"),
    ("x.tar.gz", "no folders"),
])
def test_what_cannot_be_trained_on_is_said(tmp_path, name, message):
    (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=message):
        dataset.read(str(tmp_path))


def test_an_archive_among_classes_is_no_shard(root):
    with tarfile.open(root / "plain/circle/more.tar", "w"):
        pass
    assert dataset.read(str(root / "plain")).train == "train/sources.folder"

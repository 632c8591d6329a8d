import io
import os

from absl import logging
import numpy as np
from PIL import Image
import pytest

from tfvit.data.datasets import sources
from tfvit.data.images import ops


def write(path, *files):
    """Writes an image of the format that each file's name asks for."""
    for file in files:
        full = os.path.join(path, file)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        file_format = file.rsplit(".")[-1].lower().replace("jpg", "jpeg")
        buffer = io.BytesIO()
        Image.new("RGB", (4, 3), "red").save(buffer, file_format)
        with open(full, "wb") as output:
            output.write(buffer.getvalue())


def listing(path, split):
    """Returns {relative file name: class name} of a split."""
    source = sources.folder(path=str(path), split=split)
    return {
        os.path.relpath(example["name"].numpy().decode(), path):
            source.class_names[int(example["label"])]
        for example in source.examples()
    }


def test_every_image_type_in_any_case_and_at_any_depth_is_found(tmp_path):
    files = ["a/1.jpg", "a/2.JPEG", "a/deep/er/3.Png", "b/4.bmp", "b/5.GIF",
             "b/6.webp"]  # yapf: disable
    write(tmp_path / "train", *files)
    assert listing(tmp_path, "train") == {f"train/{f}": f[0] for f in files}
    for example in sources.folder(path=str(tmp_path), split="train").examples():
        assert ops.decode(example["image"]).shape == (3, 4, 3)


def test_images_of_formats_that_are_not_read_are_named(
        tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning",
                        lambda text, *values: warnings.append(text % values))
    for i in range(3):
        write(tmp_path, f"a/{i}.png", f"b/{i}.jpg")
        (tmp_path / f"a/{i}.HEIC").write_bytes(b"x")
    os.rename(tmp_path / "b/0.jpg", tmp_path / "b/0.jfif")
    (tmp_path / "b/1.tif").write_bytes(b"x")
    assert len(listing(tmp_path, "train[:100%]")) == 6
    assert all("3 .heic, 1 .tif: " in text and "Convert them" in text
               for text in warnings) and warnings
    for file in [*tmp_path.glob("*/*.png"), *tmp_path.glob("b/*.j*")]:
        file.unlink()
    with pytest.raises(ValueError, match="no images.* but 3 .heic, 1 .tif: "):
        listing(tmp_path, "train[:100%]")


def test_labels_are_those_of_all_splits_together(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png",
          "test/a/1.png", "test/c/1.png", "test/d/1.png")
    for split in ("train", "test"):
        source = sources.folder(path=str(tmp_path), split=split)
        assert source.class_names == ("a", "b", "c", "d")
    assert listing(tmp_path, "test") == {
        f"test/{name}/1.png": name for name in "acd"
    }


def test_hidden_files_are_skipped_and_others_counted(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning",
                        lambda text, *args: warnings.append(text % args))
    write(tmp_path, "train/a/1.png", "train/b/1.png", "train/a/.2.png",
          "train/.cache/3.png", ".git/x/4.png")
    for name in ("notes.txt", "Thumbs.db"):
        (tmp_path / "train" / "a" / name).write_text("")
    assert listing(tmp_path,
                   "train").keys() == {"train/a/1.png", "train/b/1.png"}
    assert sources.folder(path=str(tmp_path),
                          split="train").class_names == ("a", "b")
    assert "Ignored 2 files" in warnings[0] and len(warnings) == 2  # Per call.


def test_a_class_may_lack_images_in_a_split(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png")
    os.makedirs(tmp_path / "train" / "empty")
    assert listing(tmp_path,
                   "train").keys() == {"train/a/1.png", "train/b/1.png"}


@pytest.mark.parametrize("inside", ["", "train"])
def test_slices_are_disjoint_complete_and_take_a_share_of_each_class(
        tmp_path, inside):
    write(tmp_path / inside,
          *(f"{c}/{i}.png" for c in "abc" for i in range(20)))
    parts = [
        listing(tmp_path, f"train[{part}]")
        for part in (":70%", "70%:90%", "90%:")
    ]
    assert [len(part) for part in parts] == [42, 12, 6]
    assert len({**parts[0], **parts[1], **parts[2]}) == 60
    for part in parts:
        shares = np.unique(list(part.values()), return_counts=True)[1]
        assert len(shares) == 3 and len(set(shares)) == 1
    # Not just the first files by name.
    assert parts[0].keys() != {
        os.path.join(inside, f"{c}/{i}.png") for c in "abc" for i in range(14)
    }


def test_slices_do_not_depend_on_place_or_time(tmp_path):
    for copy in "xy":
        write(tmp_path / copy,
              *(f"{c}/{i}.png" for c in "ab" for i in range(9)))
    os.utime(tmp_path / "y" / "a" / "3.png", (0, 0))
    assert (listing(tmp_path / "x",
                    "train[:60%]") == listing(tmp_path / "y", "train[:60%]"))


def test_shuffling_is_one_permutation_of_all_files(tmp_path):
    write(tmp_path, *(f"train/{c}/{i}.png" for c in "ab" for i in range(30)))
    source = sources.folder(path=str(tmp_path), split="train")
    labels = [int(e["label"]) for e in source.examples(seed=1)]
    assert 5 < sum(labels[:30]) < 25 and sum(labels) == 30


@pytest.mark.parametrize("files,split,message", [
    ([], "train", "is not a folder"),
    (["train/a/1.png", "train/b/1.png"], "val", r"has \['train'\]"),
    (["train/a/1.png"], "train", r"\['a'\].*at least two"),
    (["train/1.png", "train/2.png"], "train", r"\[\].*at least two"),
    (["train/a/1.png", "train/b/1.png", "val/a/.1.png"], "val", "no images"),
    (["a/1.png", "b/1.png"], "train[:50]", "neither a name nor"),
    (["a/1.png", "b/1.png"], "train[60%:50%]", "neither a name nor"),
    (["tr/a/1.png", "te/b/1.png"], "val[:50%]", "look like splits"),
])
def test_folders_that_cannot_be_right_are_explained(tmp_path, files, split,
                                                    message):
    write(tmp_path / "images", *files)
    with pytest.raises(ValueError, match=message):
        sources.folder(path=str(tmp_path / "images"), split=split)

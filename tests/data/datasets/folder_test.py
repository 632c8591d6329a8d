import io
import os
from unittest import mock

from absl import logging
import numpy as np
from PIL import Image
import pytest

from tfvit import config
from tfvit.data.datasets import source as source_lib
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


def notes(path, split="train[:90%]", **kwargs):
    return sources.folder(path=str(path), split=split, **kwargs).notes


@pytest.mark.parametrize("inside", ["", "train"])
@pytest.mark.parametrize("link, target", [
    ("cat/loop", "."), ("cat/up", ".."), ("cat/deep/top", "../.."),
    ("cat/dogs", "../dog"), ("kitty", "cat"), ("all", ".")])
def test_a_link_back_shows_no_image_twice_or_under_another_name(
        tmp_path, inside, link, target):
    root = tmp_path / "images" / inside
    write(root, *(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(4)),
          "cat/deep/4.png")
    expected = listing(tmp_path / "images", "train[:100%]")
    assert len(expected) == 9
    (root / link).symlink_to(target, target_is_directory=True)
    assert listing(tmp_path / "images", "train[:100%]") == expected
    (note,) = notes(tmp_path / "images")
    assert "Ignored 1 links" in note and link in note


@pytest.mark.parametrize("split", ["train", "train[:90%]"])
def test_images_in_no_class_folder_are_named(tmp_path, split):
    inside = "" if "[" in split else "train/"
    write(tmp_path, "top.png", *(f"{inside}{c}/{i}.png" for c in "ab"
                                 for i in range(3)))
    write(tmp_path, f"{inside}loose.jpg")
    (note,) = notes(tmp_path, split)
    assert "Ignored 2 images that lie in no class folder" in note


def test_a_split_is_a_word_of_its_name(tmp_path):
    write(tmp_path, "train/2020/1.png", "train/2021/1.png",
          "valley/2020/2.png", "valley/1999/2.png", "contest/7/2.png")
    with pytest.raises(ValueError, match="sources.folder.splits = False"):
        listing(tmp_path, "train")
    write(tmp_path / "x", *(f"{split}/{c}/1.png" for c in "ab" for split in (
        "train", "val2", "test_real", "validation")))
    assert set(listing(tmp_path / "x", "val2").values()) == {"a", "b"}


def test_links_to_other_places_are_followed_once(tmp_path):
    write(tmp_path / "store", "cats/1.png", "cats/2.png", "dogs/3.png")
    write(tmp_path / "images", "train/dog/4.png", "train/cat/5.png")
    root = tmp_path / "images/train"
    (root / "eel").symlink_to(tmp_path / "store/dogs")  # A class,
    (root / "cat/more").symlink_to(tmp_path / "store/cats")  # a part of one,
    (root / "cat/again").symlink_to(tmp_path / "store/cats")
    (tmp_path / "images/val").symlink_to("train")  # a split,
    (tmp_path / "store/cats/up").symlink_to("..")  # with a way back.
    found = listing(tmp_path / "images", "val")
    assert sorted(found.values()) == ["cat"] * 3 + ["dog", "eel"]
    # ImageNet-100 as people make it: of links to classes of another split.
    (tmp_path / "images/train100").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "images/train100" / name).symlink_to(f"../train/{name}")
    found = listing(tmp_path / "images", "train100")
    assert sorted(found.values()) == ["cat"] * 3 + ["dog"]


def test_a_class_may_be_called_like_a_split(tmp_path):
    write(tmp_path, *(f"{c}/{i}.png" for c in ("train", "bus", "val")
                      for i in range(10)))
    found = listing(tmp_path, "train[:90%]")
    assert sorted(set(found.values())) == ["bus", "train", "val"]
    assert len(found) == 27


def test_folders_that_may_be_splits_or_classes_are_asked_about(tmp_path):
    write(tmp_path, "train/steam/1.png", "train/diesel/2.png", "bus/red/3.png",
          "bus/4.png", "car/5.png")
    for split in ("train[:90%]", "train"):
        with pytest.raises(ValueError, match="'train' .*'diesel', 'steam'.*"
                           "folder 'bus'.*folder.splits = False.*= True"):
            listing(tmp_path, split)
    found = sources.folder(path=str(tmp_path), split="train[:100%]",
                           splits=False)
    assert found.class_names == ("bus", "car", "train")
    assert found.num_examples == 5
    found = sources.folder(path=str(tmp_path), split="train", splits=True)
    assert set(found.class_names) == {"diesel", "steam", "red"}


def test_classes_of_nested_folders_are_classes_where_one_says_so(tmp_path):
    write(tmp_path, "cat/tabby/1.png", "dog/pug/2.png")
    with pytest.raises(ValueError, match="sources.folder.splits = False"):
        listing(tmp_path, "train[:50%]")
    found = sources.folder(path=str(tmp_path), split="x[:100%]", splits=False)
    assert found.class_names == ("cat", "dog")
    with pytest.raises(ValueError, match="'x\\[:50%\\]' is not in"):
        sources.folder(path=str(tmp_path), split="x[:50%]", splits=True)


@pytest.mark.parametrize("inside", ["", "train"])
@pytest.mark.parametrize("stray", [
    "__MACOSX/cat/._1.png", "@eaDir/1.png", "lost+found/1.png",
    "docs/read/me.txt", "annotations/1.xml"])
def test_no_stray_folder_becomes_a_class(tmp_path, inside, stray):
    write(tmp_path / inside, *(f"{c}/{i}.png" for c in ("cat", "dog")
                               for i in range(9)))
    for root in (tmp_path / inside, tmp_path):
        file = root / stray
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    source = sources.folder(path=str(tmp_path), split="train[:90%]")
    assert source.class_names == ("cat", "dog")
    assert any(stray.split("/")[0] in note for note in source.notes)


def test_a_folder_that_lacks_images_here_stays_a_class_of_another_split(
        tmp_path):
    write(tmp_path, "train/cat/1.png", "train/dog/1.png", "val/eel/1.png")
    (tmp_path / "train/eel").mkdir()
    (tmp_path / "train/eel/later.txt").write_text("")
    for split in ("train", "val"):
        source = sources.folder(path=str(tmp_path), split=split)
        assert source.class_names == ("cat", "dog", "eel")


def test_the_advice_on_too_many_classes_is_to_look_at_them(tmp_path):
    write(tmp_path, *(f"{c}/1.png" for c in ("cat", "dog", "thumbnails")))
    model = mock.Mock(output_shape=(None, 2))
    with pytest.raises(ValueError, match="'cat', 'dog', 'thumbnails'.*stray "
                       "folder, move it away"):
        source_lib.check_classes(model, sources.folder(
            path=str(tmp_path), split="x[:100%]"), "train")


@pytest.mark.parametrize("count, train, val", [  # 90%, by hand.
    (2, 1, 1), (3, 2, 1), (4, 3, 1), (5, 4, 1), (6, 5, 1), (14, 13, 1),
    (15, 14, 1), (16, 14, 2), (20, 18, 2)])
def test_every_class_of_two_images_has_one_to_validate(tmp_path, count, train,
                                                       val):
    write(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(count)))
    parts = [listing(tmp_path, split)
             for split in ("train[:90%]", "train[90%:]")]
    assert [len(part) for part in parts] == [2 * train, 2 * val]
    assert len({**parts[0], **parts[1]}) == 2 * count


def test_a_class_of_one_image_is_named_where_it_has_none(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning",
                        lambda text, *args: warnings.append(text % args))
    write(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    assert set(listing(tmp_path, "train[90%:]").values()) == {"b"}
    assert "train[90%:]" in warnings[0] and "such as a." in warnings[0]


def test_names_that_are_not_utf8_are_read_too(tmp_path):
    write(tmp_path, "train/cat/1.png", "train/dog/1.png")
    name = os.path.join(os.fsencode(tmp_path), b"train/cat/caf\xe9.png")
    with open(name, "wb") as f:
        f.write((tmp_path / "train/cat/1.png").read_bytes())
    for split in ("train", "train[:100%]"):
        source = sources.folder(path=str(tmp_path), split=split)
        found = {e["name"].numpy(): ops.decode(e["image"]).shape
                 for e in source.examples()}
        assert len(found) == 3 and found[name] == (3, 4, 3)
    os.mkdir(os.path.join(os.fsencode(tmp_path), b"train/\xe9t\xe9"))
    with pytest.raises(ValueError, match="is not UTF-8: rename it"):
        sources.folder(path=str(tmp_path), split="train")


def test_classes_of_almost_one_name_are_named(tmp_path):
    write(tmp_path, "flat/Cat/1.png", "flat/cat/1.png", "flat/dog/1.png",
          "two/train/Cat/1.png", "two/val/cat/1.png", "two/train/dog/1.png",
          "two/val/dog/1.png")
    assert "case or blanks alone: 'Cat', 'cat'" in notes(
        tmp_path / "flat", "x[:100%]")[0]
    with pytest.raises(ValueError, match="'Cat', 'cat', each in another split"):
        notes(tmp_path / "two", "train")


def test_home_is_found_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "x/train/cat/1.png", "x/train/dog/1.png")
    source = sources.folder(path="~/x", split="train")
    assert source.num_examples == len(list(source.examples())) == 2
    (tmp_path / "mine.gin").write_text("include 'gin/folder.gin'\n")
    config.parse(["~/mine.gin"], ["FOLDER = '~/x'", "NUM_CLASSES = 2",
                                      "train/sources.folder.split = 'train'"])
    assert config.sources()["train"]().num_examples == 2


def test_folders_called_like_patterns_and_slices_are_themselves(tmp_path):
    root = tmp_path / "photos[12]"
    write(root, "train[1]/a/1.png", "train[1]/b?/1.png", "train[:50%]/a/2.png",
          "train[:50%]/b?/2.png", "train[:50%]/b?/3[4].png", "train/a/9.png",
          "train/b?/8.png")
    write(tmp_path / "photos1", "train/a/7.png", "train/b/7.png")
    assert listing(root, "train[1]") == {
        "train[1]/a/1.png": "a", "train[1]/b?/1.png": "b?"}
    assert set(listing(root, "train[:50%]")) == {
        "train[:50%]/a/2.png", "train[:50%]/b?/2.png",
        "train[:50%]/b?/3[4].png"}
    assert set(listing(root, "train[0%:]")) == {
        "train/a/9.png", "train/b?/8.png"}

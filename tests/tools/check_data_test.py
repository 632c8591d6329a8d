"""A dataset with every fault that images have, and the report on it."""

import io
import json
import os
import re
import struct
import zlib

from absl import flags
from absl.testing import flagsaver
import numpy as np
from PIL import Image
import pytest

from tools import check_data

RNG = np.random.default_rng(0)


def encode(file_format, mode="RGB", pixels=None, **arguments):
    pixels = RNG.integers(0, 256, [6, 8, 3]) if pixels is None else pixels
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(
        buffer, file_format, **arguments)
    return buffer.getvalue()


def huge():
    """A PNG of a few bytes that says it has 20,000 x 20,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header +
            struct.pack(">I", zlib.crc32(header)))


SAME, CONTRADICTED, SPLITS = (RNG.integers(0, 256, [5, 7, 3]) for _ in "abc")
FILES = {
    "train/cat/a.jpg": encode("JPEG"),
    "train/cat/cmyk.jpg": encode("JPEG", "CMYK"),
    "train/cat/grey.png": encode("PNG", "L"),
    "train/cat/wide.png": encode("PNG", pixels=np.zeros([3, 400, 3])),
    "train/cat/same.png": encode("PNG", pixels=SAME),
    "train/cat/other_name.bmp": encode("BMP", pixels=SAME),
    "train/dog/png.jpg": encode("PNG"),
    "train/dog/b.webp": encode("WEBP"),
    "train/dog/moves.gif": encode("GIF", save_all=True, append_images=[
        Image.new("RGB", (8, 6), "red")]),
    "train/dog/a_dog.png": encode("PNG", pixels=CONTRADICTED),
    "train/cat/a_cat.png": encode("PNG", pixels=CONTRADICTED),
    "train/dog/in_train.png": encode("PNG", pixels=SPLITS),
    "val/dog/in_val.png": encode("PNG", pixels=SPLITS),
    "val/cat/c.png": encode("PNG"),
    "train/dog/empty.jpg": b"",
    "train/dog/text.jpg": b"<html>not found</html>",
    "train/dog/short.jpg": encode("JPEG", pixels=RNG.integers(
        0, 256, [90, 90, 3]))[:900],
    "train/dog/huge.png": huge(),
}
FOREIGN = {
    "x.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "y.jpg": b"MM\0*" * 9}
BROKEN = ("empty.jpg", "text.jpg", "short.jpg", "huge.png", "folder.jpg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for name, contents in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(contents)
    # To be read no more than a file without permission is, even by root.
    (root / "train/dog/folder.jpg").mkdir()
    (root / "train/eel").mkdir()
    return root


def check(root, *arguments, split=("train", "val")):
    train, val = split
    with flagsaver.flagsaver():
        flags.FLAGS([
            "check_data", "--gin_file=gin/data/folder.gin",
            f"--gin_bindings=FOLDER = {str(root)!r}",
            f"--gin_bindings=train/sources.folder.split = {train!r}",
            f"--gin_bindings=val/sources.folder.split = {val!r}", *arguments])
        check_data.main()


def test_every_fault_is_found_and_named(folder, tmp_path, capsys):
    check(folder, f"--report={tmp_path / 'found.json'}")
    found = json.loads((tmp_path / "found.json").read_text())
    problems = {what: lines for what, lines in found["problems"].items()}
    broken = problems.pop("train: broken images")
    assert len(broken) == len(BROKEN)
    for name in BROKEN:
        assert any(f"train/dog/{name}" in line for line in broken), name
    assert any(re.fullmatch("cannot be read: /.*/folder.jpg; Is a directory.",
                            line) for line in broken)
    assert any(re.search("huge.png: has 400,000,000 pixels", line)
               for line in broken)
    assert problems.pop("train: classes without images") == ["eel"]
    for what, names in {
            "the same image in one split": ("same.png", "other_name.bmp"),
            "the same image in two splits": ("in_train.png", "in_val.png"),
            "the same image with different labels": ("a_cat.png", "a_dog.png"),
    }.items():
        (line,) = problems.pop(what)
        assert all(name in line for name in names)
    assert not any(problems.values())
    out = capsys.readouterr().out
    assert "9 problems." in out and "train/dog/empty.jpg: is empty" in out


def trapped(root):
    """A folder with all that a folder can hold and no one means."""
    for name in ("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png",
                 "dog/5.png", "train/steam/6.png", "train/diesel/7.png",
                 "lonely/8.png", "Dog/9.png", "Dog/0.png",
                 "cat/._1.png", ".Trash/1.png", "__MACOSX/cat/1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode("PNG"))
    (root / "cat/loop").symlink_to("..")
    for name in ("docs/readme.txt", "cat/labels.csv", "cat/photo.heic"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"text")
    with open(os.path.join(os.fsencode(root), b"cat/caf\xe9.png"), "wb") as f:
        f.write(encode("PNG")[:-30])


def test_every_trap_of_folders_is_named(tmp_path, capsys):
    trapped(tmp_path / "x")
    with pytest.raises(SystemExit) as stop:
        check(tmp_path / "x", f"--report={tmp_path / 'found.json'}",
              f"--contact_sheet={tmp_path / 'sheet.png'}",
              split=("train[:90%]", "train[90%:]"))
    assert stop.value.code == 1
    report = json.loads((tmp_path / "found.json").read_text())
    found = {what: lines for what, lines in report["problems"].items() if lines}
    (train, val) = found["splits that cannot be read"]
    assert "'diesel', 'steam'" in train and "splits = False" in val
    notes = found["left out, or doubtful"]
    for words in ("differ in case or blanks alone: 'Dog', 'dog'",
                  "1 hidden image files .*/cat/._1.png",
                  "1 folders that a system made .*/__MACOSX",
                  "1 links to folders .*/cat/loop",
                  "3 files that are not .*/cat/labels.csv",
                  "1 names of images .* not UTF-8, .*/cat/caf\ufffd.png",
                  "1 folders without images, .*/docs"):
        assert sum(bool(re.search(words, note)) for note in notes) == 1, words
    assert len(notes) == 7
    assert found["val: classes without images"] == ["lonely"]
    (broken,) = found["train: broken images"] + found.get(
        "val: broken images", [])
    assert "cat/caf\ufffd.png" in broken
    # As classes, each image once: 10 sound ones, by hand.
    counts = [report["splits"][s]["classes"] for s in ("train", "val")]
    assert {name: sum(c[name] for c in counts) for name in counts[0]} == {
        "Dog": 2, "cat": 2, "dog": 3, "lonely": 1, "train": 2}
    out = capsys.readouterr().out
    assert all(note in out for note in notes)


def test_traps_of_tables_are_named(tmp_path, capsys):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(encode("PNG"))
    (tmp_path / "t.csv").write_text(
        "image,label\n0.png,cat\n1.png,dog\n,\n./0.png,cat\n2.png,dog\n"
        "3.png,cat\n")
    with flagsaver.flagsaver():
        flags.FLAGS(["check_data", "--gin_file=gin/data/manifest.gin",
                     f"--gin_bindings=MANIFEST = '{tmp_path}/t.csv'"])
        check_data.main()
    out = capsys.readouterr().out
    assert "1 empty rows" in out and "1 images in two spellings" in out
    (tmp_path / "t.csv").write_text("image,label\n0.png,cat\n1.png,Cat\n")
    with flagsaver.flagsaver(), pytest.raises(ValueError, match="'cat' .line 2"):
        flags.FLAGS(["check_data", "--gin_file=gin/data/manifest.gin",
                     f"--gin_bindings=MANIFEST = '{tmp_path}/t.csv'"])
        check_data.main()


def test_images_are_counted_by_class_size_and_kind(folder, tmp_path, capsys):
    check(folder, f"--report={tmp_path / 'found.json'}")
    train = json.loads((tmp_path / "found.json").read_text())["splits"]["train"]
    assert train["images"] == 12
    assert train["classes"] == {"cat": 7, "dog": 5, "eel": 0}
    assert train["sizes"]["width"] == {"min": 7, "median": 8, "max": 400}
    assert train["kinds"] == {
        "png RGB, 8 bits": 5, "jpeg colour": 1, "jpeg CMYK": 1,
        "png grey, 8 bits": 1, "bmp, 24 bits": 1, "gif": 1, "webp": 1,
        "png RGB, 8 bits named .jpg": 1}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["class", "train", "val"], ["cat", "7", "1"], ["dog", "5", "1"],
        ["eel", "0", "0"]]


def test_other_formats_are_named_whatever_the_file_is_called(
        tmp_path, capsys):
    for name, contents in FOREIGN.items():
        (tmp_path / name[0]).mkdir()
        (tmp_path / name[0] / name).write_bytes(contents)
    check(tmp_path, split=("train[:100%]", "train[:100%]"))
    out = capsys.readouterr().out
    assert "x.jpg: It is HEIC. " in out and "y.jpg: It is TIFF. " in out


def test_files_that_exif_turns_are_counted_and_shown_upright(
        tmp_path, capsys):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
    for i, value in enumerate((None, 1, 6, 8, 3)):
        exif = Image.Exif()
        if value:
            exif[0x0112] = value
        (tmp_path / f"train/cat/{i}.jpg").write_bytes(encode(
            "JPEG", pixels=RNG.integers(0, 256, [6, 8, 3]), exif=exif))
    (tmp_path / "train/dog/1.png").write_bytes(encode("PNG"))
    check(tmp_path, f"--report={tmp_path / 'found.json'}",
          split=("train", "train"))
    found = json.loads((tmp_path / "found.json").read_text())
    split = found["splits"]["train"]
    assert split["turned"] == 3
    assert split["sizes"]["height"] == {"min": 6, "median": 6, "max": 8}
    assert "3 with an EXIF orientation" in capsys.readouterr().out


def test_a_sheet_shows_images_of_each_class(folder, tmp_path):
    check(folder, f"--contact_sheet={tmp_path / 'sheet.png'}")
    picture = np.array(Image.open(tmp_path / "sheet.png").convert("RGB"))
    assert picture.shape[0] > 300 and len(np.unique(picture)) > 100


def test_strict_fails_at_a_problem_and_not_without(folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        check(folder, "--strict")
    assert stop.value.code == 1
    for name in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(encode("PNG"))
    check(tmp_path, "--strict")
    assert "No problems." in capsys.readouterr().out


def test_any_gin_file_that_names_data_will_do(capsys):
    with flagsaver.flagsaver():
        flags.FLAGS(["check_data", "--gin_file=gin/digits.gin", "--strict"])
        check_data.main()
    out = capsys.readouterr().out
    assert "train: 1438 images" in out and "test: 359 images" in out
    assert "1438 array of 1 channels" in out and "No problems." in out

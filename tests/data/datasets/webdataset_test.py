"""Tar shards: the package webdataset, and Python's tarfile, are the judges."""

import functools
import io
import json
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.datasets import captions
from tfvit.data.datasets import class_tars
from tfvit.data.datasets import shard_files
from tfvit.data.datasets import spans
from tfvit.data.datasets import tars
from tfvit.data.datasets import webdataset
from tfvit.data.images import ops
from tfvit.storage import errors


def png(value):
    return tf.io.encode_png(np.full([2, 2, 3], value, np.uint8)).numpy()


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("cache")
        patch.setenv("TFVIT_CACHE", str(path))
        yield path


def write(path, samples):
    """A tar file of {name: bytes}, by hand."""
    with tarfile.open(path, "w") as tar:
        for name, data in samples.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(pattern, samples) that the package writes and reads."""
    wds = pytest.importorskip("webdataset", reason="pip install webdataset")
    root = tmp_path_factory.mktemp("wds")
    with wds.ShardWriter(f"{root}/birds-train-%04d.tar", maxcount=9,
                         verbose=0) as writer:
        for i in range(25):
            writer.write({"__key__": f"a.b/{i:03}", "png": png(i),
                          "cls": i % 3, "txt": f"Bird {i}.",
                          "json": {"name": "xyz"[i % 3], "say": ["p", f"{i}"]}})
    pattern = f"{root}/birds-train-{{0000..0002}}.tar"
    return pattern, list(wds.WebDataset(pattern, shardshuffle=False))


def test_samples_are_those_of_the_package_in_its_order(written):
    pattern, theirs = written
    for path in (pattern, pattern.rpartition("/")[0],
                 pattern.replace("{0000..0002}", "*")):
        ours = list(webdataset.shards(
            path=path, split="train").examples().as_numpy_iterator())
        assert len(ours) == len(theirs) == 25
        for mine, other in zip(ours, theirs):
            assert mine["image"] == other["png"]
            assert mine["label"] == int(other["cls"])
            assert mine["name"].decode() == (
                f"{other['__url__']}:{other['__key__']}")


def test_labels_and_captions_may_lie_in_json(written):
    pattern, theirs = written
    source = webdataset.shards(path=pattern, label_key="json/name")
    assert source.class_names == ("x", "y", "z")
    assert source.labels.tolist() == [i % 3 for i in range(25)]
    for key, expected in (("txt", lambda s: [s["txt"]]),
                          ("json/say", lambda s: json.loads(s["json"])["say"])):
        source = webdataset.shards(path=pattern, caption_key=key)
        assert source.class_names == () and captions.most(source) == len(
            expected(theirs[0]))
        for mine, other in zip(source.examples(), theirs):
            assert [t.decode() for t in mine["label"].numpy()] == [
                t.decode() if isinstance(t, bytes) else t
                for t in expected(other)]


def test_a_pipeline_is_the_same_from_any_step_and_for_any_workers(written):
    build = functools.partial(
        pipeline.train, source=webdataset.shards(path=written[0]), batch_size=6,
        seed=2, ops=[ops.decode, functools.partial(ops.resize, size=1)])

    def values(dataset, count):
        return [b["images"].numpy()[:, 0, 0, 0].tolist()
                for b in dataset.take(count)]

    whole = values(build(), 9)  # Two epochs and a bit.
    assert sorted(sum(whole, [])[:25]) == list(range(25))
    assert sorted(sum(whole, [])[25:50]) == list(range(25))
    assert values(build(start_step=6), 3) == whole[6:]
    parts = [values(build(input_context=tf.distribute.InputContext(2, i, 2)), 9)
             for i in range(2)]
    assert [a + b for a, b in zip(*parts)] == whole


def test_slices_share_the_images_of_each_class(written):
    parts = [webdataset.shards(path=written[0], split=f"train[{part}]")
             for part in (":80%", "80%:")]
    names = [{e["name"] for e in part.examples().as_numpy_iterator()}
             for part in parts]
    assert len(names[0] | names[1]) == 25 and not names[0] & names[1]
    assert set(parts[1].labels) == {0, 1, 2}


def test_members_are_listed_once(written, cache, monkeypatch):
    webdataset.shards(path=written[0])
    assert list((cache / "indices").iterdir())
    monkeypatch.setattr(tars, "members", None)
    source = webdataset.shards(path=written[0])
    assert len(list(source.examples())) == 25


def test_a_damaged_index_is_made_anew(written, cache):
    webdataset.shards(path=written[0])
    for file in (cache / "indices").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert webdataset.shards(path=written[0]).num_examples == 25


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT,
                                  tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(tmp_path, form):
    names = ["a/b.jpg", "d" * 90 + "/" + "e" * 90 + ".jpg", "ü.png", "empty"]
    if form != tarfile.USTAR_FORMAT:
        names.append("k" * 300 + "/" + "m" * 300)
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 0 if name == "empty" else 511 + number
            tar.addfile(info, io.BytesIO(b"x" * info.size))
            for kind in tarfile.SYMTYPE, tarfile.DIRTYPE:
                info = tarfile.TarInfo(f"other{number}")
                info.type, info.linkname = kind, "q" * 99
                tar.addfile(info)
    path = str(tmp_path / "x.tar")
    with tarfile.open(path) as tar, spans.Reader(path) as opened:
        assert list(tars.members(opened.read, opened.size, path)) == [
            (m.name, m.offset_data, m.size) for m in tar if m.isreg()]


def test_sizes_beyond_eight_gigabytes():
    info = tarfile.TarInfo("x.bin")
    info.size = 2**33 + 5
    header = info.tobuf(tarfile.GNU_FORMAT)

    def read(begin, size):
        return header[begin:begin + size] if begin < 512 else b"\0" * size

    assert list(tars.members(read, 2**34, "x.tar")) == [
        ("x.bin", 512, 2**33 + 5)]


@pytest.mark.parametrize("pattern, expected", [
    ("a{8..10}", ["a8", "a9", "a10"]), ("a{08..10}", ["a08", "a09", "a10"]),
    ("{x,y}{0..1}", ["x0", "x1", "y0", "y1"]), ("{3..1}", ["3", "2", "1"]),
    ("{}{a}", ["{}{a}"])])
def test_braces_are_bashs(pattern, expected):
    assert shard_files.braces(pattern) == expected


@pytest.mark.parametrize("name, split", [
    ("imagenet1k-train-0003.tar", "imagenet1k-train"), ("val/0001.tar", "val"),
    ("train-00000-of-00001.tar", "train"), ("shard_7.tar", "shard"),
    ("validation-00000-of-00001-ab12cd.tar", "validation"),
    ("test/data-00000-of-00001.tar", "test")])
def test_names_of_files_tell_the_split(tmp_path, name, split):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert list(shard_files.find(str(tmp_path), (".tar",), "x")) == [split]


SAMPLE = {"a.jpg": b"x", "a.cls": b"1"}


@pytest.mark.parametrize("files, knobs, message", [
    ({"x.tar": {"a.jpg": b"x"}}, {}, "The sample a of .* has no 'cls' but jpg"),
    ({"x.tar": {**SAMPLE, "a.png": b""}}, {}, "several images, jpg, png: set"),
    ({"x.tar": {**SAMPLE, "a.JPG": b""}}, {}, "a.JPG twice"),
    ({"x.tar": SAMPLE}, {"label_key": "json/x"}, "has no 'json'"),
    ({"x.tar": {"a.jpg": b"", "a.json": b"{"}}, {"label_key": "json/x"},
     "json of a of .* no field 'x' in JSON"),
    ({"x.tar": {**SAMPLE, "b.jpg": b"", "b.cls": b"900"}}, {},
     "labels up to 900, but only 2"),
    ({"x.tar": {**SAMPLE, "b.jpg": b"", "b.cls": b"Cat", "c.jpg": b"",
                "c.cls": b"cat"}}, {}, "differ in case"),
    ({"x.tar": SAMPLE}, {"split": "val"}, "split = 'val' is none of"),
    ({"train-0.tar": SAMPLE}, {"split": "val[:5%]"}, "none of .*'train'"),
    ({"a-00000-of-00002.tar": SAMPLE}, {}, "1 are not there, such as number 1"),
    ({}, {}, "has no .tar files"),
    ({"x.tar": SAMPLE}, {"path": "{}/x{0..1}.tar"}, "which is not there"),
])
def test_what_is_wrong_is_said(tmp_path, files, knobs, message):
    for name, samples in files.items():
        write(tmp_path / name, samples)
    path = knobs.pop("path", "{}").replace("{}", str(tmp_path), 1)
    with pytest.raises(ValueError, match=message):
        webdataset.shards(**{"path": path, **knobs})


@pytest.mark.parametrize("change, message", [
    (lambda b: b"\x1f\x8b" + b[2:], "is compressed, so that nothing"),
    (lambda b: b[:700], "is cut short"),
    (lambda b: b"<html>" + b[6:], "is no tar file"),
    (lambda b: b[:1030] + b"?" + b[1031:], "is damaged"),
])
def test_a_wrong_tar_is_named(tmp_path, change, message):
    path = tmp_path / "x.tar"
    write(path, {"a.jpg": b"x" * 400, "a.cls": b"1", "b.jpg": b"", "b.cls": b"0"})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        webdataset.shards(path=str(path))


def test_a_file_that_shrinks_later_is_named(tmp_path):
    path = tmp_path / "x.tar"
    write(path, {**SAMPLE, "b.jpg": b"y" * 9000, "b.cls": b"0"})
    source = webdataset.shards(path=str(path))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(tf.errors.OpError) as caught:
        list(source.examples())
    assert errors.reason(caught.value).startswith(
        f"{path}:b: is cut short: the file has changed")


def test_samples_without_an_image_are_told(tmp_path):
    path = write(tmp_path / "x.tar", {**SAMPLE, "b.cls": b"0", "c.jpg": b"z",
                                      "c.cls": b"0", "__meta__": b"m"})
    source = webdataset.shards(path=path)
    assert source.num_examples == 2
    assert "Ignored 1 of 3 samples" in source.notes[0]


def test_names_of_classes_in_a_file(tmp_path):
    path = write(tmp_path / "x.tar", {**SAMPLE, "b.jpg": b"", "b.cls": b"0"})
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\nfox\n")
    source = webdataset.shards(path=path, class_names_file=str(names))
    assert source.class_names == ("cat", "dog", "fox")
    assert source.labels.tolist() == [1, 0]
    names.write_text("cat\n")
    with pytest.raises(ValueError, match="a of .*x.tar: the label '1' is none"):
        webdataset.shards(path=path, class_names_file=str(names))


def test_tars_of_classes_have_the_published_order(tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    # 2084071 is dog; 4475 is the first of the list; 1 is none of it.
    for number, count in ((2084071, 3), (4475, 4), (1, 2)):
        write(folder / f"n{number:08}.tar", {
            f"n_{i}.JPEG": png(count + i) for i in range(count)})
    files = {f"w/{f.name}": f.read_bytes() for f in sorted(folder.iterdir())}
    whole = write(tmp_path / "whole.tar", files)
    read = functools.partial(class_tars.images, class_names_file="imagenet21k")
    for path in (str(folder), whole):
        source = read(path=path)
        assert len(source.class_names) == 21_843
        dog = next(i for i, name in enumerate(source.class_names)
                   if name.startswith("n02084071 dog"))
        assert source.labels.tolist() == [0] * 4 + [dog] * 3
        assert [e["image"] for e in source.examples().as_numpy_iterator()] == [
            png(4 + i) for i in range(4)] + [png(3 + i) for i in range(3)]
        assert "Ignored 1 tar files" in source.notes[0]
        assert "21841 of 21843 classes" in source.notes[1]
        assert [read(path=path, split=f"train[{part}]").num_examples
                for part in (":50%", "50%:")] == [4, 3]
    assert class_tars.images(path=whole).class_names == (
        "n00000001", "n00004475", "n02084071")
    with pytest.raises(ValueError, match="tar files of 0 of the 1000 classes"):
        class_tars.images(path=whole, class_names_file="imagenet2012")

"""Files that Hugging Face's datasets and pandas wrote, read as they have them."""

import functools
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data import pipeline
from tfvit.data.datasets import arrow
from tfvit.data.datasets import parquet
from tfvit.data.images import ops
from tfvit.storage import errors

GOLDENS = pathlib.Path(__file__).parents[2] / "goldens" / "hugging_face"
pd = pytest.importorskip("pandas", reason="pip install 'tfvit[parquet]' pandas")
pa = pytest.importorskip("pyarrow", reason="pip install 'tfvit[parquet]'")
BOTH = pytest.mark.parametrize("table, path", [
    (parquet.table, GOLDENS / "hub"), (arrow.table, GOLDENS / "disk")])


def png(value):
    return tf.io.encode_png(np.full([2, 2, 3], value, np.uint8)).numpy()


def values(examples):
    return [int(tf.io.decode_png(e["image"])[0, 0, 0]) for e in examples]


def epochs(source, count):
    """Numbers of the examples in order, [count, N]."""
    size = source.num_examples
    seeds = np.stack([np.full(count * size, 9), np.arange(count).repeat(size)],
                     1)
    return source.order(tf.constant(np.tile(np.arange(size), count)),
                        tf.constant(seeds)).numpy().reshape(count, size)


@BOTH
def test_examples_are_those_that_were_written(table, path):
    for split, count, first in (("train", 53, 0), ("test", 9, 100)):
        source = table(path=str(path), split=split)
        examples = list(source.examples())
        assert source.class_names == ("cat", "dog", "fox")
        assert values(examples) == list(range(first, first + count))
        assert [int(e["label"]) for e in examples] == [
            i % 3 for i in range(count)] == source.labels.tolist()
    assert examples[-1]["name"].numpy().decode().endswith("of-00001." + (
        "parquet:8" if table is parquet.table else "arrow:8"))


@BOTH
def test_slices_share_the_rows_of_each_class(table, path):
    parts = [table(path=str(path), split=f"train[{part}]")
             for part in (":80%", "80%:")]
    found = [values(part.examples()) for part in parts]
    assert sorted(sum(found, [])) == list(range(53))
    assert set(parts[1].labels) == {0, 1, 2}
    order = epochs(parts[0], 2)
    assert sorted(order[0]) == list(range(len(found[0])))
    assert order[0].tolist() != order[1].tolist()


def test_an_epoch_is_mixed_within_what_the_memory_holds():
    # By hand: 50 rows in row groups of 8, four of which are in memory.
    groups = parquet.RowGroups([], [], "image", False, 0)
    groups.ends, groups.most = np.arange(8, 57, 8).clip(max=50), 4
    source = parquet.Rows(groups, np.arange(50), class_names="ab",
                          labels=np.zeros(50, int))
    found = epochs(source, 200)
    np.testing.assert_array_equal(np.sort(found), [range(50)] * 200)
    # Two blocks (of 50 / 7 rows) at a time; what comes next is of two more.
    blocks = found[:, :49].reshape(200, 49) // 7
    for epoch in blocks:
        assert [len(set(epoch[i:i + 14])) for i in range(0, 49, 14)] == [
            2, 2, 2, 1]
    # Any block may be first, and any row of it.
    counts = np.bincount(blocks[:, :14].reshape(-1), minlength=7)
    assert counts.min() > 0.6 * counts.mean()
    assert len(set(map(tuple, found))) == 200


def test_a_pipeline_is_the_same_from_any_step():
    build = functools.partial(
        pipeline.train,
        source=parquet.table(path=str(GOLDENS / "hub"), split="train"),
        batch_size=8, seed=2,
        ops=[ops.decode, functools.partial(ops.resize, size=1)])

    def read(dataset, count):
        return [b["images"].numpy()[:, 0, 0, 0].tolist()
                for b in dataset.take(count)]

    whole = read(build(), 14)
    assert sorted(sum(whole, [])[53:106]) == list(range(53))
    assert read(build(start_step=9), 5) == whole[9:]


@pytest.fixture
def reads(monkeypatch):
    """Names of the row groups that are read, as they are."""
    read, count = parquet.pq.ParquetFile, []

    class Counting(read):

        def read_row_group(self, *args, **kwargs):
            count.append((self.metadata.num_rows, args[0]))
            return super().read_row_group(*args, **kwargs)

    monkeypatch.setattr(parquet.pq, "ParquetFile", Counting)
    return count


# Of two files of 27 and 26 rows, ten in a group.
@pytest.mark.parametrize("workers, groups", [(1, 6), (3, 3)])
def test_each_worker_reads_row_groups_of_its_own_once(workers, groups, reads):
    seen = []
    for index in range(workers):
        source = parquet.table(path=str(GOLDENS / "hub"), split="train")
        del reads[:]
        shard = dict(shard_index=index, num_shards=workers)
        seen += values(source.examples(seed=1, **shard))
        assert len(reads) == len(set(reads)) <= groups
    assert sorted(seen) == list(range(53)) != seen
    for count in (2, 3, 8):
        parts = [source.part(i, count) for i in range(count)]
        assert [part.num_examples for part in parts] == [
            source.shard_size(i, count) for i in range(count)]
        assert sum((part.labels.tolist() for part in parts), []) == (
            source.labels.tolist())


@pytest.mark.slow
def test_workers_share_each_epoch_and_go_on_anywhere():
    source = parquet.table(path=str(GOLDENS / "hub"), split="train")
    build = functools.partial(
        pipeline.train, source=source, batch_size=6, seed=2,
        ops=[ops.decode, functools.partial(ops.resize, size=1)])
    seen = []
    for index in range(2):
        context = tf.distribute.InputContext(2, index, 2)
        batches = [b["images"].numpy()[:, 0, 0, 0].tolist() for b in build(
            input_context=context).take(12)]
        later = next(iter(build(input_context=context, start_step=11)))
        assert later["images"].numpy()[:, 0, 0, 0].tolist() == batches[11]
        seen.append(sum(batches, []))
        size = source.shard_size(index, 2)
        assert sorted(set(seen[-1])) == sorted(seen[-1][:size])
    assert sorted(seen[0][:27] + seen[1][:26]) == list(range(53))
    (all_, count) = pipeline.evaluate(
        source=source, batch_size=6, ops=[ops.decode, functools.partial(
            ops.resize, size=1)], input_context=context)
    found = [b["images"].numpy()[b["mask"].numpy() > 0, 0, 0, 0].tolist()
             for b in all_.take(count)]
    assert sum(found, []) == list(range(27, 53))


def frame(tmp_path, rows, name="a.parquet", **kwargs):
    pd.DataFrame(rows).to_parquet(tmp_path / name, **kwargs)
    return str(tmp_path / name)


def test_tables_of_pandas(tmp_path):
    rows = {"image": [png(i) for i in range(6)],
            "label": ["b", "a", "c"] * 2, "more": range(6)}
    source = parquet.table(path=frame(tmp_path, rows, row_group_size=4))
    assert source.class_names == ("a", "b", "c")
    assert source.labels.tolist() == [1, 0, 2] * 2
    assert values(source.examples()) == list(range(6))
    names = tmp_path / "names.txt"
    names.write_text("c\nb\na\n")
    source = parquet.table(path=frame(tmp_path, rows),
                           class_names_file=str(names))
    assert source.labels.tolist() == [1, 2, 0] * 2


def test_captions(tmp_path):
    rows = {"image": [png(i) for i in range(3)],
            "text": ["One.", "Two.", "Three."],
            "texts": [["a"], ["b", "c"], ["d"]]}
    for column, expected in (("text", [["One."], ["Two."], ["Three."]]),
                             ("texts", rows["texts"])):
        source = parquet.table(path=frame(tmp_path, rows),
                               caption_column=column)
        assert source.class_names == ()
        assert [[t.decode() for t in e["label"].numpy()]
                for e in source.examples()] == expected


@pytest.mark.parametrize("rows, knobs, message", [
    ({"image": [b"x"], "y": [1]}, {}, "no columns that may be the label"),
    ({"a": [b"x"], "b": [b"x"], "label": [1]}, {},
     r"2 columns that may be the image \(a, b\): set parquet.table.image_col"),
    ({"image": ["x"], "label": [1]}, {"image_column": "image"},
     "not the bytes of image files"),
    ({"image": [b"x"], "label": [1]}, {"label_column": "labels"},
     "'labels' is none of the columns .* Did you mean 'label'"),
    ({"image": [b"x"], "label": [0.5]}, {}, "must be a whole number or a text"),
    ({"image": [b"x"] * 2, "label": ["a", None]}, {}, "row 1: no label"),
    ({"image": [b"x"] * 2, "label": ["a", "a"]}, {}, "two or more classes"),
    ({"image": [b"x"] * 2, "t": ["a", " "]}, {"caption_column": "t"},
     "row 1: no caption, or an empty one"),
])
def test_what_is_wrong_is_said(tmp_path, rows, knobs, message):
    with pytest.raises(ValueError, match=message):
        parquet.table(path=frame(tmp_path, rows), **knobs)


def test_a_broken_file_and_a_missing_image_are_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1" + b"x" * 50)
    with pytest.raises(ValueError, match="Cannot read .*x.parquet"):
        parquet.table(path=str(tmp_path / "x.parquet"))
    source = parquet.table(path=frame(tmp_path, {
        "image": [png(0), None], "label": [0, 1]}))
    with pytest.raises(tf.errors.OpError) as caught:
        list(source.examples())
    assert "a.parquet:1: has no bytes of an image" in errors.reason(
        caught.value)


def test_arrow_files_that_cannot_be_mapped_are_refused(tmp_path):
    shutil.copytree(GOLDENS / "disk" / "test", tmp_path / "test")
    (tmp_path / "test" / "cache-12ab.arrow").write_text("of Dataset.map")
    assert arrow.table(path=str(tmp_path / "test")).num_examples == 9
    (tmp_path / "test" / "state.json").write_text(
        '{"_indices_data_files": [{"filename": "i.arrow"}]}')
    with pytest.raises(ValueError, match="call dataset.flatten_indices"):
        arrow.table(path=str(tmp_path / "test"))
    table = pa.table({"image": [png(0), png(1)] * 50, "label": [0, 1] * 50})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(tmp_path / "z.arrow"), "wb") as f, \
            pa.ipc.new_file(f, table.schema, options=options) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match="z.arrow is compressed"):
        arrow.table(path=str(tmp_path / "z.arrow"))
    with pytest.raises(ValueError, match="only local files"):
        arrow.table(path="gs://bucket/x")

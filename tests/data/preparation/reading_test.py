"""What cannot be read is left out by name, and nothing else is."""

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data.datasets import source
from tfvit.data.datasets import sources
from tfvit.data.datasets import spans
from tfvit.data.preparation import photos
from tfvit.data.preparation import reading
from tfvit.data.preparation import shards

SIZE = 150


def files(tmp_path, missing):
    """A source of files, of which some are gone since they were listed."""
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
    image = tf.io.encode_png(np.zeros([2, 2, 3], np.uint8)).numpy()
    for i in range(SIZE):
        (tmp_path / "train" / "ab"[i % 2] / f"{i:03}.png").write_bytes(image)
    made = sources.folder(path=str(tmp_path), split="train")
    for i in missing:
        (tmp_path / "train" / "ab"[i % 2] / f"{i:03}.png").unlink()
    return made


def chunks(broken):
    """A source that reads 32 by one call, which fails as a whole."""
    names = [f"n{i:03}" for i in range(SIZE)]

    def read(numbers):
        bad = [names[i] for i in numbers if i in broken]
        return (np.array([b"x"] * len(numbers), object),
                f"{bad[0]}: it is torn" if bad else "")

    class Chunks(source.Indexed):

        def fetched(self, indices, key=None):
            def example(numbers):
                return {"image": tf.ensure_shape(spans.checked(
                    *tf.numpy_function(read, [numbers], [tf.string] * 2)),
                    [None]), "label": numbers,
                        "name": tf.gather(tf.constant(names), numbers)}

            return spans.chunked(indices, example if key is None else (
                lambda numbers: tf.gather(tf.constant(names), numbers)))

    return Chunks(num_examples=SIZE, class_names="ab", fetch=None)


def numbers(found):
    return [int(record["name"].decode()[-7:].strip("/n.png")) for record, _ in
            found]


@pytest.mark.parametrize("kind", ["files", "chunks"])
def test_all_others_are_read_in_their_order(kind, tmp_path):
    bad = {0, 7, 50, 51, 149}
    made = files(tmp_path, bad) if kind == "files" else chunks(bad)
    found = [list(reading.records(made, i, 2)) for i in range(2)]
    assert sorted(numbers(sum(found, []))) == list(range(SIZE))
    wanted = [reading.numbers(made, i, 2) for i in range(2)]
    assert [len(part) for part in wanted] == [75, 75]
    if kind == "chunks":
        assert [numbers(part) for part in found] == [list(w) for w in wanted]
    lost = [(record, reason) for record, reason in sum(found, []) if reason]
    assert set(numbers(lost)) == bad
    for _, reason in lost:
        assert ("No such file" if kind == "files" else "it is torn") in reason
        assert "\n" not in reason


def test_they_are_listed_with_what_cannot_be_decoded(tmp_path):
    (tmp_path / "images").mkdir()
    made = files(tmp_path / "images", {3})
    (tmp_path / "images/train/a/004.png").write_bytes(b"\x89PNG and no more")
    plan = shards.Plan(str(tmp_path), "tfrecord", photos.maker(None, 95))
    assert shards.write(plan, "train", made)["examples"] == SIZE - 2
    rows = sorted((tmp_path / "train.left_out.txt").read_text().splitlines())
    assert [row.split("\t")[0][-9:] for row in rows] == ["a/004.png",
                                                         "b/003.png"]
    assert "No such file or directory" in rows[1]
    assert not [row for row in rows if "{{" in row or "Graph" in row]


def test_a_disk_that_is_gone_stops_it():
    with pytest.raises(OSError, match="101 images in a row cannot be read, the "
                       "last one is n.*: it is torn. Are the disk"):
        list(reading.records(chunks(set(range(SIZE))), 0, 1))

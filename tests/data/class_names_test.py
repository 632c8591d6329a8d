"""Tests of the class names that come with tfvit."""

import pytest

from tfvit.data import class_names


@pytest.mark.parametrize("count, first, last", [
    (1_000, "n01440764 tench, Tinca tinca", "n15075141 toilet tissue"),
    (21_843, "n00004475 organism, being", "n15102894 knothole")])
def test_published_checkpoints_have_their_names(count, first, last):
    names = class_names.published(count)
    assert len(names) == len(set(names)) == count
    assert names[0] == first and names[-1].startswith(last)


def test_the_thousand_are_among_the_many():
    few, many = (set(class_names.published(n)) for n in (1_000, 21_843))
    assert few - many == {"n04399382 teddy, teddy bear"}


def test_other_numbers_of_classes_are_numbered():
    assert class_names.published(3) == ["0", "1", "2"]


def test_names_are_read_as_they_were_written(tmp_path):
    path = str(tmp_path / "labels.txt")
    class_names.write(["b", "a c", "", "ü"], path)
    assert class_names.read(path) == ["b", "a c", "", "ü"]

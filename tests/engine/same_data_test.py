"""Data that moved, or is another, seen by a run that goes on."""

import types

import pytest

from tfvit.engine import same_data


def data(count=10, names=("cat", "dog")):
    return types.SimpleNamespace(num_examples=count, class_names=names)


A, B = ({"FOLDER": f"'/{place}'"} for place in "ab")


@pytest.fixture
def run(tmp_path):
    """check(source, places, ...) of a run that began with data() at A."""
    memory = {}
    same_data.check(data(), memory, tmp_path, A, restored=False, writes=True)
    assert (tmp_path / "labels.txt").read_text() == "cat\ndog\n"

    def check(source, places, restored=True, writes=True):
        same_data.check(source, memory, tmp_path, places, restored=restored,
                        writes=writes)
        return memory["data"]

    return check


def test_the_same_data_may_lie_elsewhere(run, caplog):
    assert run(data(), B) == {"examples": 10, "places": B,
                                 "order": 2}
    with pytest.raises(ValueError, match="'/a'.* 9 .* had 10 .*'/b'"):
        run(data(9), A)
    assert not caplog.messages


@pytest.mark.parametrize("names, differing", [
    (("cat", "wolf"), "dog, wolf"), (("dog", "cat"), "in another order"),
    (("cat", "dog", "emu"), "emu")])
@pytest.mark.parametrize("places", [A, B])
def test_other_classes_are_refused(run, tmp_path, names, differing, places):
    with pytest.raises(ValueError, match=f"other classes .*: {differing}. To "
                       "continue .*checkpoint.from_run") as error:
        run(data(names=names), places)
    assert "\n" not in str(error.value)
    assert (tmp_path / "labels.txt").read_text() == "cat\ndog\n"
    run(data(names=names), places, restored=False)  # It begins anew.
    assert "cat\ndog\n" != (tmp_path / "labels.txt").read_text()


def test_a_broken_file_that_was_removed_is_no_other_data(run, caplog):
    assert run(data(9), A)["examples"] == 9
    assert "9 examples, and this run had 10" in caplog.text


def test_a_run_of_an_earlier_version_is_told_of_its_order(tmp_path, caplog):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    memory = {}
    same_data.check(data(9), memory, tmp_path, B, restored=True, writes=True)
    assert memory == {"data": {"examples": 9, "places": B, "order": 2}}
    assert caplog.text.count("had the examples in another order") == 1
    # It goes on in this version's, about which nothing more is to be said.
    same_data.check(data(9), memory, tmp_path, B, restored=True, writes=True)
    assert caplog.text.count("another order") == 1


def test_captions_have_no_classes(tmp_path):
    same_data.check(data(names=()), {}, tmp_path, A, restored=False,
                    writes=True)
    assert not list(tmp_path.iterdir())

"""Mistakes in Python are said with arguments, not with flags of commands."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfvit.api import words


@pytest.mark.parametrize("said, expected", [
    ("--model=b17 is no model. Did you mean b16?",
     "model='b17' is no model. Did you mean b16?"),
    ("give a file, --from=FILE.npz, or: --model=tiny --from=none.",
     "give a file, weights='FILE.npz', or: model='tiny' weights='none'."),
    ("leave --layer_decay out, or add --trust.",
     "leave layer_decay out, or add trust=True."),
    ("--epochs=nan, --lr=1e-3 and --image_size=(16, 32) are",
     "epochs=nan, lr=1e-3 and image_size=(16, 32) are"),
    ("""Add: --gin_bindings="FOLDER = '/data/x'" """,
     """Add: bindings=["FOLDER = '/data/x'"] """),
    ("Cannot read --gin_bindings='x = y': no.",
     "Cannot read bindings=['x = y']: no."),
    ("by tfvit train --gin_file=gin/a.gin --gin_bindings=\"A = 1\".",
     "by tfvit train --gin_file=gin/a.gin --gin_bindings=\"A = 1\"."),
    ("--val_share=0.1: DATA=a/b is empty.",
     "val_share=0.1: data='a/b' is empty."),
    ("a--b, x--from=3 and -- are no flags",
     "a--b, x--from=3 and -- are no flags"),
])
def test_flags_become_arguments(said, expected):
    assert words.arguments(said) == expected


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError, TypeError,
                                  MemoryError])
def test_errors_keep_their_kind_and_lose_what_gin_adds(kind):
    proxy = type(kind.__name__, (kind,), {"__module__": kind.__module__})
    with pytest.raises(kind) as error, words.of_python():
        raise proxy("--lr=x is wrong.\n  In call to configurable 'f' (<f>)")
    assert type(error.value) is kind  # pylint: disable=unidiomatic-typecheck
    assert str(error.value) == "lr='x' is wrong."


def test_what_needs_no_other_words_passes_as_it_is():
    for made in (OSError(2, "No such file", "a"), KeyError("a"),
                 UnicodeDecodeError("utf-8", b"a", 0, 1, "--no=1")):
        with pytest.raises(type(made)) as error, words.of_python():
            raise made
        assert error.value is made


def test_tensorflows_errors_become_pythons(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere") as error:
        with words.of_python():
            tf.io.gfile.GFile(str(tmp_path / "nowhere")).read()
    assert "\n" not in str(error.value)
    with pytest.raises(MemoryError, match="out of memory"), words.of_python():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")


@dataclasses.dataclass
class Kinds:
    count: int | None = None
    share: float | None = None
    name: str | None = None
    flag: bool = False


def test_arguments_have_the_kinds_of_their_annotations():
    found = words.checked(Kinds, {
        "count": np.int64(3), "share": np.float32(0.5), "flag": True,
        "name": pathlib.Path("a/b")})
    assert found == {"count": 3, "share": 0.5, "flag": True, "name": "a/b"}
    assert {type(value) for value in found.values()} == {int, float, bool, str}
    assert words.checked(Kinds, {"count": None, "share": 2}) == {"share": 2.0}


@pytest.mark.parametrize("wrong, said", [
    ({"count": "x"}, "count='x' must be a whole number."),
    ({"count": 2.5}, "count=2.5 must be a whole number."),
    ({"count": True}, "count=True must be a whole number."),
    ({"share": (1, 2)}, r"share=\(1, 2\) must be a number."),
    ({"name": 3}, "name=3 must be a text."),
    ({"flag": "yes"}, "flag='yes' must be True or False."),
    ({"flag": None}, "flag=None must be True or False."),
])
def test_an_argument_of_another_kind_is_named(wrong, said):
    with pytest.raises(TypeError, match=f"^{said}$"):
        words.checked(Kinds, wrong)


def test_texts_and_paths():
    assert words.texts("x", "a") == ["a"]
    assert words.texts("x", (pathlib.Path("a"), "b")) == ["a", "b"]
    assert words.path("x", pathlib.Path("~")) == str(pathlib.Path.home())
    for call in (lambda: words.texts("x", 3), lambda: words.texts("x", [3]),
                 lambda: words.path("x", None), lambda: words.path("x", "")):
        with pytest.raises(TypeError, match="^x="):
            call()
    with pytest.raises(ValueError, match="at least 1"):
        words.texts("x", [], least=1)

"""The list of bindings against the imported functions, and gin itself."""

import ast
import contextlib
import importlib
import inspect
import pathlib
import re

import pytest

from tfvit import config
from tfvit.bindings import settable
from tools import bindings
from tools import listing
from tools import signatures

ROOT = pathlib.Path(config.ROOT)


@pytest.fixture(scope="module")
def rows():
    return {row["name"]: row for row in bindings.rows()}


def _public(module):
    """Names of the functions and classes that a module defines."""
    return {name for name, value in vars(module).items()
            if not name.startswith("_") and
            (inspect.isfunction(value) or inspect.isclass(value)) and
            value.__module__ == module.__name__}


def _fields(value):
    """Whether a function, or a class that says its parameters itself."""
    return not inspect.isclass(value) or "_fields" in vars(value) or (
        "__init__" in vars(value) and
        value.__init__.__module__ == value.__module__)


def test_every_parameter_is_what_python_says_it_is():
    read = {}
    for function in signatures.callables():
        module, name = function["name"].split(".")
        read.setdefault(module, {})[name] = function["parameters"]
    for short, path in settable.modules().items():
        module = importlib.import_module(path)
        assert _public(module) <= read.get(short, {}).keys()
        for name, parameters in read.get(short, {}).items():
            value = getattr(module, name)
            value = getattr(value, "python_function", value)  # tf.function
            if _fields(value):
                _compare(parameters, inspect.signature(value).parameters)
            else:
                assert parameters == []


def _compare(parameters, expected):
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    assert [parameter["name"] for parameter in parameters] == [
        name for name in expected if expected[name].kind not in several]
    for parameter in parameters:
        there = expected[parameter["name"]]
        assert parameter["keyword"] == (
            there.kind is inspect.Parameter.KEYWORD_ONLY)
        assert (parameter["default"] is None) == (
            there.default is inspect.Parameter.empty)
        if parameter["default"] and re.match(r"[-\d'(]|None|True|False",
                                             parameter["default"]):
            with contextlib.suppress(ValueError):  # 2.0 ** 10
                assert ast.literal_eval(parameter["default"]) == there.default


def test_gin_takes_every_name():
    names = [row["name"] for row in bindings.rows()]
    assert len(names) > 300
    config.parse([], [f"{name} = None" for name in names])
    with pytest.raises(ValueError):
        config.parse([], ["optim.sgd.learning_rate = None"])


def test_what_gin_files_and_pages_set_is_listed(rows):
    texts = [path.read_text() for path in (
        *(ROOT / "gin").rglob("*.gin"), ROOT / "README.md",
        *(ROOT / "tools").glob("docs/*.md"))]
    said = set(re.findall(
        r"^(?:\w+/)*(\w+\.\w+\.\w+|[A-Z_]+) = |"
        r"gin_bindings=[\"'](?:\w+/)*(\w+\.\w+\.\w+|[A-Z_]+) ?=",
        "\n".join(texts), re.MULTILINE))
    said = {a or b for a, b in said} - {"NAME"}
    assert len(said) > 120
    assert {name for name in said if name.split(".")[0] != "mine"} <= set(rows)


def test_every_name_is_explained(rows):
    assert [name for name, row in rows.items() if not row["about"]] == []
    assert "learning rate" in rows["optim.sgd.lr"]["about"]
    assert rows["optim.sgd.lr"]["default"] is None
    assert "tokenizers.sentencepiece.max_len" in rows  # Named by code alone.
    assert rows["optim.sgd.momentum"]["default"] == "0.9"
    # Said at schedules.cosine.
    assert rows["schedules.stair.warmup_steps"]["about"] == (
        rows["schedules.cosine.warmup_steps"]["about"])
    assert rows["experiment.Experiment.strategy"]["default"] == (
        "strategies.auto")
    assert "vit.vit.num_classes" in rows["NUM_CLASSES"]["about"]


@pytest.mark.parametrize("name", [
    "schedules.cosine.base", "optim.sgd.total_steps", "pipeline.train.source",
    "classification.Classification.model", "layers.MlpBlock.mlp_dim",
    "checkpoint.Checkpoints.keep", "cache.path.storage"])
def test_what_others_give_is_not_listed(rows, name):
    assert name not in rows
    assert name in {row["name"] for row in bindings.rows(everything=True)}


def test_the_tables_of_exceptions_name_what_there_is():
    every = [row["name"] for row in bindings.rows(everything=True)]
    for key, names in bindings._GIVEN.items():
        for name in names.split():
            assert any(row.startswith(f"{key}.") and row.endswith(f".{name}")
                       for row in every), (key, name)
    for start in (*bindings._CHOICES, *bindings._MACHINERY):
        assert any(row.startswith(start) for row in every), start


def test_a_word_chooses_all_names_and_a_macro_explains_itself(rows):
    found = {row["name"] for row in listing.choose(
        list(rows.values()), ["lr"], lambda row: row["name"])}
    assert {"LR", "optim.sgd.lr", "optim.adamw.lr"} <= found
    text = "\n".join(bindings.details(rows["LR"]))
    assert "A macro of the gin files" in text and "Of " not in text
    assert text.count("--gin_bindings") == 1
    assert "Of optim.sgd: " in "\n".join(bindings.details(
        rows["optim.sgd.lr"]))


@pytest.mark.parametrize("word, meant", [
    ("totl_steps", "experiment.Experiment.total_steps"),
    ("optim.sgd.lrr", "optim.sgd.lr"),
    ("vit.vit.patchsize", "vit.vit.patch_size")])
def test_a_misspelt_name_is_guessed(rows, word, meant):
    with pytest.raises(ValueError, match=re.escape(meant)):
        listing.choose(list(rows.values()), [word], lambda row: row["name"])

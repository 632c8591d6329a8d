"""Gin files as text, against gin's own parser; the lists of data and recipes.
"""

import ast
import json
import pathlib

from gin import config_parser
import pytest

from tfvit import config
from tfvit.bindings import gin_file
from tools import data
from tools import listing
from tools import recipes
from tools import tables

ROOT = pathlib.Path(config.ROOT)
FILES = sorted(str(path.relative_to(ROOT))
               for path in (ROOT / "gin").rglob("*.gin"))


class _Names(config_parser.ParserDelegate):
    """Says of references and macros what the file says."""

    def configurable_reference(self, scoped_configurable_name, evaluate):
        return f"@{scoped_configurable_name}{'()' * evaluate}"

    def macro(self, macro_name):
        return f"%{macro_name}"


def _parsed(path):
    """({name: value}, [include]) by gin."""
    bound, included = {}, []
    with open(ROOT / path, encoding="utf-8") as f:
        for statement in config_parser.ConfigParser(f, _Names()):
            if isinstance(statement, config_parser.IncludeStatement):
                included.append(statement.filename)
            elif isinstance(statement, config_parser.BindingStatement):
                name = "/".join(filter(None, [statement.scope,
                                              statement.selector]))
                if statement.arg_name:
                    name += f".{statement.arg_name}"
                bound[name] = statement.value
    return bound, included


@pytest.mark.parametrize("path", FILES)
def test_a_gin_file_binds_and_includes_what_gin_says(path):
    bound, included = _parsed(path)
    file = gin_file.GinFile(path)
    assert file.own.keys() == bound.keys()
    for name, value in bound.items():
        if isinstance(value, (int, float, str)) or value is None:
            text = file.own[name]
            assert value == (text if text[0] in "@%" else
                             ast.literal_eval(text))
    assert set(included) <= set(file.includes)


def test_all_data_is_listed_with_its_splits():
    rows = {row["name"]: row for row in data.rows() if "file" in row}
    files = {path.relative_to(ROOT / "gin" / "data").with_suffix("").as_posix()
             for path in (ROOT / "gin" / "data").rglob("*.gin")}
    assert rows.keys() == files - {"vtab"}  # What the tasks have in common.
    assert rows["cifar10"]["splits"] == {
        "train": "train[:98%]", "val": "train[98%:]", "test": "test"}
    assert rows["vtab/svhn"]["splits"]["train"] == "train[:800]"
    assert {name: rows[name]["get"] for name in (
        "cifar10", "imagenet2012", "folder", "digits", "vtab/resisc45",
        "vtab/dtd")} == {
            "cifar10": "TFDS, 170 MB", "imagenet2012": "by hand",
            "folder": "yours: FOLDER", "digits": "at hand",
            "vtab/resisc45": "by hand", "vtab/dtd": "TFDS"}
    assert rows["imagenet21k"]["classes"] == 21_843


def test_sources_are_listed():
    names = {row["name"] for row in data.rows() if row["name"][0] == "@"}
    assert {"@sources.folder", "@sources.tfds", "@sources.manifest",
            "@combine.mixture", "@captions.table"} <= names
    assert not any("." in name and name.split(".")[1][0].isupper()
                   for name in names)


def test_all_recipes_are_listed_with_what_to_expect():
    rows = {row["name"]: row for row in recipes.rows()}
    runs = {path.stem for path in (ROOT / "gin").glob("*.gin")} - {"base"}
    assert runs <= rows.keys()
    assert {f"recipes/{path.stem}" for path in
            (ROOT / "gin" / "recipes").glob("*.gin")} <= rows.keys()
    for name in runs:
        assert rows[name]["command"].startswith(
            f"python -m tfvit.train --gin_file=gin/{name}.gin")
    # vision_transformer's README; its authors; and no number of this very run.
    assert [recipes._number(rows[name]) for name in (
        "b16_cifar10", "vit_b16_imagenet21k", "augreg_s16_imagenet2012",
        "lit_b16b_coco")] == ["0.9902", "val 0.4788", "-", "retrieval 0.472"]


@pytest.mark.parametrize("room", [80, 120])
def test_tables_are_as_wide_as_the_terminal(room, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(room))
    for module in (data, recipes):
        lines = list(module.table(module.rows()))
        assert max(map(len, lines)) <= room
    assert any(line.endswith("…") for line in lines)


def test_without_a_terminal_nothing_is_cut(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert tables.width() is None
    assert not any("…" in line for line in recipes.table(recipes.rows()))


@pytest.mark.parametrize("words, names", [
    (["b16"], ["b16"]), (["B16"], ["b16"]), (["lr"], ["LR", "sgd.lr"]),
    (["LR"], ["LR"]), (["mix", "s"], ["mixer_s8"]),
    (["r_ti16", "b16"], ["b16", "r_ti16"]),
    (["16"], ["b16", "r_ti16"]), (["two", "words"], ["r_ti16"]), ([], None)])
def test_words_choose(words, names):
    rows = [{"name": "b16", "text": "x"}, {"name": "mixer_s8", "text": "y"},
            {"name": "r_ti16", "text": "words, two of them"},
            {"name": "LR", "text": ""}, {"name": "sgd.lr", "text": ""}]
    found = [row["name"] for row in listing.choose(
        rows, words, lambda row: f"{row['name']} {row['text']}")]
    assert found == (names or [row["name"] for row in rows])


def test_without_such_a_name_there_is_a_way_on():
    rows = [{"name": f"m{i}"} for i in range(3)]
    for many, said in (rows, "There are m0, m1, m2"), (rows * 20, "lists all"):
        with pytest.raises(ValueError, match=f"called 'nosuch'. .*{said}"):
            listing.choose(many, ["nosuch"], lambda row: row["name"])


@pytest.mark.parametrize("module", [data, recipes])
def test_json_can_hold_everything(module):
    rows = module.rows()
    assert json.loads(json.dumps(rows)) == rows

"""The folder of a page."""

import json
import pathlib

import pytest

from tests.serving import samples
from tfvit import config
from tfvit.inference import preprocessing
from tfvit.serving import page

ROOT = pathlib.Path(config.ROOT)
RECORD = {"preprocessing": ["decode", "value_range"],
          "settings": [{"channels": 3, "upright": True},
                       {"low": -1.0, "high": 1.0}]}


@pytest.fixture
def no_runtime(monkeypatch):
    monkeypatch.setattr(page, "runtime", lambda: {"runtime/index.js": b"run"})


def test_settings_come_along_and_a_missing_size_is_added():
    assert page.steps(preprocessing.record(samples.OPS), (16, 16, 3)) == [
        {"op": "decode", "channels": 3, "upright": False},
        {"op": "resize", "size": 16, "method": "bilinear", "antialias": False},
        {"op": "value_range", "low": -1.0, "high": 1.0}]
    assert page.steps(RECORD, (8, 9, 3))[-1] == {
        "op": "resize", "size": [8, 9], "method": "bilinear",
        "antialias": False}


@pytest.mark.parametrize("name, settings, said", [
    ("random_crop", {}, "cannot do ops.random_crop, which"),
    ("resize", {"method": "bicubic"}, "ops.resize.method = 'bicubic', only"),
    ("resize", {"antialias": True}, "ops.resize.antialias = True, only"),
    ("decode", {"channels": 1}, "ops.decode.channels = 1, only"),
    ("to_uint8", {"new": 1}, "ops.to_uint8.new = 1."),
])
def test_what_the_page_cannot_do_is_named(name, settings, said):
    record = {"preprocessing": [name], "settings": [settings]}
    with pytest.raises(ValueError) as error:
        page.steps(record, (8, 8, 3))
    assert said in str(error.value)


def test_grey_models_are_refused():
    with pytest.raises(ValueError, match="3 channels, and the model has 1"):
        page.steps(RECORD, (8, 8, 1))


def test_models_are_added_and_kept(tmp_path, no_runtime):
    out = str(tmp_path / "demo")
    first = page.write(out, name="b", step=7, files={"demo.json": "{}"})
    again = page.write(out, name="b", step=7, files={"demo.json": "{}"})
    page.write(out, name="a", step=0, files={"demo.json": "{}"})
    assert [first, again] == [f"{out}/models/b/7", f"{out}/models/b/8"]
    assert pathlib.Path(first, "demo.json").exists()
    listed = json.loads(pathlib.Path(out, "models.json").read_text())
    assert listed == {"models": [{"name": "a", "folder": "models/a/1"},
                                 {"name": "b", "folder": "models/b/8"}]}
    for name in page.page():
        assert pathlib.Path(out, name).read_bytes() == page.page()[name]


def test_files_that_are_the_same_stay_as_they_are(tmp_path, no_runtime):
    out = str(tmp_path)
    page.write(out, name="b", step=7, files={"demo.json": "{}"})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.js")}
    assert len(before) > 5
    page.refresh(out)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_the_page_of_somebody_else_is_not_overwritten(tmp_path, no_runtime):
    (tmp_path / "index.html").write_text("<h1>Mine</h1>")
    with pytest.raises(ValueError, match="is another page: choose another --out"):
        page.write(str(tmp_path), name="b", step=7, files={})
    assert (tmp_path / "index.html").read_text() == "<h1>Mine</h1>"
    assert not (tmp_path / "models").exists()


def test_the_licence_is_that_of_the_project():
    assert page.page()["LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_the_pages_modules_are_as_short_as_others():
    for path in (ROOT / "tools" / "demo").glob("*.js"):
        assert len(path.read_text().splitlines()) <= 400, path

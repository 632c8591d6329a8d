"""The ledger against itself, the catalogue, gin files and the JAX original."""

import json
import re
import subprocess
import sys

import pytest

from tfvit import config
from tfvit.bindings import gin_file
from tfvit.reproduction import commands
from tfvit.reproduction import cost
from tfvit.reproduction import ledger
from tfvit.weights import augreg
from tfvit.weights import catalogue
from tfvit.weights import fetch

ROWS = ledger.rows()
WEIGHTS = ledger.published()
# As the catalogue's own names have it: the size and classes of its files.
SIZES = {"imagenet21k": (224, 21_843), "imagenet21k+imagenet2012": (384, 1000),
         "imagenet1k": (224, 1000), "sam": (224, 1000), "gsam": (224, 1000),
         "big_vision": (224, 1000)}


@pytest.mark.parametrize("row", WEIGHTS, ids=lambda row: row.id)
def test_a_row_is_of_a_file_of_the_catalogue_as_it_is(row):
    collection, name = row.checkpoint.split("/")
    assert fetch.catalogue_url(row.checkpoint)
    if collection == "augreg":
        made = augreg.parse(name)
        assert f"augreg/{made.model}" in catalogue.names()
        assert (made.ds, made.epochs) == ("i21k", 300)  # The recommended ones.
        assert made.adapt_ds == row.dataset
        assert made.adapt_resolution == row.image_size and row.classes == 1000
    else:
        assert row.checkpoint in catalogue.names()
        if collection == "lit":
            assert row.image_size == 224
        else:
            size, classes = SIZES[collection]
            size = 224 if name.endswith("-224") else size
            assert (row.image_size, row.classes) == (size, classes)
    assert row.stem and cost.operations(row) > 0
    # Published without a table of positions, or trained without augmentation.
    assert row.crop == (collection not in (
        "augreg", "imagenet21k+imagenet2012", "lit"))


@pytest.mark.parametrize("row", WEIGHTS, ids=lambda row: row.id)
def test_a_row_has_the_data_of_its_gin_file(row):
    bound = gin_file.GinFile(row.gin).bindings

    def value(name):
        scoped = f"{row.scope}/sources.tfds.{name}"
        return bound.get(scoped, bound.get(f"sources.tfds.{name}")).strip("'")

    assert value("name") == row.dataset and value("split") == row.split
    if row.task == "classification":
        assert int(bound["NUM_CLASSES"].replace("_", "")) == row.classes
    makers = bound.get("experiment.Experiment.evaluators", "'retrieval'")
    assert f"'{row.evaluator}'" in makers


def test_numbers_are_shares_with_a_source_each():
    for row in ROWS:
        assert 0 < row.expected < 1 and 0 < row.tolerance <= 0.01
        assert row.source and bool(row.caveat) == (row.slack > row.tolerance)
        if row.second:  # Others agree, to what crops and resizing change.
            assert abs(row.second["value"] - row.expected) < 0.01
    parts = ledger.read(ledger.FILE)
    assert parts["collections"].keys() == catalogue.FILES.keys()
    used = {row.get("source") for kind in ("rows", "training")
            for row in parts[kind]} | {
                row["second"]["source"] for row in parts["rows"]
                if "second" in row}
    assert used - {None} == parts["sources"].keys()
    assert {row["data"] for row in parts["rows"]} == parts["data"].keys()


def test_the_originals_tables_are_all_here():
    # vision_transformer's README and model card, read anew.
    expected = {row.id: row.expected for row in ROWS}
    assert [expected[f"augreg-{name}"] for name in (
        "l16", "b16", "s16", "r50_l32", "r26_s32", "ti16", "b32", "s32",
        "r_ti16")] == [.8559, .8549, .8373, .8599, .8385, .7822, .8359, .7958,
                       .7540]
    assert [expected[f"lit-b16b_2-{name}"] for name in (
        "imagenet", "v2", "cifar100", "pets", "resisc45", "coco-img2txt",
        "coco-txt2img")] == [.739, .651, .790, .833, .253, .516, .318]
    assert expected["train-b16_cifar100-1000"] == .9115
    assert expected["train-r50_b16_imagenet2012"] == .8508


def test_no_number_is_in_two_places():
    text = "".join(open(f"{config.ROOT}/{file.path}", encoding="utf-8").read()
                   for file in gin_file.gin_files("gin/models"))
    assert not re.search(r"\b0\.[5-9]\d\d", text)


def test_runs_that_expect_a_number_are_rows():
    runs = {row.gin for row in ROWS if row.task == ledger.TRAINING}
    assert "gin/b16_cifar10.gin" in runs and "gin/digits.gin" in runs
    # From memory; after a part of the run; none.
    assert not runs & {"gin/plain_s16_imagenet2012_150ep.gin",
                       "gin/lit_shapes.gin", "gin/r_ti16_pets.gin"}


@pytest.mark.parametrize("split, count, part", [
    ("validation", 500, "validation[:500]"),
    ("train[25200:]", 10, "train[25200:25210]"),
    ("full[25600:51200]", 10, "full[25600:25610]")])
def test_the_first_images_of_a_split(split, count, part):
    assert commands.first(split, count) == part


def test_a_row_is_one_plain_command():
    by_id = {row.id: row for row in ROWS}
    assert commands.text(by_id["sam-s16"], "out", data_dir="/d", images=9) == (
        "python -m tfvit.evaluate --model=sam/ViT-S_16 --split=test "
        "--gin_file=gin/data/imagenet2012.gin "
        "--gin_file=gin/recipes/central_crop.gin "
        "'--gin_bindings=DATA_DIR = '\"'\"'/d'\"'\"'' "
        "'--gin_bindings=ops.decode.upright = False' "
        "'--gin_bindings=test/sources.tfds.split = "
        "'\"'\"'validation[:9]'\"'\"''")
    assert commands.words(by_id["train-b16_cifar10-500"], "out") == [
        "tfvit.train", "--gin_file=gin/b16_cifar10.gin",
        "--gin_bindings=experiment.Experiment.total_steps = 500",
        "--gin_bindings=schedules.cosine.warmup_steps = 50",
        "--workdir=out/train-b16_cifar10-500"]


@pytest.mark.parametrize("only, train, ids", [
    (["vit-b16*"], [], ["vit-b16", "vit-b16-224"]),
    ([], ["train-digits"], ["train-digits"]),
    (["vit-l32"], ["train-digits"], ["vit-l32", "train-digits"])])
def test_rows_are_chosen_by_patterns(only, train, ids):
    assert [row.id for row in ledger.choose(ROWS, only, train)] == ids


def test_nothing_trains_unless_it_is_named():
    assert ledger.choose(ROWS) == WEIGHTS


@pytest.mark.parametrize("only, train, said", [
    (["vit-b61"], [], "--only=vit-b61 is no row. Did you mean 'vit-b16'?"),
    (["train-*"], [], "asked for by --train=train-\\*."),
    ([], ["vit-b16"], "asked for by --only=vit-b16."),
    (["zzz"], [], "`tfvit reproduce --list` has their names.")])
def test_patterns_that_mean_nothing_are_answered(only, train, said):
    with pytest.raises(ValueError, match=said):
        ledger.choose(ROWS, only, train)


@pytest.mark.parametrize("change, said", [
    ({"expected": 84.1}, "row 'x': expected and tolerance are shares"),
    ({"data": "imagenet2012"}, "row 'x': there is no 'imagenet2012'"),
    ({"source": "me"}, "row 'x': there is no 'me'"),
    ({"acuracy": 1}, "row 'x': got an unexpected keyword argument 'acuracy'"),
    ({"id": None}, "twice")])
def test_a_wrong_ledger_is_answered(tmp_path, change, said):
    parts = json.loads(json.dumps(ledger.read(ledger.FILE)))
    row = {**parts["rows"][0], "id": "x"}
    parts["rows"] = [{**row, **change}] * (2 if "id" in change else 1)
    path = tmp_path / "own.json"
    path.write_text(json.dumps(parts))
    with pytest.raises(ValueError, match=said):
        ledger.rows(str(path))


def test_what_is_no_ledger_is_answered(tmp_path):
    path = tmp_path / "own.json"
    for text in "[", "[]", '{"rows": 3}':
        path.write_text(text)
        ledger.read.cache_clear()
        with pytest.raises(ValueError, match="is no (JSON|ledger)"):
            ledger.rows(str(path))


def test_a_card_says_licence_source_and_what_was_published():
    card = ledger.card("imagenet21k+imagenet2012/ViT-B_16-224")
    assert "Apache 2.0" in card["licence"]
    assert card["paper"].endswith("2010.11929")
    assert card["published"] == [{
        "dataset": "imagenet2012", "split": "validation", "image_size": 224,
        "metric": "accuracy", "value": .812,
        "source": "vision_transformer README"}]
    assert ledger.card("gs://vit_models/lit/LiT-B16B.npz") == (
        ledger.card("lit/LiT-B16B"))
    assert len(ledger.card("lit/LiT-B16B")["published"]) == 7
    assert not ledger.card("imagenet21k/Mixer-B_16")["published"]
    assert ledger.card("runs/mine") == ledger.card("augreg") == {}


def test_hours_are_those_of_the_arithmetic():
    (row,) = (row for row in ROWS if row.id == "vit-b16")
    # timm counts 55.54 GMACs for it at 384 px.
    assert cost.operations(row) == pytest.approx(2 * 55.54e9 * 50_000, rel=.01)
    assert cost.operations(row, 500) == pytest.approx(
        cost.operations(row) / 100)
    (short,) = (row for row in ROWS if row.id == "train-b16_cifar10-500")
    assert cost.operations(short) == pytest.approx(
        3 * 2 * 55.54e9 * 512 * 500, rel=.01)


def test_the_list_needs_no_tensorflow():
    code = ("import sys; from tfvit.reproduction import cost; "
            "assert cost.ledger.rows(); sys.exit('tensorflow' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=config.ROOT,
                          check=False).returncode == 0


def test_hours_say_what_they_leave_out(monkeypatch):
    monkeypatch.setattr(cost, "devices", lambda: {"toy": 1e12})
    by_id = {row.id: row for row in ROWS}

    def table(*names):
        return list(cost.table([by_id[name] for name in names]))

    one = table("vit-b16")
    # Twice 55.54 GMACs, as timm counts them, of each image.
    hours = 2 * 55.54e9 * 50_000 / 1e12 / 3600
    for line in one[1:3]:
        assert float(line.split()[-1]) == pytest.approx(hours, rel=.01)
    assert len(set(map(len, one[:3]))) == 1 and one[2].startswith("all of them")
    assert "LiT" not in one[-1]
    two = table("vit-b16", "train-digits", "lit-l16l-v2")
    assert "not known" in two[2] and two[4].startswith("all but 1  ")
    assert two[-1] == "Of LiT the images alone; its texts come on top."

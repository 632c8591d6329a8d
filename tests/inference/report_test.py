"""The report of a run: numbers, files, pictures, the page, what it refuses."""

import csv
import dataclasses
import functools
import html.parser
import io
import json
import os
import types

from absl import flags
from absl.testing import flagsaver
from numpy import testing
import numpy as np
from PIL import Image
import pytest
from sklearn import metrics as sklearn

from tests.engine import skip_corrupt_test
from tfvit import evaluate
from tfvit import experiment
from tfvit.data import class_names
from tfvit.data.datasets import sources
from tfvit.distribute import strategies
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.engine import run_config
from tfvit.evaluators import classification
from tfvit.evaluators import fewshot
from tfvit.evaluators import multilabel
from tfvit.inference import finished
from tfvit.inference import image_files
from tfvit.inference import report

NAMES = ["<script>alert(1)<", "a $x_1$ \"b\" & 'c'", "日本の桜"]
COUNTS = [7, 9, 11]


@pytest.fixture(autouse=True)
def parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of a run on photos in folders, two of them broken."""
    root = tmp_path_factory.mktemp("report")
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for i, (name, count) in enumerate(zip(NAMES, COUNTS)):
            folder = root / "data" / split / name
            folder.mkdir(parents=True)
            for j in range(count):
                pixels = random.integers(0, 150, [12 + j, 20, 3]) + 40 * i
                Image.fromarray(pixels.astype(np.uint8)).save(
                    folder / f"<b>{j}.png")
    for name in ("broken.png", "<i>.png"):
        (root / "data/val" / NAMES[1] / name).write_bytes(b"no image")
    (root / "x.gin").write_text(skip_corrupt_test.GIN)
    exp, text = experiment.from_config([str(root / "x.gin")], [
        f"FOLDER = '{root}/data'", "NUM_CLASSES = 3",
        "train/sources.folder.split = 'train'",
        "val/sources.folder.split = 'val'",
        "experiment.Experiment.evaluators = "
        "{'val': @val/classification.Classification}",
        "experiment.Experiment.skip_corrupt = True"])
    workdir = str(root / "run")
    run_config.save(text, workdir, started=False)
    made = build.build(exp)
    for variable in made.model.trainable_variables:
        variable.assign(random.normal(scale=0.3, size=variable.shape))
    class_names.write(sorted(NAMES), f"{workdir}/labels.txt")
    saved = checkpoint.Checkpoints(workdir, made.state, keep=1)
    saved.save()
    saved.wait()
    return workdir


def evaluated(run, capsys, changes=(), **given):
    """(lines printed before, the JSON object) of an evaluation."""
    exp = dataclasses.replace(experiment.of_run(run)[0], **dict(changes))
    with flagsaver.flagsaver(**given):
        evaluate.main(exp, run)
    *lines, last = capsys.readouterr().out.splitlines()
    return lines, json.loads(last)


def table(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


@pytest.fixture(scope="module")
def function(run):
    """What predict applies to files."""
    return finished.signatures(run)["serving_default"]


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: tags, sources, texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs
                       if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module", params=[strategies.one_device,
                                        strategies.logical_cpus])
def made(request, run, tmp_path_factory):
    """(directory of a report, lines printed, JSON object)."""
    directory = tmp_path_factory.mktemp("made") / "deep" / "report"
    printed = io.StringIO()
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(report=str(directory)), pytest.MonkeyPatch(
    ).context() as patch:
        patch.setattr("sys.stdout", printed)
        evaluate.main(dataclasses.replace(
            experiment.of_run(run)[0], strategy=request.param), run)
    *lines, last = printed.getvalue().splitlines()
    return directory, lines, json.loads(last)


def test_every_example_has_its_line_and_the_metrics_are_those_of_evaluate(
        made, run, capsys):
    directory, _, values = made
    _, plain = evaluated(run, capsys)
    assert values.pop("val/loss") == pytest.approx(plain.pop("val/loss"),
                                                   rel=1e-6)
    assert values == plain
    assert plain["val/examples"] == sum(COUNTS) and plain["val/corrupt"] == 2
    rows = table(directory / "val/predictions.csv")
    val = os.path.dirname(run) + "/data/val"
    assert [row["file"] for row in rows] == [
        file for file in image_files.find([val])
        if not file.endswith(("broken.png", "<i>.png"))]
    hits = [row["label"] == row["predicted"] for row in rows]
    assert hits == [row["correct"] == "1" for row in rows]
    assert plain["val/accuracy"] == np.mean(hits)
    assert all(f"/{row['label']}/" in row["file"] for row in rows)


def test_predict_gives_the_same_numbers(made, function):
    rows = table(made[0] / "val/predictions.csv")
    found = image_files.run(function, [row["file"] for row in rows],
                            batch_size=5)
    for row, (file, predicted) in zip(rows, found, strict=True):
        assert file == row["file"]
        _, name, score = image_files.top(predicted)[0]
        assert name == row["predicted"]
        assert float(row["score"]) == pytest.approx(score, abs=2e-6)
        label = NAMES.index(row["label"])
        assert float(row["label_score"]) == pytest.approx(
            predicted["probabilities"][label], abs=2e-6)


def test_tables_are_sklearns(made):
    directory, lines, _ = made
    rows = table(directory / "val/predictions.csv")
    labels, predicted = ([row[k] for row in rows]
                         for k in ("label", "predicted"))
    expected = zip(NAMES, *sklearn.precision_recall_fscore_support(
        labels, predicted, labels=NAMES, zero_division=np.nan))
    found = table(directory / "val/per_class.csv")
    for row, (name, *figures, support) in zip(found, expected, strict=True):
        assert (row["class"], int(row["support"])) == (name, support)
        testing.assert_allclose([float(row[k] or "nan") for k in (
            "precision", "recall", "f1")], figures, rtol=1e-5)
        assert any(line.startswith(name) and line.endswith(str(support))
                   for line in lines)
    matrix = {(row["label"], row["predicted"]): int(row["count"])
              for row in table(directory / "val/confusion.csv")}
    testing.assert_array_equal(
        [[matrix.get((a, b), 0) for b in NAMES] for a in NAMES],
        sklearn.confusion_matrix(labels, predicted, labels=NAMES))
    noted = json.loads((directory / "report.json").read_text())["metrics"]
    assert noted["val/balanced_accuracy"] == pytest.approx(
        sklearn.balanced_accuracy_score(labels, predicted))
    assert noted["val/macro_f1"] == pytest.approx(sklearn.f1_score(
        labels, predicted, average="macro", zero_division=0))


def test_the_page_holds_everything_and_runs_nothing(made, run):
    page = Page((made[0] / "index.html").read_text(encoding="utf-8"))
    assert not {"script", "i", "link", "iframe"} & {*page.tags}
    assert page.links and all(link.startswith("data:image/png;base64,")
                              for link in page.links)
    wrong = sum(row["correct"] == "0"
                for row in table(made[0] / "val/predictions.csv"))
    assert page.tags.count("figure") == min(wrong, 24)
    assert {*NAMES} <= {*page.texts}
    # Those that were skipped are named.
    folder = os.path.dirname(run) + "/data/val/" + NAMES[1]
    assert {f"{folder}/broken.png", f"{folder}/<i>.png"} <= {*page.texts}
    assert "Left out: 2 that cannot be decoded." in page.texts


def test_the_mistakes_are_the_surest_and_the_pictures_show_something(made):
    directory, _, _ = made
    rows = table(directory / "val/predictions.csv")
    scores = sorted((float(row["score"]) for row in rows
                     if row["correct"] == "0"), reverse=True)[:24]
    page = Page((directory / "index.html").read_text(encoding="utf-8"))
    shown = [float(text.split(" %")[0]) for text in page.texts
             if " % " in text and text.split(" % ")[1] in NAMES]
    testing.assert_allclose(shown, 100 * np.array(scores), atol=0.06)
    for name in ("confusion", "reliability", "mistakes"):
        picture = np.asarray(Image.open(
            directory / f"val/{name}.png").convert("L"))
        assert min(picture.shape) > 200 and picture.std() > 10


def fake(class_names, count, evaluator="val"):
    """A run of which an evaluator finds anything."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % len(class_names)
    predicted = np.where(random.random(count) < 0.6, labels,
                         random.integers(0, len(class_names), count))
    hits = (labels == predicted).astype(np.float32)
    rows = {"number": np.arange(count), "label": labels, "accuracy": hits,
            "predicted": predicted, "score": random.random(count),
            "label_score": random.random(count), "loss": hits}
    source = sources.arrays(images=np.zeros([count, 8, 8, 1]), labels=labels,
                            class_names=class_names)
    return types.SimpleNamespace(evaluators={evaluator: types.SimpleNamespace(
        class_names=class_names, source=source, rows=lambda poll: dict(rows),
        measure=lambda rows: {"accuracy": float(rows["accuracy"].mean()),
                              "examples": count})})


def write(directory, made, exp=types.SimpleNamespace(evaluators={
        "x": classification.Classification})):
    report.check(exp, str(directory), None)
    return report.write(made, str(directory), title="a run", step=3)


def test_a_report_replaces_an_earlier_one_and_nothing_else(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    write(there, fake("abc", 9))
    (there / "notes.txt").write_text("mine")
    write(there, fake("abc", 9, "test"))
    assert sorted(os.listdir(there)) == ["index.html", "notes.txt",
                                         "report.json", "test", "val"]
    assert not os.listdir(there / "val") and os.listdir(there / "test")
    (there / "val/predictions.csv").write_text("mine")
    with pytest.raises(ValueError, match="predictions.csv is of no earlier"):
        write(there, fake("abc", 9))
    assert (there / "val/predictions.csv").read_text() == "mine"
    for taken in (tmp_path, there / "notes.txt"):
        with pytest.raises(ValueError, match="holds something else than an "
                           "earlier report"):
            write(taken, fake("abc", 9))


def test_a_thousand_classes_can_be_read(tmp_path):
    names = class_names.read("imagenet2012")
    made = fake(names, 5_000)
    _, text = write(tmp_path, made)
    lines = text.splitlines()
    assert len(lines) < 35 and any(
        line.startswith("... and 980 more") for line in lines)
    rows = made.evaluators["val"].rows(None)
    pairs = table(tmp_path / "val/confusion.csv")
    assert len(pairs) == len({*zip(rows["label"], rows["predicted"])})
    assert sum(int(row["count"]) for row in pairs) == 5_000
    assert len(table(tmp_path / "val/per_class.csv")) == 1_000
    width, height = Image.open(tmp_path / "val/confusion.png").size
    assert width < 1_000 and height < 1_000
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert {*map(repr, names)} <= {*map(repr, page.texts)}


def test_a_model_without_mistakes_has_a_report(tmp_path):
    made = fake("ab", 4)
    rows = made.evaluators["val"].rows(None)
    rows |= {"predicted": rows["label"], "accuracy": np.ones(4)}
    made.evaluators["val"].rows = lambda poll: dict(rows)
    write(tmp_path, made)
    assert not (tmp_path / "val/mistakes.png").exists()
    assert "No mistakes." in (tmp_path / "index.html").read_text()


@pytest.fixture
def unread(run, monkeypatch):
    """The directory of a run of which nothing may be read."""

    def fail(*_):
        raise AssertionError("The data was read.")

    monkeypatch.setattr(sources, "_files", fail)
    return run


def test_what_cannot_work_is_said_before_anything_is_read(
        unread, capsys, tmp_path, monkeypatch):
    several = {"val": multilabel.MultiLabel,
               "few": functools.partial(fewshot.FewShot, shots=(1,))}
    with pytest.raises(ValueError, match="chooses one class .*'val' is a Multi"
                       "Label, 'few' is a FewShot"):
        evaluated(unread, capsys, {"evaluators": several},
                  report=str(tmp_path))
    with pytest.raises(ValueError, match="--split=vla is no evaluator.*val. "
                       "Did you mean val"):
        evaluated(unread, capsys, split=["vla"])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="something else"):
        evaluated(unread, capsys, report=str(tmp_path))
    (tmp_path / "report.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="something else"):
        evaluated(unread, capsys, report=str(tmp_path))
    monkeypatch.setenv("TF_CONFIG", json.dumps({
        "cluster": {"worker": ["a:1", "b:2"]},
        "task": {"type": "worker", "index": 0}}))
    with pytest.raises(ValueError, match="by one process: unset TF_CONFIG"):
        evaluated(unread, capsys, report=str(tmp_path / "new"))


def test_files_outside_are_no_part_of_a_report(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/report.json").write_text(json.dumps(
        {"files": ["../y.txt", "/etc/passwd", "val/a.csv"]}))
    old = report._old(tmp_path / "x")  # pylint: disable=protected-access
    assert old == ["val/a.csv"]

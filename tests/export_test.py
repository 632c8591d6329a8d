"""From a checkpoint to files that classify images, on the command line."""

import csv
import json
import os
import subprocess
import sys
import types

from absl import flags
from absl.testing import flagsaver
import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from tests import lit_gin
from tests.inference import browser_test
from tests.serving import convert_test
from tests.serving import samples
from tfvit import export
from tfvit.models import vit
from tfvit.serving import convert
from tfvit.weights import names
from tfvit.weights import npz

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUN = """
from __gin__ import dynamic_registration
include 'gin/models/tiny.gin'
include 'gin/recipes/published.gin'
NUM_CLASSES = 10
IMAGE_SIZE = 32
"""


def run(*arguments, code=0):
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_checkpoint_becomes_an_export_that_predicts_the_same(tmp_path):
    gin_file, file = tmp_path / "tiny.gin", tmp_path / "a.npz"
    gin_file.write_text(RUN)
    model = vit.vit(num_classes=10, image_size=32, patch_size=8, width=16,
                    depth=2, num_heads=2, mlp_dim=32)
    rng = np.random.default_rng(0)
    npz.save(str(file), {
        names.of(v): rng.normal(scale=0.3, size=v.shape).astype(np.float32)
        for v in model.weights})
    workdir, out = tmp_path / "run[12]", tmp_path / "exports[1]"
    images = tmp_path / "images[0-9]"
    images.mkdir()
    for i, kind in enumerate(["png", "jpeg", "bmp"]):
        (images / f"{i}.{kind}").write_bytes(samples.encoded(kind, seed=i))
    (images / "3.jpg").write_bytes(b"rubbish")

    run("tools.import_jax", f"--gin_file={gin_file}", f"--npz={file}",
        f"--workdir={workdir}")
    printed = run("tfvit.export", f"--workdir={workdir}", f"--out={out}",
                  "--signatures=serving_default,features,examples",
                  "--max_pixels=1000000", "--call=features")
    assert f"Wrote {out}/1" in printed and "tensorflow/serving" in printed
    record = json.loads((out / "1" / "assets" / "export.json").read_text())
    assert set(record["signatures"]) == {"serving_default", "features",
                                         "examples"}
    assert (record["max_pixels"], record["call"]) == (1_000_000, "features")
    assert record["settings"][0] == {"channels": 3, "upright": True}
    sheet, features = tmp_path / "sheet.png", tmp_path / "features.npy"
    of_run = run("tfvit.predict", images, f"--model={workdir}", "--json",
                 f"--features={features}", f"--sheet={sheet}")
    of_export = run("tfvit.predict", images, f"--model={out}", "--csv")
    rows = [json.loads(line) for line in of_run.splitlines()]
    lines = list(csv.DictReader(of_export.splitlines()))
    for row in rows[:3]:
        same = [line for line in lines if line["file"] == row["file"]]
        assert [line["class"] for line in same] == [
            entry["class"] for entry in row["classes"]]
        np.testing.assert_allclose([float(line["score"]) for line in same],
                                   [entry["score"] for entry in row["classes"]],
                                   atol=1e-5)
    assert "cut short" in rows[3]["error"] and "cut short" in lines[-1]["error"]
    assert np.load(features).shape == (4, 16)
    assert np.asarray(Image.open(sheet).convert("L")).std() > 10

    printed = run("tfvit.export", f"--workdir={workdir}", f"--out={out}",
                  "--format=tflite")
    assert f"Wrote {out}/tflite/1" in printed
    report = json.loads(
        (out / "tflite" / "1" / "export.json").read_text())["tflite"]
    assert report["max_difference"] < 1e-4

    look = tmp_path / "look"
    run("tools.attention", images / "1.jpeg", f"--model={workdir}",
        f"--out={look}")
    for name in "1_1.png", "filters.png", "positions.png":
        assert np.asarray(Image.open(look / name).convert("L")).std() > 10


@pytest.mark.slow
def test_a_lit_becomes_an_export_that_chooses_the_same_words(tmp_path, golden):
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "cat", "dog", "a"]))
    gin_file, file = tmp_path / "lit.gin", tmp_path / "lit.npz"
    gin_file.write_text(lit_gin.LIT + f"""
tokenizers.wordpiece.vocab = '{tmp_path}/vocab.txt'
""")
    npz.save(str(file), {
        name: array for name, array in golden("lit_text_transformer").items()
        if name.startswith("params/")})
    workdir, out = tmp_path / "run?", tmp_path / "*exports"
    image = tmp_path / "image.png"
    image.write_bytes(samples.encoded())
    run("tools.import_jax", f"--gin_file={gin_file}", f"--npz={file}",
        f"--workdir={workdir}")
    assert f"Wrote {out}/1" in run("tfvit.export", f"--workdir={workdir}",
                                   f"--out={out}")
    answers = []
    for model in (workdir, out):
        printed = run("tfvit.predict", image, f"--model={model}", "--json",
                      "--zeroshot=a cat, a dog",
                      f"--features={tmp_path}/features.npy")
        answers.append(json.loads(printed))
    assert np.load(tmp_path / "features.npy").shape == (1, 24)
    scores = [entry["score"] for entry in answers[0]["classes"]]
    assert {entry["class"] for entry in answers[0]["classes"]} == {
        "a cat", "a dog"}
    np.testing.assert_allclose(sum(scores), 1, rtol=1e-5)
    np.testing.assert_allclose(
        scores, [entry["score"] for entry in answers[1]["classes"]], atol=1e-5)


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """(a finished model, a folder with 30 images in each of its 7 classes).

    Sorted, the first 200 files are not of all classes evenly.
    """
    server, images, labels = convert_test.brightness(210)
    root = tmp_path_factory.mktemp("bright")
    for i, (image, label) in enumerate(zip(images, labels)):
        folder = root / f"class {label}"
        folder.mkdir(exist_ok=True)
        pixels = ((image + 1) * 127.5).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return types.SimpleNamespace(
        tokenizer=None, server=lambda **_: server, step=3, config="",
        class_names=samples.NAMES, record=lambda: {}), root


def export_file(model, out, kind, *words, **more):
    """The report of an exported file."""
    with flagsaver.flagsaver():
        flags.FLAGS(["export", f"--out={out}", f"--format={kind}",
                     *(f"--samples={word}" for word in words),
                     *(f"--{k}={v}" for k, v in more.items())])
        export._export_files(model)  # pylint: disable=protected-access
    return json.loads((out / kind / "3" / "export.json").read_text())[kind]


@pytest.mark.parametrize("words", [
    ["{}"], ["{}/*/*.png"], [f"{{}}/class {i}" for i in (6, *range(6))]])
def test_int8_is_made_from_all_classes_and_compared_on_other_images(
        bright, words, tmp_path, caplog):
    model, root = bright
    caplog.set_level("INFO", logger="absl")
    report = export_file(model, tmp_path, "tflite_int8",
                         *(word.format(root) for word in words))
    assert report["images"] == 105 and report["same_class"] > 0.95
    assert report["original_accuracy"] == 1.0 and report["accuracy"] > 0.95
    assert "105 of 210 files, from 7 folders, to compare on" in caplog.text
    assert "105 of 210 files, from 7 folders, to find" in caplog.text


@pytest.mark.slow
def test_a_lit_becomes_two_files_and_a_vocabulary(tmp_path):
    model = browser_test.texts_model()
    (tmp_path / "photos").mkdir()
    for i in range(20):
        (tmp_path / "photos" / f"{i}.png").write_bytes(samples.encoded(seed=i))
    reports = export_file(model, tmp_path, "tflite_int8", tmp_path / "photos")
    folder = tmp_path / "tflite_int8" / "3"
    assert {path.name for path in folder.iterdir()} == {
        "image.tflite", "text.tflite", "vocab.txt", "config.gin", "export.json"}
    assert reports["image"]["inputs"] == 10  # The others gave the ranges.
    assert reports["text"]["least_cosine"] > 0.95
    run = tf.lite.Interpreter(
        str(folder / "text.tflite")).get_signature_runner()
    tokens = model.tokenizer(["a photo of a cat"])
    np.testing.assert_allclose(
        run(tokens=tokens)["embeddings"], model.model.embed_texts(tokens),
        atol=0.1)


@pytest.mark.parametrize("words, message", [
    (["{}/class 0"], "shows one class of 7"),
    (["{}/class 3/*.png"], "shows one class of 7"),
    (["{}/class 1/*1.png"], "of .* files .*there must be 10 of them"),
])
def test_int8_without_the_classes_is_refused_and_not_written(
        bright, words, message, tmp_path):
    model, root = bright
    with pytest.raises(ValueError, match=message):
        export_file(model, tmp_path, "tflite_int8",
                    *(word.format(root) for word in words))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind, message", [
    ("tflite_int8", "only .*% of 105 images get the same class .* less than "
     "90.0%"),
    ("tflite_float16", "differs from the Keras model by"),
    ("tflite", "differs from the Keras model by")])
def test_a_file_that_is_bad_is_not_written(bright, kind, message, tmp_path,
                                           monkeypatch):
    model, root = bright

    def rolled(part, kind, images, *_):
        del kind
        logits = part.call(tf.constant(images))["logits"].numpy()
        return b"a file", np.roll(logits, 1, axis=1)

    monkeypatch.setattr(convert, "_tflite", rolled)
    with pytest.raises(ValueError, match=f"{message}.* Nothing is written. "
                       ".*tflite_float16 .*min_same_class, now 0.9"):
        export_file(model, tmp_path, kind, str(root))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["tflite", "tflite_float16", "onnx"])
def test_other_formats_are_compared_on_all_classes(bright, kind, tmp_path):
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
    model, root = bright
    report = export_file(model, tmp_path, kind, str(root))
    assert report["images"] == 200 and report["same_class"] == 1.0
    # Of 7 classes evenly, all of which the model knows.
    assert report["original_accuracy"] == report["accuracy"] == 1.0

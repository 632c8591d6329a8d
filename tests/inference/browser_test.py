"""What the page of a model is made of."""

import dataclasses
import io
import json
import pathlib

from numpy import testing
import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from tests.serving import samples
from tfvit.data import prompts
from tfvit.data import tokenizers
from tfvit.data.datasets import shapes
from tfvit.inference import browser
from tfvit.inference import finished
from tfvit.inference import presets
from tfvit.serving import convert
from tfvit.serving import page

WORDS = ["[PAD]", "[UNK]", "[CLS]", "a", "cat", "dog", "photo", "of"]
_COMMON = {"name": "toy", "step": 3, "ops": samples.OPS, "config": "",
           "precision": "float32"}


def texts_model(**settings):
    return finished.Trained(
        **_COMMON, model=samples.lit(**settings), class_names=[],
        link="sigmoid" if settings else "softmax",
        tokenizer=tokenizers.wordpiece(vocab=WORDS, max_len=6),
        evaluations=({"prompts": ("a {}", "of {}")},))


def classes_model(name="token", **settings):
    return finished.Trained(**_COMMON, model=samples.model(name, **settings),
                            class_names=samples.NAMES, link="softmax")


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch):
    monkeypatch.setattr(page, "runtime", lambda: {})
    monkeypatch.setattr(page, "fetch", lambda: None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The pages of the two kinds of model."""
    out = tmp_path_factory.mktemp("pages")
    photos = out / "photos"
    photos.mkdir()
    for i in range(3):
        (photos / f"a_cat {i}.png").write_bytes(samples.encoded(seed=i))
    (photos / "broken.png").write_bytes(b"rubbish")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "runtime", lambda: {})
        patch.setattr(page, "fetch", lambda: None)
        found = {}
        for kind, trained in (("texts", texts_model()),
                              ("classes", classes_model())):
            path, info = browser.export(
                trained, str(out / kind), images=[str(photos)],
                precisions=["float32", "int8"])
            assert json.loads(pathlib.Path(path, "demo.json").read_text()) == \
                json.loads(json.dumps(info))
            found[kind] = pathlib.Path(path), info
    return found


def run(file, **inputs):
    return tf.lite.Interpreter(str(file)).get_signature_runner()(**inputs)


@pytest.mark.slow
def test_towers_of_one_example_embed_as_the_model_does(folders):
    path, info = folders["texts"]
    server = texts_model().server()
    images = np.random.default_rng(0).uniform(
        -1, 1, [1, 16, 16, 3]).astype(np.float32)
    tokens = np.array([[2, 3, 4, 0, 0, 0]], np.int32)
    model = texts_model().model
    testing.assert_allclose(
        run(path / "image_float32.tflite", images=images)["embeddings"],
        model.embed_images(images), atol=1e-6)
    testing.assert_allclose(
        run(path / "text_float32.tflite", tokens=tokens)["embeddings"],
        model.embed_texts(tokens), atol=1e-6)
    assert info["temperature"] == pytest.approx(
        float(np.exp(model.t.numpy()[0])), rel=1e-6)
    assert [one["name"] for one in info["precisions"]] == ["float32", "int8"]
    for one in info["precisions"]:
        for part in ("image", "text"):
            assert (path / one[part]["file"]).stat().st_size == one[part]["bytes"]
            assert one[part]["least_cosine"] > 0.95
    assert server.tokenizer.max_len == info["tokenizer"]["max_len"] == 6
    assert (path / "vocab.txt").read_text().split() == WORDS


@pytest.mark.slow
def test_presets_are_embedded_ahead_and_broken_ones_left_out(folders):
    path, info = folders["texts"]
    images = info["presets"]["images"]
    assert [one["text"] for one in images] == ["a cat 0", "a cat 1", "a cat 2"]
    found = np.fromfile(path / "presets.f32", np.float32).reshape(3, -1)
    expected = texts_model().server().embed_images(tf.constant(
        [samples.encoded(seed=i) for i in range(3)]))["embeddings"]
    testing.assert_allclose(found, expected, atol=1e-6)
    assert (path / images[0]["file"]).read_bytes() == samples.encoded(seed=0)
    assert info["texts"] == ["a cat 0", "a cat 1", "a cat 2"]
    assert info["templates"]["own"] == ["a {}", "of {}"]
    assert info["templates"]["clip_paper"] == prompts.clip_paper


@pytest.mark.slow
def test_classes_come_with_where_the_model_looks(folders):
    path, info = folders["classes"]
    server = classes_model().server()
    images = tf.constant([samples.encoded(seed=i) for i in range(3)])
    expected = server.attention(images)["rollout"]
    found = np.fromfile(path / "rollouts.f32", np.float32)
    assert info["presets"]["grid"] == [4, 4]
    testing.assert_allclose(found.reshape(3, 4, 4), expected, atol=1e-6)
    pixels = server.preprocess(images)[0]
    for i in range(3):
        out = run(path / "image_float32.tflite", images=pixels[i:i + 1])
        testing.assert_allclose(out["rollout"], expected[i:i + 1], atol=1e-6)
        testing.assert_allclose(
            out["logits"], server.logits(pixels[i:i + 1])["logits"], atol=1e-5)
    assert info["classes"] == samples.NAMES and "texts" not in info


@pytest.mark.slow
def test_models_without_attention_have_classes_alone(tmp_path):
    path, info = browser.export(classes_model("mixer"), str(tmp_path),
                                precisions=["float32"])
    assert "grid" not in info["presets"]
    assert not pathlib.Path(path, "rollouts.f32").exists()
    out = run(pathlib.Path(path, "image_float32.tflite"),
              images=np.zeros([1, 16, 16, 3], np.float32))
    assert set(out) == {"logits"}


@pytest.mark.slow
def test_large_towers_leave_the_presets_alone(tmp_path, caplog):
    path, info = browser.export(texts_model(bias_init=-2.0), str(tmp_path),
                                precisions=["float32", "int8"],
                                max_image_mb=1e-3)
    names = {file.name for file in pathlib.Path(path).iterdir()}
    assert "text_float32.tflite" in names and info["bias"] == pytest.approx(
        float(samples.lit(bias_init=-2.0).b.numpy()[0]))
    assert "image_float32.tflite" not in names
    assert "image" not in info["precisions"][0]
    assert "--max_image_mb=0.001: the page has the presets" in caplog.text


def test_a_runtime_that_cannot_be_had_is_said_at_once(tmp_path, monkeypatch):

    def fails():
        raise ConnectionError("there is no npm")

    monkeypatch.setattr(page, "fetch", fails)
    monkeypatch.setattr(convert, "convert", None)
    with pytest.raises(ConnectionError, match="there is no npm"):
        browser.export(classes_model(), str(tmp_path), precisions=["float32"])


def test_models_that_the_page_cannot_show_are_refused(tmp_path):
    with pytest.raises(ValueError, match="or of classes; this one gives feat"):
        browser.export(classes_model("headless"), str(tmp_path),
                       precisions=["float32"])
    with pytest.raises(ValueError, match="--texts: this model has classes"):
        browser.export(classes_model(), str(tmp_path), texts=["a"],
                       precisions=["float32"])
    grey = dataclasses.replace(classes_model(), ops=[
        samples.OPS[0], lambda image: image, samples.OPS[2]])
    with pytest.raises(ValueError, match="The page cannot do ops.<lambda>"):
        browser.export(grey, str(tmp_path), precisions=["float32"])
    assert not list(tmp_path.iterdir())


def test_a_precision_that_names_other_classes_is_left_out(
        tmp_path, monkeypatch, caplog):

    def rolled(part, kind, inputs, *_):
        logits = part.call(tf.constant(inputs))["logits"].numpy()
        return b"a file", np.roll(logits, kind == "tflite_int8_weights", axis=1)

    monkeypatch.setattr(convert, "_tflite", rolled)
    _, info = browser.export(classes_model(), str(tmp_path),
                             precisions=["float32", "int8"])
    assert [one["name"] for one in info["precisions"]] == ["float32"]
    assert "int8 is left out: The tflite_int8_weights file is too" in caplog.text


def test_a_cached_page_is_that_of_its_weights_and_settings(monkeypatch,
                                                           tmp_path):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    first = browser.cached(classes_model(), {"images": []})
    assert first == browser.cached(classes_model(), {"images": []})
    assert first.startswith(f"{tmp_path}/demo/toy-")
    other = classes_model()
    other.model.weights[0].assign_add(tf.ones_like(other.model.weights[0]))
    assert len({first, browser.cached(other, {"images": []}),
                browser.cached(classes_model(), {"images": ["x"]}),
                browser.cached(classes_model("gap"), {"images": []})}) == 4


def test_presets_come_from_the_run_or_are_drawn(caplog):
    run_ = ({"ops": []}, {"source": lambda: shapes.captioned(
        split="train", copies=1, size=20)})
    found = presets.find((), run_, (8, 8, 3))
    assert len(found) == 8 and found[0].text == "a red circle at the top"
    assert Image.open(io.BytesIO(found[0].data)).size == (20, 20)

    def fails():
        raise FileNotFoundError("no data here")

    drawn = presets.find((), ({"source": fails},), (30, 24, 3))
    assert "no data here" in caplog.text
    assert Image.open(io.BytesIO(drawn[0].data)).size == (24, 24)
    assert drawn[0].text == "red circle at the top left"
    assert [one.suffix for one in drawn] == ["png"] * 8

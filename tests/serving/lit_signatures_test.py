"""Exported models of images and texts."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import samples
from tfvit.data import tokenizers
from tfvit.serving import lit_signatures as serving
from tfvit.serving import saved

WORDS = ["[PAD]", "[UNK]", "[CLS]", "a", "cat", "dog", "photo", "of"]
TEXTS = ["a photo of a cat", "Dog", ""]


def made(folder, *, bias_init=None):
    """(server, model, tokenizer) with random weights everywhere."""
    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join(WORDS))
    tokenizer = tokenizers.wordpiece(vocab=str(vocab), max_len=6)
    model = samples.lit(bias_init=bias_init)
    return serving.Server(model=model, ops=samples.OPS,
                          tokenizer=tokenizer), model, tokenizer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return made(tmp_path_factory.mktemp("vocab"))


@pytest.fixture(scope="module")
def images():
    return tf.constant([samples.encoded(seed=1), b"rubbish",
                        samples.encoded("JPEG", seed=2)])


def embedded(model, images):
    prepared = []
    for image in (images[0], images[2]):
        for op in samples.OPS:
            image = op(image)
        prepared.append(image)
    return model.embed_images(tf.stack(prepared)).numpy()


@pytest.fixture(scope="module")
def loaded(server, tmp_path_factory):
    """The signatures of a SavedModel, written and read again."""
    out = tmp_path_factory.mktemp("export")
    path = saved.write(
        server[0], out=str(out), step=3, class_names=[], config="",
        model_name="lit", warmup_batches=[2], record={
            "model": "lit", "step": 3, "precision": "float32",
            "link": "softmax", "preprocessing": ["decode"]})
    return path, tf.saved_model.load(path)


def test_a_saved_model_embeds_as_the_model_does(server, images, loaded):
    _, model, tokenizer = server
    signatures = loaded[1].signatures
    found = signatures["embed_images"](image_bytes=images)
    z = found["embeddings"].numpy()
    np.testing.assert_allclose(z[[0, 2]], embedded(model, images), atol=1e-6)
    assert not z[1].any()
    assert [bool(e) for e in found["error"].numpy()] == [False, True, False]
    np.testing.assert_allclose(
        signatures["embed_texts"](texts=tf.constant(TEXTS))["embeddings"],
        model.embed_texts(tokenizer(TEXTS)), atol=1e-6)


def test_zeroshot_gives_the_softmax_over_the_texts(server, images, loaded):
    _, model, tokenizer = server
    signatures = loaded[1].signatures
    found = signatures["zeroshot"](image_bytes=images,
                                   texts=tf.constant(TEXTS))
    texts = model.embed_texts(tokenizer(TEXTS)).numpy()
    logits = model.temperature().numpy() * embedded(model, images) @ texts.T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = found["probabilities"].numpy()
    np.testing.assert_allclose(probabilities[[0, 2]], expected, atol=1e-6)
    assert not probabilities[1].any()
    assert b"cut short" in found["error"][1].numpy()
    again = signatures["zeroshot_embedded"](
        image_bytes=images, text_embeddings=tf.constant(texts))
    np.testing.assert_allclose(again["probabilities"], probabilities, atol=1e-6)


def test_a_model_with_a_bias_judges_each_text_by_itself(tmp_path, images):
    server, model, tokenizer = made(tmp_path, bias_init=-2.0)
    texts = model.embed_texts(tokenizer(TEXTS)).numpy()
    logits = (model.temperature().numpy() * embedded(model, images) @ texts.T +
              model.bias().numpy())
    found = server.zeroshot(images, tf.constant(TEXTS))["probabilities"]
    np.testing.assert_allclose(found.numpy()[[0, 2]],
                               1 / (1 + np.exp(-logits)), atol=1e-6)


def test_the_export_says_what_it_is(loaded):
    path, _ = loaded
    with open(f"{path}/assets/README.md", encoding="utf-8") as f:
        readme = f.read()
    assert "import tensorflow_text" in readme
    with open(f"{path}/assets/export.json", encoding="utf-8") as f:
        signatures = json.load(f)["signatures"]
    assert signatures["zeroshot"]["inputs"] == {
        "image_bytes": "string [B]", "texts": "string [B]"}
    assert signatures["embed_texts"]["outputs"] == {
        "embeddings": "float32 [B, 8]"}
    assert not tf.io.gfile.exists(f"{path}/assets/labels.txt")
    requests = list(tf.data.TFRecordDataset(
        f"{path}/assets.extra/tf_serving_warmup_requests"))
    assert len(requests) == 2

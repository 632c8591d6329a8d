"""Zero-shot classification and retrieval against numpy on the embeddings."""

import numpy as np
import pytest
import tensorflow as tf

from tests import two_towers
from tfvit.data.datasets import captions
from tfvit.data.datasets import sources
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.evaluators import retrieval
from tfvit.evaluators import zeroshot

STRATEGIES = {"one": strategies.one_device, "two": strategies.logical_cpus}
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, [13, 4, 4, 3]).astype(np.uint8)
OPS = [ops.decode, ops.value_range]


def tokenizer(texts):
    """Three tokens from the hash of a text."""
    return tf.stack([tf.cast(tf.strings.to_hash_bucket_strong(
        texts, 50, [i, 7]), tf.int32) for i in range(3)], axis=-1)


@pytest.fixture(scope="module", params=STRATEGIES)
def setup(request):
    """(strategy, model with weights that are always the same)."""
    strategy = STRATEGIES[request.param]()
    with strategy.scope():
        model = two_towers.build()
    random = np.random.default_rng(0)
    for v in model.trainable_variables:
        if len(v.shape) > 1:
            v.assign(random.normal(size=v.shape))
    return strategy, model


def embed(model):
    """(image embeddings, texts -> embeddings), computed one by one."""
    pixels = IMAGES.astype(np.float32) / 127.5 - 1
    images = model.embed_images(tf.constant(pixels)).numpy()
    return images, lambda t: model.embed_texts(tokenizer(tf.constant(t))).numpy()


def zero_shot(setup, labels, names=("ab", "cd", "ef"), **kwargs):
    strategy, model = setup
    return zeroshot.ZeroShot(
        name="test", model=model, strategy=strategy, jit=False, ops=OPS,
        source=lambda: sources.arrays(images=IMAGES, labels=labels,
                                      class_names=names),
        batch_size=4, tokenizer=tokenizer, prompts=("{}", "no {}", "{} x"),
        **kwargs)


def test_classes_are_means_over_prompts_of_length_one(setup):
    labels = RANDOM.integers(0, 3, 13)
    found = zero_shot(setup, labels).run()
    images, texts = embed(setup[1])
    z = np.stack([texts([n, f"no {n}", f"{n} x"]).mean(0)
                  for n in ("ab", "cd", "ef")])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    logits = setup[1].temperature().numpy() * images @ z.T
    assert found["accuracy"] == np.mean(logits.argmax(1) == labels)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(found["loss"],
                               -log_p[np.arange(13), labels].mean(), rtol=1e-5)
    assert found["examples"] == 13


def test_any_of_several_labels_counts(setup):
    images, texts = embed(setup[1])
    plain = zero_shot(setup, np.eye(3)[np.zeros(13, int)]).run()["accuracy"]
    others = zero_shot(setup, 1 - np.eye(3)[np.zeros(13, int)]).run()["accuracy"]
    np.testing.assert_allclose(plain + others, 1)


def test_weights_are_read_anew_in_each_run(setup):
    _, model = setup
    labels = np.arange(13) % 3
    evaluator = zero_shot(setup, labels)
    before = evaluator.run()
    kernels = [(v, v.numpy()) for v in model.txt.trainable_variables]
    for v, value in kernels:
        v.assign(-value[::-1])
    changed = evaluator.run()
    for v, value in kernels:
        v.assign(value)
    assert changed["loss"] != before["loss"]
    assert evaluator.run() == before


@pytest.mark.parametrize("classes", [None, [2, 0]])
def test_each_example_is_judged_as_the_whole_is(setup, classes):
    labels = RANDOM.integers(0, 3, 13)
    evaluator = zero_shot(setup, labels, classes=classes)
    rows, result = evaluator.rows(), evaluator.run()
    names = np.array(evaluator.class_names)
    assert [*names] == [["ab", "cd", "ef"][i] for i in classes or range(3)]
    assert [*names[rows["label"]]] == [
        ["ab", "cd", "ef"][labels[i]] for i in rows["number"]]
    assert rows["accuracy"].mean() == result["accuracy"]
    np.testing.assert_allclose(rows["loss"].mean(), result["loss"], rtol=1e-5)
    assert evaluator.measure(rows) == pytest.approx(result)


def test_names_come_from_a_file(setup, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("ab, alphabet\nn01440764 cd\nEF\n")
    labels = np.arange(13) % 3
    found = zero_shot(setup, labels, names=("x", "y", "z"),
                      class_names_file=str(path)).run()
    assert found == zero_shot(setup, labels).run()
    path.write_text("ab\n")
    with pytest.raises(ValueError, match="has 1 names for 3 classes"):
        zero_shot(setup, labels, class_names_file=str(path))


def test_lists_of_prompts_have_names(setup):
    labels = np.arange(13) % 3
    with pytest.raises(ValueError, match="'clip' is none of .*clip_best"):
        zeroshot.ZeroShot(
            name="test", model=setup[1], strategy=setup[0], jit=False, ops=OPS,
            source=lambda: sources.arrays(images=IMAGES, labels=labels,
                                          class_names=("a", "b", "c")),
            batch_size=4, tokenizer=tokenizer, prompts="clip")


CAPTIONS = [[f"{i} {j}" for j in range(1 + i % 3)] for i in range(13)]


def recall(images, texts, k):
    """Both recalls by sorting, for captions that belong in order."""
    owner = np.repeat(np.arange(len(CAPTIONS)), [len(c) for c in CAPTIONS])
    near = images @ texts.T
    top_texts = owner[np.argsort(-near, axis=1)[:, :k]]
    top_images = np.argsort(-near.T, axis=1)[:, :k]
    return (np.mean((top_texts == np.arange(13)[:, None]).any(1)),
            np.mean((top_images == owner[:, None]).any(1)))


@pytest.mark.parametrize("batch_size", [4, 32])
def test_recall_is_that_of_sorting_everything(setup, batch_size):
    strategy, model = setup
    evaluator = retrieval.Retrieval(
        name="test", model=model, strategy=strategy, jit=False, ops=OPS,
        source=lambda: captions.arrays(images=IMAGES, captions=CAPTIONS),
        batch_size=batch_size, tokenizer=tokenizer, ks=(1, 3, 10))
    found = evaluator.run()
    images, texts = embed(model)
    flat = texts(sum(CAPTIONS, []))
    for k in (1, 3, 10):
        wanted = recall(images, flat, k)
        assert (found[f"img2txt_recall@{k}"],
                found[f"txt2img_recall@{k}"]) == wanted
    assert found["examples"] == 13 and found["captions"] == len(flat) == 25


def test_ties_count_against_the_model():
    same = np.ones([5, 2])
    ids = np.arange(5)
    np.testing.assert_array_equal(
        retrieval.best_ranks(same, same, ids, ids), [4] * 5)


def test_blocks_do_not_change_ranks(monkeypatch):
    queries, keys = RANDOM.normal(size=[2, 11, 3])
    ids = np.arange(11) // 2
    whole = retrieval.best_ranks(queries, keys, ids, ids)
    monkeypatch.setattr(retrieval, "_BLOCK", 4)
    np.testing.assert_array_equal(
        retrieval.best_ranks(queries, keys, ids, ids), whole)


def test_retrieval_needs_captions(setup):
    with pytest.raises(ValueError, match="captions, not of 3 classes"):
        retrieval.Retrieval(
            name="test", model=setup[1], strategy=setup[0], jit=False, ops=OPS,
            source=lambda: sources.arrays(images=IMAGES, labels=np.zeros(13),
                                          class_names=("a", "b", "c")),
            batch_size=4, tokenizer=tokenizer)

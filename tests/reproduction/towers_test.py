"""Rows of images and texts, measured whole: a planted LiT, TFDS's folders."""

import functools
import json

import numpy as np
import pytest
from sklearn import metrics
import tensorflow as tf

from tests.data.datasets import fake_tfds
from tfvit.models import bert
from tfvit.models import lit
from tfvit.models import vit
from tfvit.reproduction import ledger
from tfvit.reproduction import measure
from tfvit.reproduction import run
from tfvit.weights import load

NUMBERS = 100
COUNT = 20  # Images of COCO, with five numbers each.
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", *map(str, range(NUMBERS))]
IMAGE = {"width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16}
TEXT = {"depth": 1, "num_heads": 12, "mlp_dim": 16}  # Of BERT base's width.
OUT_DIM = (None, 16)
BINDINGS = [
    *(f"vit.vit.{name} = {value}" for name, value in IMAGE.items()),
    *(f"bert.bert.{name} = {value}" for name, value in TEXT.items()),
    f"lit.lit.out_dim = {OUT_DIM}", "retrieval.Retrieval.batch_size = 4",
    "zeroshot.ZeroShot.batch_size = 8",
    "zeroshot.ZeroShot.prompts = 'class_name_only'"]


@pytest.fixture
def model(tmp_path, monkeypatch):
    """In the cache as lit/LiT-B16B_2; what it embeds depends on every input."""
    found = lit.lit(
        image=functools.partial(vit.vit, image_size=32, patch_size=16, **IMAGE),
        text=functools.partial(bert.bert, vocab_size=len(VOCABULARY), width=768,
                               **TEXT), out_dim=OUT_DIM)
    random = np.random.RandomState(0)
    for variable in found.weights:
        scale = 0.1 if variable.shape.rank == 1 else 0.3
        variable.assign(variable + scale * random.randn(*variable.shape))
    folder = tmp_path / "cache/vit_models/lit"
    folder.mkdir(parents=True)
    load.to_npz(found, str(folder / "LiT-B16B_2.npz"))
    (folder / "LiT-B16B_2.txt").write_text("\n".join(VOCABULARY) + "\n")
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    return found


def images(model, pixels):
    """Embeddings of images of 32 px: uint8 [B, 32, 32, 3]."""
    return model.embed_images(-1 + 2 * tf.cast(pixels, tf.float32) / 255,
                              training=False).numpy()


def texts(model, numbers):
    """Embeddings of numbers as texts."""
    tokens = np.zeros([len(numbers), 16], np.int32)
    tokens[:, 0], tokens[:, 1] = 2, 3 + np.array(numbers)
    return model.embed_texts(tokens, training=False).numpy()


def blocks(count):
    """Images of 32 px of four colours each, uint8."""
    small = np.random.RandomState(0).randint(0, 256, [count, 2, 2, 3])
    return small.repeat(16, axis=1).repeat(16, axis=2).astype(np.uint8)


def measured(tmp_path, *names):
    """{id: record} of rows of tfvit's own ledger."""
    rows = [row for row in ledger.rows() if row.id in names]
    run.go(rows, rows, str(tmp_path / "out"), {
        "data_dir": str(tmp_path), "bindings": BINDINGS}, evaluate=measure.here)
    with open(tmp_path / "out/reproduce.jsonl", encoding="utf-8") as f:
        return {record["id"]: record for record in map(json.loads, f)}


@pytest.mark.slow
def test_recall_is_that_of_sorting_the_towers_outputs(model, tmp_path):
    files, seen = [], []
    for i, pixels in enumerate(blocks(COUNT)):
        files.append(str(tmp_path / f"{i}.jpg"))
        tf.io.write_file(files[-1], tf.io.encode_jpeg(pixels))
        seen.append(tf.io.decode_jpeg(tf.io.read_file(files[-1])).numpy())
    z, every, numbers = images(model, np.stack(seen)), texts(
        model, range(5 * COUNT)), []
    for image in z:  # The five nearest that are left: some are right.
        numbers += [number for number in np.argsort(-every @ image)
                    if number not in numbers][:5]
    numbers = np.array(numbers)
    own = np.arange(5 * COUNT) // 5
    fake_tfds.write("coco_captions", tmp_path, {"test": [
        {"image": file, "image/filename": f"{i}.jpg", "image/id": i,
         "captions": [{"id": int(number), "text": str(number)}
                      for number in numbers[own == i]], "objects": []}
        for i, file in enumerate(files)]})
    near = z @ every[numbers].T
    found = measured(tmp_path, "lit-b16b_2-coco-img2txt",
                     "lit-b16b_2-coco-txt2img")
    img2txt = metrics.accuracy_score(range(COUNT), own[near.argmax(axis=1)])
    txt2img = metrics.accuracy_score(own, near.argmax(axis=0))
    for name, value, count in (("img2txt", img2txt, COUNT),
                               ("txt2img", txt2img, len(own))):
        record = found[f"lit-b16b_2-coco-{name}"]
        assert record["measured"] == pytest.approx(value)
        assert record["examples"] == count
        assert record["why"] == ("The split has 20 examples, that of the "
                                 "number 5,000.")


@pytest.mark.slow
def test_zero_shot_is_the_nearest_name(model, tmp_path):
    pixels = blocks(12)
    seen = (images(model, pixels) @ texts(model, range(NUMBERS)).T).argmax(1)
    labels = np.where(np.arange(12) % 4, seen, (seen + 1) % NUMBERS)  # 9 right.
    fake_tfds.write("cifar100", tmp_path, {"test": [
        {"id": str(i), "image": image, "label": int(label), "coarse_label": 0}
        for i, (image, label) in enumerate(zip(pixels, labels))]},
                    label=list(map(str, range(NUMBERS))),
                    coarse_label=list(map(str, range(20))))
    record = measured(tmp_path, "lit-b16b_2-cifar100")["lit-b16b_2-cifar100"]
    assert record["measured"] == metrics.accuracy_score(labels, seen) == 0.75
    assert record["examples"] == 12

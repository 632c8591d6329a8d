"""The Python on README and tools/docs/python.md runs, and gives what it says.

As it stands there, but for names of published files and /data, in whose place
are small ones, and for how long it trains.
"""

import ast
import os
import pathlib

import numpy as np
import pandas as pd
from PIL import Image
import pytest
import tf_keras

from tests import docs_test
from tests.finetuning import photos
from tests.serving import lit_signatures_test
from tests.serving import samples
import tfvit
from tfvit import config
from tfvit.api import models
from tfvit.inference import finished
from tfvit.weights import load as load_lib
from tfvit.weights import sidecar

CLASSES = ["tabby", "tench", "lion"]
SHORT = """model="tiny", weights="none", image_size=16, bindings=[
    "experiment.Experiment.total_steps = 4",
    "experiment.Experiment.eval_every = 4",
    "experiment.Experiment.log_every = 2",
    "experiment.Experiment.checkpoint_every = 2",
    "experiment.Experiment.batch_size = 8",
    "schedules.cosine.warmup_steps = 1"]"""
INSTEAD = {
    'model="B_16", epochs=20': SHORT,
    '"/data/flowers"': '"flowers"',
    '"b16", num_classes=5, image_size=384, weights="augreg"':
        '"tiny", num_classes=5, image_size=32, weights="toy.npz"',
    # What is said of it is tested by running its own steps.
    '"gin/b16_cifar10.gin"': '"gin/digits.gin"',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader is: photos, flowers, and toys for published files."""
    found = tmp_path_factory.mktemp("reader")
    photos.draw(found / "flowers", 8)
    for name in ("photo", "a", "b"):
        Image.fromarray(samples.pixels()).save(found / f"{name}.jpg")
    # As gin/models/tiny.gin has it, but of no width that is published: the
    # file beside the weights says what it is.
    settings = {"width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 32,
                "patch_size": 8, "num_classes": 3, "image_size": 32}
    toy = tfvit.build("tiny", num_classes=3, image_size=32)
    rng = np.random.default_rng(0)
    toy.set_weights([rng.normal(0, 0.3, w.shape) for w in toy.get_weights()])
    path = str(found / "toy.npz")
    load_lib.to_npz(toy, path)
    sidecar.write(path, {"class_names": CLASSES, "architecture": {
        f"vit.vit.{name}": value for name, value in settings.items()}})
    return found


@pytest.fixture
def stand_in(folder, monkeypatch):
    """Published files are toys, and the reader is in `folder`."""
    real = models.load
    _, keras, tokenizer = lit_signatures_test.made(folder)

    def load(name, **options):
        if name == "lit/LiT-B16B":
            return models.Model(finished.Trained(
                name="lit", model=keras, step=1, ops=samples.OPS,
                class_names=[], link="softmax", config="",
                precision="float32", tokenizer=tokenizer), {})
        return real("toy.npz" if name in tfvit.list_checkpoints() else name,
                    **options)

    monkeypatch.setattr(models, "load", load)
    monkeypatch.chdir(folder)


def play(page, known):
    """Runs the Python of a page: {line without comment: its value}, names."""
    values, names = {}, dict(known)
    for block in docs_test.PYTHON.findall(page.read_text()):
        for theirs, ours in INSTEAD.items():
            block = block.replace(theirs, ours)
        for node in ast.parse(block).body:
            line = ast.unparse(node)
            if isinstance(node, ast.Expr):
                values[line] = eval(line, names)  # pylint: disable=eval-used
            else:
                exec(line, names)  # pylint: disable=exec-used
    return values, names


@pytest.mark.slow
def test_readme_does_what_it_says(stand_in, folder):
    values, names = play(docs_test.ROOT / "README.md",
                         {"pixels": samples.pixels()})
    answers = values["model.predict(['photo.jpg', pixels], top_k=3)"]
    assert [len(answer) for answer in answers] == [3, 3]
    assert {name for name, _ in answers[0]} == set(CLASSES)
    logits = values["model.keras(model.preprocess('photo.jpg'))"]
    assert logits.shape == (1, 3)
    best = CLASSES[int(np.argmax(logits))]
    assert answers[0][0][0] == best
    (history, evaluated, exported), = (
        value for line, value in values.items() if "run.history" in line)
    assert pd.DataFrame(history).set_index("step").index.tolist() == [2, 4]
    assert 0 <= evaluated["val"]["accuracy"] <= 1
    assert os.path.exists(os.path.join(exported, "saved_model.pb"))
    assert pathlib.Path(exported).parent == pathlib.Path("exports/flowers")
    assert isinstance(names["keras"], tf_keras.Model)
    assert names["keras"].output_shape == (None, 5)
    assert not config.text().strip()


@pytest.mark.slow
def test_the_page_on_python_does_what_it_says(stand_in, folder):
    values, names = play(docs_test.ROOT / "tools/docs/python.md", {})
    assert values["tfvit.list_models('r*')"][:2] == ["r26_b32", "r26_s32"]
    ((name, probability), *_), = values["model.predict('photo.jpg', top_k=3)"]
    assert name in CLASSES and 0 < probability <= 1
    assert values["model.features(['a.jpg', 'b.jpg'])"].shape == (2, 16)
    assert set(values["model.attention('photo.jpg')"]) == {
        "attention", "rollout"}
    images = values["model.preprocess('photo.jpg')"]
    assert images.shape == (1, 32, 32, 3) and images.dtype == np.float32
    assert -1 <= images.min() < images.max() <= 1
    assert os.path.isdir(values["model.export('exports/b16')"])
    class_names, card = values["(model.class_names, model.card)"]
    assert class_names == CLASSES and card["input_size"] == (32, 32)
    shown = next(value for line, value in values.items() if "zeroshot" in line)
    np.testing.assert_allclose(shown.sum(-1), [1, 1], rtol=1e-5)
    cosine = next(value for line, value in values.items() if ".T" in line)
    assert cosine.shape == (1, 1) and abs(cosine) <= 1.00001
    assert values["recipe.batch()['images']"].shape == (8, 16, 16, 3)
    assert values["recipe.cost()"]["parameters"] > 0
    assert [row["step"] for row in values["run.history"]] == [2, 4]
    assert "accuracy" in values["run.evaluate('best')"]["val"]
    (answer,) = values["run.model('best').predict('photo.jpg')"]
    assert {name for name, _ in answer} == set(photos.CLASSES)
    assert values["tfvit.Run('runs/flowers').metrics"] == names["run"].metrics
    assert names["keras"].output_shape == (None, 5)
    assert names["run"].workdir == os.path.join("runs", "flowers")

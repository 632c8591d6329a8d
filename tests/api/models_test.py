"""Models from Python: found, built, loaded, used; no two disturb each other."""

import concurrent.futures
import io
import os
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from tests.serving import lit_signatures_test
from tests.serving import samples
import tfvit
from tfvit import config
from tfvit.api import models
from tfvit.inference import finished
from tfvit.weights import load as load_lib


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of two .npz files: 3 classes at 32 pixels, 5 at 16."""
    found = []
    for classes, size in ((3, 32), (5, 16)):
        model = tfvit.build("tiny", num_classes=classes, image_size=size)
        rng = np.random.default_rng(size)
        for variable in model.variables:
            variable.assign(rng.normal(0, 0.3, variable.shape))
        found.append(str(tmp_path_factory.mktemp("npz") / f"m{classes}.npz"))
        load_lib.to_npz(model, found[-1])
    return found


@pytest.fixture(scope="module")
def loaded(files):
    # vit/tiny is of no published width: the binding says what it is.
    return [_load(file, classes, size)
            for file, classes, size in zip(files, (3, 5), (32, 16))]


def _load(file, classes, size):
    own = {}
    with config.isolated(own):
        config.parse(["gin/models/tiny.gin", "gin/recipes/published.gin"], [
            f"NUM_CLASSES = {classes}", f"IMAGE_SIZE = {size}",
            f"load.from_npz.path = {file!r}"])
        from tfvit import experiment
        from tfvit.data.images import ops
        exp = config.make(experiment.Experiment)
        model = exp.model()
        exp.init(model)
        evaluator = [ops.decode, lambda image: ops.resize(image, size=size),
                     ops.value_range]
        return models.Model(finished.Trained(
            name="tiny", model=model, step=0, ops=evaluator,
            class_names=[f"c{i}" for i in range(classes)], link="softmax",
            config=config.text(), precision="float32"), own)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, [3, 20, 24, 3], np.uint8)


def test_names_that_are_listed_can_be_built_and_loaded():
    assert "b16" in tfvit.list_models() and not [
        name for name in tfvit.list_models() if name.startswith("lit")]
    assert tfvit.list_models("r*") == [
        "r26_b32", "r26_s32", "r50_b16", "r50_l32", "r_ti16"]
    assert "augreg/R26_S_32" in tfvit.list_checkpoints("augreg/*")


def test_every_form_of_an_image_gives_the_same(loaded, pixels, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(pixels[0]).save(path)
    forms = [path, str(path), path.read_bytes(), Image.open(path), pixels[0]]
    expected = loaded[0].predict(pixels[0])
    for form in forms:
        assert loaded[0].predict(form) == expected
    every = loaded[0].predict(pixels)
    assert len(every) == 3 and len(every[1]) == 3
    for found in (*loaded[0].predict(forms), every[0]):  # In batches.
        assert [name for name, _ in found] == [name for name, _ in expected[0]]
        np.testing.assert_allclose([score for _, score in found],
                                   [score for _, score in expected[0]],
                                   rtol=1e-6)
    assert len(loaded[0].predict(pixels, top_k=1)[2]) == 1


def test_what_preprocess_makes_is_what_keras_takes(loaded, pixels):
    """Judge: Pillow's decoder, and softmax by hand."""
    model = loaded[0]
    file = io.BytesIO()
    Image.fromarray(pixels[0]).resize((32, 32)).save(file, "PNG")
    images = model.preprocess(file.getvalue())
    file.seek(0)
    np.testing.assert_allclose(
        images[0], np.asarray(Image.open(file), np.float32) / 127.5 - 1,
        atol=1e-6)
    logits = np.asarray(model.keras(images), np.float64)[0]
    odds = np.exp(logits - logits.max())
    scores = dict(model.predict(file.getvalue())[0])
    for name, odd in zip(model.class_names, odds):
        np.testing.assert_allclose(scores[name], odd / odds.sum(), rtol=1e-5)


def test_features_and_attention(loaded, pixels):
    assert loaded[0].features(pixels).shape == (3, 16)
    maps = loaded[0].attention(pixels)
    assert maps["attention"].shape == (3, 2, 2, 4, 4)
    np.testing.assert_array_less(0, maps["rollout"] + 1e-9)


def test_what_cannot_be_read_is_named(loaded, pixels, tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="b.jpg: Not an image"):
        loaded[0].predict([pixels[0], tmp_path / "b.jpg"])
    with pytest.raises(ValueError, match="image 0 is an array float32"):
        loaded[0].predict(pixels.astype(np.float32))
    with pytest.raises(ValueError, match="no images"):
        loaded[0].predict([])
    assert len(loaded[0].predict(pixels, top_k=None)[0]) == 3
    for top_k in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=f"top_k={top_k} must be"):
            loaded[0].predict(pixels, top_k=top_k)
    with pytest.raises(ValueError, match="tiny knows no texts"):
        loaded[0].zeroshot(pixels, ["a"])


@pytest.mark.parametrize("call, said", [
    (lambda: tfvit.build("b17", num_classes=2), "name='b17' is no model"),
    (lambda: tfvit.build("tiny", num_classes=2, image_size=16, depht=1),
     "unexpected keyword argument 'depht'"),
    (lambda: tfvit.build("h14", num_classes=2, weights="augreg"),
     "there is one in imagenet21k"),
    (lambda: tfvit.build("tiny", num_classes=2, image_size=16.5),
     "vit.image_size=16.5 must be a whole number .* a pair of them.$"),
    *((lambda wrong=wrong: tfvit.build("tiny", num_classes=wrong),
       "num_classes=.* must be a whole number of at least 1")
      for wrong in (0, -1, 2.5, "x", True)),
    (lambda: tfvit.build("tiny", num_classes=2, weights="augreg"),
     "weights='augreg' has no tiny; there are no published weights"),
    (lambda: tfvit.load("nowhere"), "There is no file nowhere"),
])
def test_mistakes_are_said(call, said):
    with pytest.raises((ValueError, OSError), match=said):
        call()


@pytest.mark.parametrize("call, said", [
    (lambda: tfvit.build(3, num_classes=2), "name=3 must be a path or a name"),
    (lambda: tfvit.load(None), "name=None must be a path or a name"),
    (lambda: tfvit.load("x", labels=["a"]), r"labels=\['a'\] must be a path"),
    (lambda: tfvit.load("x", bindings=3), "bindings=3 must be a text or a"),
])
def test_arguments_of_other_kinds_are_named(call, said):
    with pytest.raises(TypeError, match=said):
        call()


def test_numbers_may_be_numpys():
    model = tfvit.build("tiny", num_classes=np.int64(2),
                        image_size=[np.int32(16), 32])
    assert model.output_shape == (None, 2)
    assert model.input_shape == (None, 16, 32, 3)


def test_build_starts_from_weights(files):
    model = tfvit.build("tiny", num_classes=7, image_size=64, weights=files[0])
    same = tfvit.build("tiny", num_classes=3, image_size=32, weights=files[0],
                       reset_head=False)
    assert not np.any(model.get_layer("head").kernel)
    with np.load(files[0]) as arrays:
        np.testing.assert_array_equal(model.get_layer("embedding").kernel,
                                      arrays["embedding/kernel"])
        np.testing.assert_array_equal(same.get_layer("head").kernel,
                                      arrays["head/kernel"])


def test_two_models_in_two_threads_do_not_know_of_each_other(files, pixels):
    def answers(which):
        model = _load(files[which], (3, 5)[which], (32, 16)[which])
        return [model.predict(pixels) for _ in range(3)]

    alone = [answers(0), answers(1)]
    with concurrent.futures.ThreadPoolExecutor() as threads:
        together = list(threads.map(answers, [0, 1]))
    for one, other in zip(alone, together):
        for before, after in zip(one, other):
            for image, again in zip(before, after):
                assert [name for name, _ in image] == [
                    name for name, _ in again]
                np.testing.assert_allclose([score for _, score in image],
                                           [score for _, score in again],
                                           rtol=1e-6)
    assert not config.text().strip()  # Nothing is left behind.


def test_a_lit_finds_the_text_that_goes_with_an_image(tmp_path):
    _, keras, tokenizer = lit_signatures_test.made(tmp_path)
    model = models.Model(finished.Trained(
        name="lit", model=keras, step=1, ops=samples.OPS, class_names=[],
        link="softmax", config="", precision="float32",
        tokenizer=tokenizer), {})
    image, texts = samples.encoded(seed=1), ["cat", "dog"]
    found = model.zeroshot(image, texts, prompts=["a photo of a {}"])
    z_img = model.features(image)
    z_txt = model.embed_texts([f"a photo of a {text}" for text in texts])
    odds = np.exp(float(keras.temperature()) * (z_img @ z_txt.T))
    np.testing.assert_allclose(found, odds / odds.sum(-1, keepdims=True),
                               rtol=1e-4)
    with pytest.raises(ValueError, match="has no classes of its own"):
        model.predict(image)
    np.testing.assert_array_equal(model.embed_texts("cat"),
                                  model.embed_texts(["cat"]))
    assert model.zeroshot(image, "cat").tolist() == [[1]]
    for call, said in (
            (lambda: model.zeroshot(image, []), "texts=.* at least 1"),
            (lambda: model.zeroshot(image, ["a"], prompts=["no place"]),
             "'no place' must have one"),
            (lambda: model.zeroshot(image, ["a"], prompts=[]),
             "at least one prompt")):
        with pytest.raises(ValueError, match=said):
            call()


@pytest.mark.slow
def test_nothing_is_imported_before_it_is_used(tmp_path):
    code = ("import sys, tfvit; assert 'tensorflow' not in sys.modules; "
            "print(sorted(set(tfvit.__all__) - set(dir(tfvit))));"
            "print(tfvit.build('tiny', num_classes=2, image_size=16)"
            ".output_shape)")
    root = os.path.dirname(os.path.dirname(os.path.abspath(tfvit.__file__)))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": root}, text=True,
                          capture_output=True, check=True)
    assert done.stdout.splitlines() == ["[]", "(None, 2)"]

"""Tests of applying runs, exports and published files to images."""

from absl import flags
from numpy import testing
import numpy as np
import pytest

from tests import lit_gin
from tests.serving import samples
from tfvit.inference import finished
from tfvit.inference import image_files
from tfvit.models import vit
from tfvit.serving import saved
from tfvit.weights import names
from tfvit.weights import npz
from tfvit.weights import published


@pytest.fixture(autouse=True)
def parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """b.png, a/c.JPG, and what is no image."""
    root = tmp_path_factory.mktemp("images")
    (root / "a").mkdir()
    (root / "b.png").write_bytes(samples.encoded())
    (root / "a" / "c.JPG").write_bytes(samples.encoded("JPEG", seed=1))
    (root / "notes.txt").write_text("no image")
    (root / "z.jpg").write_bytes(b"rubbish")
    return root


def test_files_folders_and_patterns_are_found_once(folder):
    files = [str(folder / name) for name in ("a/c.JPG", "b.png", "z.jpg")]
    assert image_files.find([str(folder)]) == files
    assert image_files.find([f"{folder}/**/*.JPG", files[1]]) == files[:2]
    assert image_files.find([files[1], str(folder)]) == [
        files[1], files[0], files[2]]
    assert image_files.find([f"{folder}/notes.txt"]) == [f"{folder}/notes.txt"]


@pytest.mark.parametrize("name", ["a[12].png", "a?.png", "*.png"])
def test_a_file_or_folder_called_like_a_pattern_is_itself(tmp_path, name):
    for folder in (tmp_path, tmp_path / "b[1]", tmp_path / "b1"):
        folder.mkdir(exist_ok=True)
        for file in (name, "a1.png"):
            (folder / file).write_bytes(b"")
    one = str(tmp_path / "b[1]" / name)
    assert image_files.find([one]) == [one]
    inside = sorted([one, str(tmp_path / "b[1]/a1.png")])
    assert image_files.find([str(tmp_path / "b[1]")]) == inside
    assert image_files.find([f"{tmp_path}/b[1]/*.png"][:1]) == (
        [f"{tmp_path}/b[1]/*.png"] if name == "*.png" else inside)


@pytest.mark.parametrize("word", ["nothing.jpg", "*.nothing"])
def test_a_name_of_nothing_is_an_error(folder, word):
    with pytest.raises(FileNotFoundError, match="no pattern of images"):
        image_files.find([str(folder / word)])


def test_every_file_has_its_row_whatever_the_batches(folder):
    function = samples.server().signatures()["serving_default"]
    files = image_files.find([str(folder)]) + ["/no/such/file"]
    rows = dict(image_files.run(function, files, batch_size=3))
    assert list(rows) == files
    assert [bool(row["error"]) for row in rows.values()] == [
        False, False, True, True]
    assert "Cannot be read" in rows["/no/such/file"]["error"]
    alone = dict(image_files.run(function, files, batch_size=1))
    for file in files[:2]:
        testing.assert_allclose(rows[file]["probabilities"],
                                alone[file]["probabilities"], atol=1e-6)
        best = rows[file]["probabilities"].argmax()
        assert image_files.top(rows[file])[0][:2] == (best, f"class {best}")


def test_broken_files_have_embeddings_of_nan(folder):
    function = samples.server().signatures()["features"]
    rows = [row for _, row in image_files.run(
        function, image_files.find([str(folder)]), batch_size=2)]
    features = image_files.stacked(rows, "features")
    assert features.shape == (3, 8)
    testing.assert_array_equal(np.isnan(features).all(axis=1),
                               [False, False, True])


def test_the_newest_version_of_an_export_is_used(tmp_path, folder):
    server = samples.server()
    for step in 9, 10:
        saved.write(server, out=str(tmp_path), step=step, config="",
                    class_names=samples.NAMES, model_name="toy",
                    record={"model": "toy", "step": step, "link": "softmax",
                            "precision": "float32", "preprocessing": []},
                    warmup_batches=[])
    (tmp_path / "9" / "saved_model.pb").unlink()
    function = finished.signatures(str(tmp_path))["serving_default"]
    expected = server.signatures()["serving_default"]
    for name in ["b.png"]:
        got, want = (list(image_files.run(f, [str(folder / name)], batch_size=1))
                     for f in (function, expected))
        testing.assert_allclose(got[0][1]["probabilities"],
                                want[0][1]["probabilities"], atol=1e-6)


def test_a_published_file_is_loaded_head_included(tmp_path, monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    made = vit.vit(num_classes=1000, image_size=32, patch_size=16, width=192,
                   depth=12, num_heads=3, mlp_dim=768)
    rng = np.random.default_rng(0)
    path = tmp_path / "vit_models" / "augreg" / "Ti_16-x.npz"
    path.parent.mkdir(parents=True)
    npz.save(str(path), {
        names.of(v): rng.normal(scale=0.05, size=v.shape).astype(np.float32)
        for v in made.weights})
    trained = finished.load("augreg/Ti_16-x")
    assert trained.model.input_shape == (None, 32, 32, 3)
    assert trained.class_names[0] == "n01440764 tench, Tinca tinca"
    assert trained.class_names[999].startswith("n15075141 toilet tissue")
    assert (trained.step, trained.link) == (0, "softmax")
    assert trained.record()["preprocessing"] == [
        "decode", "resize", "value_range"]
    head = dict(npz.load(str(path)))["head/bias"]
    testing.assert_array_equal(trained.model.get_layer("head").bias, head)
    testing.assert_array_equal(
        finished.load("augreg/Ti_16-x", labels="imagenet2012").class_names,
        trained.class_names)
    with pytest.raises(ValueError, match="21843 classes, the model has 1000"):
        finished.load("augreg/Ti_16-x", labels="imagenet21k")


@pytest.fixture
def trained_lit(tmp_path, golden, monkeypatch):
    """inference.load of the LiT of the golden file."""
    words = ["[PAD]", "[UNK]", "[CLS]", "cat", "dog", "a", "photo", "of", "the"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    npz.save(str(tmp_path / "lit.npz"), {
        name: array for name, array in golden("lit_text_transformer").items()
        if name.startswith("params/")})
    (tmp_path / "lit.gin").write_text(lit_gin.LIT)
    monkeypatch.setattr(published, "gin_of", lambda path, _=(): (
        [str(tmp_path / "lit.gin")],
        [f"load.from_npz.path = {path!r}",
         f"tokenizers.wordpiece.vocab = '{tmp_path}/vocab.txt'"]))
    return finished.load(str(tmp_path / "lit.npz"))


def test_a_lit_chooses_among_names_by_the_mean_of_their_prompts(
        trained_lit, folder, golden):
    model, tokenizer = trained_lit.model, trained_lit.tokenizer
    assert trained_lit.record()["preprocessing"] == [
        "decode", "resize", "to_uint8", "value_range"]
    testing.assert_allclose(
        model.embed_images(golden("lit_text_transformer")["images"]),
        golden("lit_text_transformer")["zimg"], atol=2e-6)
    functions = trained_lit.server().signatures()
    templates = ["{}", "a photo of the {}."]
    function = finished.zeroshot(functions, ["cat", "Dog"], prompts=templates)
    files = image_files.find([str(folder)])
    rows = [row for _, row in image_files.run(function, files, batch_size=2)]
    z = model.embed_texts(tokenizer(
        ["cat", "a photo of the cat", "dog", "a photo of the dog"])).numpy()
    z = z.reshape(2, 2, -1).mean(axis=1)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    image = trained_lit.server().embed_images(
        [samples.encoded()])["embeddings"].numpy()
    logits = model.temperature().numpy() * image @ z.T
    expected = np.exp(logits) / np.exp(logits).sum()
    testing.assert_allclose(rows[1]["probabilities"], expected[0], atol=1e-5)
    best = expected[0].argmax()
    assert image_files.top(rows[1])[0][:2] == (best, ["cat", "Dog"][best])
    assert rows[2]["error"]


def test_a_classifier_cannot_choose_among_new_names():
    with pytest.raises(ValueError, match="needs a LiT"):
        finished.zeroshot(samples.server().signatures(), ["cat"],
                           prompts=["{}"])

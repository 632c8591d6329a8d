"""What a file's arrays do not tell: its images' shape, or another patch."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import samples
from tfvit import config
from tfvit.inference import finished
from tfvit.models import mixer
from tfvit.models import vit
from tfvit.weights import adapt
from tfvit.weights import load
from tfvit.weights import npz
from tfvit.weights import published

SHORT = "vit.vit.depth = 1"


def ti16(**changes):
    """gin/models/ti16.gin with one block, and random weights everywhere."""
    model = vit.vit(**{"num_classes": 5, "image_size": 32, "patch_size": 16,
                       "width": 192, "depth": 1, "num_heads": 3,
                       "mlp_dim": 768, **changes})
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(scale=0.1, size=variable.shape))
    return model


def assert_same(model, loaded):
    images = tf.random.stateless_uniform([2, *model.input_shape[1:]], [0, 0],
                                         -1.0, 1.0)
    logits = model(images).numpy()
    assert logits.std() > 0.01
    np.testing.assert_allclose(loaded(images).numpy(), logits, atol=1e-5)


@pytest.mark.parametrize("settings", [
    {"image_size": (64, 16)},  # 4 x 1 patches, which a square of 2 x 2 is not.
    {"image_size": (32, 80), "classifier": "gap"},
    {"image_size": (48, 16), "classifier": "gap", "posemb": "sincos2d"},
])
def test_a_file_is_loaded_by_name_with_the_shape_of_its_images(
        settings, path):
    model = ti16(**settings)
    load.to_npz(model, path)
    assert_same(model, finished.load(path, overrides=((), [SHORT])).model)
    # Others read it as before.
    with np.load(path) as arrays:
        assert len(arrays) == len(model.weights)


def without_notes(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b""
        archive._didModify = True


def test_a_file_of_others_that_leaves_the_shape_open_asks_for_it(path):
    model = ti16(image_size=(48, 16))
    load.to_npz(model, path)
    without_notes(path)
    assert not npz.load(path).notes
    with pytest.raises(ValueError, match=r"3 patches of 16 pixels.*no square"
                       r".*IMAGE_SIZE.*file_grid"):
        published.gin_of(path)
    assert_same(model, finished.load(path, overrides=((), [
        SHORT, "IMAGE_SIZE = (48, 16)"])).model)


def test_without_a_table_published_files_are_of_224_pixels(path, caplog):
    caplog.set_level("INFO", logger="absl")
    shapes = {"embedding/kernel": (16, 16, 3, 384), "head/bias": (1000,),
              "head/kernel": (384, 1000)}
    # As big_vision/vit_s16_i1k_300ep has it (arXiv 2205.01580).
    stem, settings = published.describe(shapes)
    assert stem == "s16" and settings == {
        "NUM_CLASSES": 1000, "IMAGE_SIZE": 224, "vit.vit.classifier": "gap",
        "vit.vit.posemb": "sincos2d"}
    model = ti16(classifier="gap", posemb="sincos2d")
    load.to_npz(model, path)
    without_notes(path)
    assert_same(model, finished.load(path, overrides=((), [
        SHORT, "IMAGE_SIZE = 32"])).model)
    assert finished.load(path, overrides=((), [SHORT])).model.input_shape == (
        None, 224, 224, 3)
    assert "No position embeddings" in caplog.text
    learned = ti16(classifier="gap")
    with pytest.raises(ValueError, match="build the model with posemb='sinc"):
        load.from_npz(learned, path=path)


def test_the_noted_grid_serves_a_model_of_another_one(path):
    wide = ti16(image_size=(16, 64), depth=1)
    load.to_npz(wide, path)
    square = ti16(image_size=32, depth=1)
    load.from_npz(square, path=path)
    name = "Transformer/posembed_input/pos_embedding"
    old, new = (next(v.numpy() for v in model.weights if name in v.name)
                for model in (wide, square))
    np.testing.assert_array_equal(new, adapt.resize_posemb(
        old, new_grid=(2, 2), old_grid=(1, 4), has_cls_old=True,
        has_cls_new=True))


@pytest.mark.parametrize("comment", [
    b"rubbish", b"[1]", b'{"tfvit": 3}', b'{"tfvit": {"grid": "wide"}}',
    b'{"tfvit": {"grid": [0, 4], "image_size": [1, 2, 3]}}'])
def test_notes_are_not_trusted(path, comment):
    npz.save(path, {"a": np.zeros(3)}, {"grid": [1, 2]})
    assert npz.load(path).notes == {"grid": [1, 2]}
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment
        archive._didModify = True
    assert npz.load(path).notes == {}


def by_hand(kernel, size):
    """resample_patchemb of big_vision's FlexiViT, line by line."""
    old = kernel.shape[:2]
    columns = []
    for i in range(old[0] * old[1]):
        basis = np.zeros(old, np.float32)
        basis[np.unravel_index(i, old)] = 1.0
        columns.append(tf.image.resize(basis[..., None], size,
                                       "bilinear").numpy().ravel())
    # Of the transpose; float32 makes small numbers of what is zero.
    inverse = np.linalg.pinv(np.stack(columns), rcond=1e-5)
    flat = kernel.reshape(-1, kernel.shape[2] * kernel.shape[3])
    return (inverse @ flat).reshape(*size, *kernel.shape[2:])


@pytest.mark.parametrize("old, new", [
    ((8, 8), (16, 16)), ((8, 8), (12, 12)), ((16, 16), (8, 8)),
    ((14, 14), (16, 16)), ((8, 4), (5, 9)), ((6, 6), (6, 6))])
def test_patches_are_resized_as_flexivit_does(old, new):
    kernel = np.random.default_rng(0).normal(size=(*old, 3, 5)).astype(
        np.float32)
    resized = adapt.resize_patches(kernel, new)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, by_hand(kernel, new), atol=2e-5)


@pytest.mark.parametrize("make, stem", [
    (lambda patch, size: vit.vit(
        num_classes=5, image_size=size, patch_size=patch, width=8, depth=1,
        num_heads=2, mlp_dim=8), "embedding"),
    (lambda patch, size: mixer.mixer(
        num_classes=5, image_size=size, patch_size=patch, width=8, depth=1,
        tokens_mlp_dim=8, channels_mlp_dim=8), "stem")])
def test_enlarged_images_look_the_same_to_a_model_of_enlarged_patches(
        make, stem, path):
    small, large = make(4, 16), make(8, 32)
    rng = np.random.default_rng(1)
    for variable in small.weights:
        variable.assign(rng.normal(scale=0.3, size=variable.shape))
    load.to_npz(small, path)
    with pytest.raises(ValueError, match=f"! {stem}/kernel.*resize_patches"):
        # The message has several lines.
        try:
            load.from_npz(large, path=path, reset_head=False)
        except ValueError as error:
            raise ValueError(str(error).replace("\n", " ")) from error
    load.from_npz(large, path=path, reset_head=False, resize_patches=True)
    patches = rng.uniform(-1, 1, [16, 4, 4, 3]).astype(np.float32)

    def picture(patches):
        size = patches.shape[1]
        grid = tf.reshape(patches, [4, 4, size, size, 3])
        return tf.reshape(tf.transpose(grid, [0, 2, 1, 3, 4]),
                          [1, 4 * size, 4 * size, 3])

    # Patch by patch: over its edges nothing is interpolated.
    np.testing.assert_allclose(
        large(picture(tf.image.resize(patches, [8, 8]))),
        small(picture(patches)), atol=1e-4)


PLAIN = """
import sys
from tfvit.inference import figures, finished, image_files
from tfvit.weights import published
assert "tfvit.launch" not in sys.modules
model, image = sys.argv[1:]
short = ((), ["vit.vit.depth = 1"])
published.gin_of(model)
assert finished.load(model, overrides=short).step == 0
functions = finished.signatures(model, overrides=short)
rows = list(image_files.run(functions["serving_default"],
                            image_files.find([image]), batch_size=2))
import json
print(json.dumps([[name for _, name, _ in image_files.top(row)]
                  for _, row in rows]))
"""


@pytest.mark.slow
def test_python_loads_a_file_without_flags_or_the_command_line(path, tmp_path):
    load.to_npz(ti16(), path)
    image = tmp_path / "image.png"
    image.write_bytes(samples.encoded())
    done = subprocess.run([sys.executable, "-c", PLAIN, path, image],
                          cwd=config.ROOT, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    (names,) = json.loads(done.stdout)
    assert sorted(names) == list("01234")

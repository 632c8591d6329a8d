"""Tests for load: adaptation to another model, and strictness."""

import numpy as np
import pytest
import tensorflow as tf

from tfvit.models import mixer
from tfvit.models import resnet
from tfvit.weights import augreg
from tfvit.weights import load
from tfvit.weights import names
from tfvit.weights import npz

POSEMB = "Transformer/posembed_input/pos_embedding"


def sevens(model):
    """The model with 7 everywhere, to see what loading leaves alone."""
    for variable in model.weights:
        variable.assign(tf.fill(variable.shape, 7.0))
    return model


@pytest.fixture(scope="module")
def released(params):
    return params("vit_token_released_names")


@pytest.fixture(scope="module")
def model(tiny):
    return tiny()


@pytest.mark.parametrize("case", ["adapt", "adapt_drop_pre_logits"])
def test_fine_tuning_starts_where_the_original_starts(
        golden, params, tiny, values, path, case):
    """From 32 to 48 pixels, 10 to 7 classes, with or without pre_logits."""
    npz.save(path, params(case, "source/"))
    model = tiny(num_classes=7, image_size=48)
    head = params(case, "init_head/")
    for variable in model.weights:
        if names.of(variable).startswith("head/"):
            variable.assign(head[names.of(variable).removeprefix("head/")])
    load.from_npz(model, path=path)
    for name, value in params(case).items():
        np.testing.assert_allclose(values(model)[names.canonical(name)], value,
                                   atol=1e-6, err_msg=name)
    np.testing.assert_allclose(model(golden(case)["images"]),
                               golden(case)["outputs"], atol=2e-6)


def test_pre_logits_are_kept_where_the_model_has_them(
        params, tiny, values, path):
    tree = params("vit_representation")
    npz.save(path, tree)
    model = sevens(tiny(representation_size=20))
    load.from_npz(model, path=path)
    np.testing.assert_array_equal(values(model)["pre_logits/kernel"],
                                  tree["pre_logits/kernel"])
    assert np.all(values(model)["head/kernel"] == 7.0)


@pytest.mark.parametrize("reset_head", [True, False])
def test_a_model_without_head_leaves_the_files_head_out(
        params, tiny, values, path, reset_head):
    tree = params("vit_representation")
    npz.save(path, tree)
    model = tiny(num_classes=None)
    load.from_npz(model, path=path, reset_head=reset_head)
    np.testing.assert_array_equal(values(model)["cls"], tree["cls"])


def test_gap_takes_the_patches_of_a_token_file(released, tiny, values, path):
    npz.save(path, released)
    model = tiny(classifier="gap")
    load.from_npz(model, path=path)
    np.testing.assert_array_equal(
        values(model)[POSEMB], released[POSEMB][:, 1:])
    with pytest.raises(ValueError, match=r"\n \+ cls \(1, 1, 24\)\n"):
        load.from_npz(model, path=path, reset_head=False)


def test_a_new_class_token_starts_as_initialised_without_position(
        params, model, values, path):
    tree = params("vit_gap")
    npz.save(path, tree)
    load.from_npz(sevens(model), path=path)
    assert np.all(values(model)["cls"] == 7.0)
    np.testing.assert_array_equal(
        values(model)[POSEMB], np.pad(tree[POSEMB], [(0, 0), (1, 0), (0, 0)]))


def test_grey_models_load_colour_files(released, tiny, values, path):
    npz.save(path, released)
    model = tiny(channels=1)
    load.from_npz(model, path=path)
    np.testing.assert_allclose(
        values(model)["embedding/kernel"],
        released["embedding/kernel"].sum(axis=2, keepdims=True), atol=1e-6)


def test_only_the_first_convolution_of_a_hybrid_takes_other_channels(
        params, tiny, path):
    tree = params("hybrid_stem")
    tree["embedding/kernel"] = tree["embedding/kernel"][:, :, :16]
    npz.save(path, tree)
    model = tiny(image_size=64, patch_size=4, channels=1,
                 stem=resnet.resnet_stem(blocks=(), width_factor=0.5))
    with pytest.raises(ValueError) as error:
        load.from_npz(model, path=path)
    assert [line for line in str(error.value).splitlines()
            if line.startswith(" ")] == [
                " ! embedding/kernel (4, 4, 16, 24) in the file, "
                "(4, 4, 32, 24) in the model"
            ]


def test_a_wide_model_of_as_many_patches_asks_which_grid_the_file_has(
        released, tiny, values, path):
    npz.save(path, released)
    model = tiny(image_size=(16, 64))
    with pytest.raises(ValueError, match=r"16 patches.*\(2, 8\).*file_grid"):
        load.from_npz(model, path=path)
    load.from_npz(model, path=path, file_grid=(2, 8))
    np.testing.assert_array_equal(values(model)[POSEMB], released[POSEMB])
    load.from_npz(model, path=path, file_grid=(4, 4))
    table, old = values(model)[POSEMB][0, 1:], released[POSEMB][0, 1:]
    np.testing.assert_allclose(table[[0, 7, 8, 15]], old[[0, 3, 12, 15]])


def test_every_difference_is_listed_and_nothing_is_loaded(
        released, tiny, values, path):
    npz.save(path, released | {"extra/bias": np.zeros(3)})
    model = sevens(tiny(mlp_dim=40, num_classes=7, representation_size=4))
    with pytest.raises(ValueError) as error:
        load.from_npz(model, path=path, reset_head=False)
    block = " ! Transformer/encoderblock_{}/MlpBlock_3/Dense_{}".format
    assert str(error.value).splitlines() == [
        f"{path} does not fit: missing in the file (-), unexpected (+), of "
        "another shape (!):",
        block(0, "0/bias (48,) in the file, (40,) in the model"),
        block(0, "0/kernel (24, 48) in the file, (24, 40) in the model"),
        block(0, "1/kernel (48, 24) in the file, (40, 24) in the model"),
        block(1, "0/bias (48,) in the file, (40,) in the model"),
        block(1, "0/kernel (24, 48) in the file, (24, 40) in the model"),
        block(1, "1/kernel (48, 24) in the file, (40, 24) in the model"),
        " + extra/bias (3,)",
        " ! head/bias (10,) in the file, (7,) in the model",
        " ! head/kernel (24, 10) in the file, (4, 7) in the model",
        " - pre_logits/bias (4,)",
        " - pre_logits/kernel (24, 4)",
        "The file: ViT, patch 8x8, width 24, depth 2, heads 3, mlp 48, "
        "positions 17, class token, classes 10.",
        "The model: ViT, patch 8x8, width 24, depth 2, heads 3, mlp 40, "
        "positions 17, class token, pre_logits 4, classes 7.",
        "Only files from imagenet21k/ have pre_logits: build the model with "
        "representation_size=None.",
        "Loading the head needs the file's number of classes; reset_head=True "
        "starts with a new head.",
    ]
    assert all(np.all(value == 7.0) for value in values(model).values())


@pytest.mark.parametrize("extra, hint", [
    (["img/cls"], "The file has two towers: load one as file.npz:img"),
    ([f"x{i}" for i in range(50)], "and 10 more"),
])
def test_a_file_with_more_than_the_model_is_explained(
        released, model, path, extra, hint):
    npz.save(path, released | dict.fromkeys(extra, np.zeros(1)))
    with pytest.raises(ValueError, match=hint):
        load.from_npz(model, path=path)


@pytest.mark.parametrize("shape", [(1, 0, 24), (1, 1, 24), (2, 17, 24), (17,)])
def test_impossible_position_embeddings_are_an_error(
        released, model, path, shape):
    npz.save(path, released | {POSEMB: np.zeros(shape, np.float32)})
    with pytest.raises(ValueError, match="does not fit"):
        load.from_npz(model, path=path)


def test_mixer_at_another_image_size_is_explained(params, path):
    npz.save(path, params("mixer"))
    model = mixer.mixer(num_classes=10, image_size=48, patch_size=8, width=24,
                        depth=2, tokens_mlp_dim=12, channels_mlp_dim=40)
    with pytest.raises(ValueError, match="number of patches"):
        load.from_npz(model, path=path)


def test_a_variable_that_shared_its_memory_is_loaded_alone(
        released, model, tiny, values, path):
    npz.save(path, released)
    other = sevens(tiny())
    for a, b in zip(model.weights, other.weights, strict=True):
        a.assign(b)
    load.from_npz(model, path=path, reset_head=False)
    for name, value in released.items():
        np.testing.assert_array_equal(values(model)[name], value)
        assert np.all(values(other)[name] == 7.0)


def test_reading_a_loaded_variable_copies_nothing(released, tiny, path):
    npz.save(path, released)
    model = tiny()
    load.from_npz(model, path=path)
    for variable in model.weights:
        a, b = (memoryview(variable.read_value()) for _ in range(2))
        assert np.shares_memory(np.asarray(a), np.asarray(b))


def test_mirrored_variables_are_loaded_on_every_replica(released, tiny, path):
    npz.save(path, released)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = tiny()
    load.from_npz(model, path=path, reset_head=False)
    for variable in model.weights:
        for copy in variable.values:
            np.testing.assert_array_equal(copy, released[names.of(variable)])


def test_augreg_and_an_architecture_is_the_recommended_file(
        released, model, values, tmp_path, monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    stem = "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
    folder = tmp_path / "vit_models" / "augreg"
    npz.save(folder / f"{stem}.npz", released)
    columns = [*augreg.STRINGS, *augreg.INTEGERS, *augreg.FLOATS]
    row = dict.fromkeys(columns, "") | {
        "ds": "i21k", "filename": stem, "final_val": "0.3"}
    (folder / "index.csv").write_text(
        ",".join(columns) + "\n" + ",".join(row.values()) + "\n")
    load.from_npz(model, path="augreg/Ti_16")
    np.testing.assert_array_equal(values(model)["cls"], released["cls"])


@pytest.mark.parametrize("name", ["w[12].npz", "w?.npz", "run:img", "a:b.npz"])
def test_a_file_of_any_name_is_itself(tiny, values, tmp_path, name):
    model = tiny()
    load.to_npz(model, tmp_path / name)
    expected = values(model)
    for variable in model.weights:
        variable.assign_add(tf.ones_like(variable))
    load.to_npz(model, tmp_path / "w1.npz")  # Which two of them match.
    load.from_npz(model, path=str(tmp_path / name), reset_head=False)
    for key, value in values(model).items():
        assert value.tobytes() == expected[key].tobytes()

"""Weights of LiT: whole files, and towers that were trained apart."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import two_towers
from tfvit.models import lit
from tfvit.weights import load
from tfvit.weights import names
from tfvit.weights import npz
from tfvit.weights import towers

LAYER = "BertEncoder_0/encoder_block/layer_sequence/layers_"

# In a layer: google-research/bert -> ours.
PARTS = {
    "attention/self/query/kernel":
        "attention_block/attention_layer/query/kernel",
    "attention/self/query/bias": "attention_block/attention_layer/query/bias",
    "attention/self/key/kernel": "attention_block/attention_layer/key/kernel",
    "attention/self/key/bias": "attention_block/attention_layer/key/bias",
    "attention/self/value/kernel":
        "attention_block/attention_layer/value/kernel",
    "attention/self/value/bias": "attention_block/attention_layer/value/bias",
    "attention/output/dense/kernel": "attention_block/dense_layer/kernel",
    "attention/output/dense/bias": "attention_block/dense_layer/bias",
    "attention/output/LayerNorm/gamma": "attention_block/layer_norm/scale",
    "attention/output/LayerNorm/beta": "attention_block/layer_norm/bias",
    "intermediate/dense/kernel": "mlp_block/mlp/dense_layer/kernel",
    "intermediate/dense/bias": "mlp_block/mlp/dense_layer/bias",
    "output/dense/kernel": "mlp_block/dense_layer/kernel",
    "output/dense/bias": "mlp_block/dense_layer/bias",
    "output/LayerNorm/gamma": "mlp_block/layer_norm/scale",
    "output/LayerNorm/beta": "mlp_block/layer_norm/bias",
}
RENAMED = {
    "bert/embeddings/word_embeddings":
        "BertEncoder_0/embedder/embedders_token_ids/embedding",
    "bert/embeddings/position_embeddings":
        "BertEncoder_0/embedder/embedders_position_ids/embedding",
    "bert/embeddings/token_type_embeddings":
        "BertEncoder_0/embedder/embedders_segment_ids/embedding",
    "bert/embeddings/LayerNorm/gamma": "BertEncoder_0/layer_norm/scale",
    "bert/embeddings/LayerNorm/beta": "BertEncoder_0/layer_norm/bias",
    **{f"bert/encoder/layer_{i}/{theirs}": f"{LAYER}{i}/{ours}"
       for i in range(2) for theirs, ours in PARTS.items()},
}
MODELS = {
    "lit_text_transformer": (two_towers.SMALL, (None, 24)),
    "lit_bert": (two_towers.BERT, 20),
}


def build(name="lit_bert", **kwargs):
    tower, out_dim = MODELS[name]
    model = lit.lit(image=functools.partial(two_towers.IMAGE, **kwargs),
                    text=tower, out_dim=out_dim)
    for variable in model.weights:
        variable.assign(tf.fill(variable.shape, 7.0))
    return model


@pytest.fixture(scope="module")
def lit_bert():
    return build()


@pytest.fixture(scope="module")
def bert_arrays():
    """{name in google-research/bert: array} of a checkpoint."""
    rng = np.random.default_rng(0)
    model = two_towers.BERT(num_classes=None)
    shapes = {names.of(v): v.shape for v in model.weights}
    arrays = {theirs: rng.normal(size=shapes[ours]).astype(np.float32)
              for theirs, ours in RENAMED.items()}
    arrays["bert/embeddings/position_embeddings"] = rng.normal(
        size=[40, 16]).astype(np.float32)  # The model has 32.
    for name in ("bert/pooler/dense/kernel", "cls/predictions/output_bias",
                 "bert/encoder/layer_0/output/dense/bias/adam_m"):
        arrays[name] = np.zeros([16], np.float32)
    return arrays | {"global_step": np.int64(3)}


def write(arrays, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(prefix=str(folder / "bert_model.ckpt"),
                      tensor_names=list(arrays),
                      shape_and_slices=[""] * len(arrays),
                      tensors=list(arrays.values()))
    return str(folder)


@pytest.mark.parametrize("name", MODELS)
def test_a_file_of_lit_makes_the_round_trip_bit_by_bit(name, params, golden,
                                                       path):
    tree, model = params(name), build(name)
    npz.save(path, {f"params/{key}": value for key, value in tree.items()})
    load.from_npz(model, path=path, reset_head=False)
    np.testing.assert_allclose(model.embed_texts(golden(name)["tokens"]),
                               golden(name)["ztxt"], rtol=0, atol=2e-6)
    load.to_npz(model, path)
    written = dict(npz.load(path))
    assert set(written) == {names.canonical(key) for key in tree}
    for key, value in tree.items():
        np.testing.assert_array_equal(written[names.canonical(key)], value)


def test_old_files_with_two_tables_of_positions_have_them_added(
        params, path):
    tree, model = params("lit_text_transformer"), build("lit_text_transformer")
    second = np.random.default_rng(0).normal(
        size=tree["txt/pos_embedding"].shape).astype(np.float32)
    npz.save(path, tree | {"txt/Encoder_0/pos_embedding": second})
    load.from_npz(model, path=path)
    np.testing.assert_array_equal(
        names.variables(model)["txt/pos_embedding"],
        tree["txt/pos_embedding"] + second)


def test_positions_of_the_image_tower_are_resized(params, path):
    npz.save(path, params("lit_bert"))
    model = build(image_size=48)
    load.from_npz(model, path=path)
    positions = names.variables(model)[f"img/{names.POS_EMBEDDING}"]
    assert positions.shape == [1, 37, 24]
    assert not (positions.numpy() == 7).any()


def test_a_file_of_another_lit_is_explained(params, path, lit_bert):
    npz.save(path, params("lit_text_transformer"))
    with pytest.raises(ValueError) as error:
        load.from_npz(lit_bert, path=path)
    for line in [" - img/head/kernel (24, 20)", " + txt/Embed_0/embedding",
                 "txt = text transformer", "txt = BERT"]:
        assert line in str(error.value)


def test_each_tower_starts_from_a_file_of_its_own(
        params, path, tmp_path, bert_arrays):
    released = params("vit_token_released_names")  # Has another head.
    npz.save(path, released)
    model = build()
    towers.start(model, image=path, text=write(bert_arrays, tmp_path / "bert"))
    now = {name: v.numpy() for name, v in names.variables(model).items()}
    expected = {f"img/{key}": value for key, value in released.items()
                if not key.startswith("head/")}
    expected |= {f"txt/{ours}": bert_arrays[theirs]
                 for theirs, ours in RENAMED.items()}
    positions = f"txt/{RENAMED['bert/embeddings/position_embeddings']}"
    expected[positions] = expected[positions][:32]
    left = {"t", "img/head/kernel", "img/head/bias", "txt/head/kernel",
            "txt/head/bias"}
    assert set(now) == set(expected) | left
    for name, value in now.items():
        np.testing.assert_array_equal(value, expected.get(name, 7.0), name)


def test_a_text_tower_starts_from_the_one_of_a_lit(params, path):
    tree, model = params("lit_text_transformer"), build("lit_text_transformer")
    npz.save(path, tree)
    towers.start(model, text=f"{path}:txt")
    now = names.variables(model)
    np.testing.assert_array_equal(now["txt/Embed_0/embedding"],
                                  tree["txt/Embed_0/embedding"])
    assert (now["txt/head/bias"].numpy() == 7).all()
    assert (now["img/cls"].numpy() == 7).all()


@pytest.mark.parametrize("where", ["{}", "{}/bert_model.ckpt",
                                   "lit/bert/uncased"])
def test_a_checkpoint_of_bert_is_found(where, tmp_path, bert_arrays, lit_bert,
                                       monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    folder = write(bert_arrays,
                   tmp_path / "vit_models" / "lit" / "bert" / "uncased")
    towers.from_bert(lit_bert, path=where.format(folder), tower="txt")
    np.testing.assert_array_equal(
        names.variables(lit_bert)["txt/BertEncoder_0/layer_norm/scale"],
        bert_arrays["bert/embeddings/LayerNorm/gamma"])


@pytest.mark.parametrize("name", ["bert[12]", "be?t", "[b]ert1"])
def test_bert_may_lie_in_a_folder_called_like_a_pattern(name, tmp_path,
                                                        bert_arrays, lit_bert):
    other = {key: 3 + array for key, array in bert_arrays.items()}
    write(other, tmp_path / "bert1")
    folder = write(bert_arrays, tmp_path / name)
    towers.from_bert(lit_bert, path=str(folder), tower="txt")
    np.testing.assert_array_equal(
        names.variables(lit_bert)["txt/BertEncoder_0/layer_norm/scale"],
        bert_arrays["bert/embeddings/LayerNorm/gamma"])


def test_a_checkpoint_of_another_bert_is_explained(tmp_path, bert_arrays,
                                                   lit_bert):
    arrays = dict(bert_arrays)
    del arrays["bert/embeddings/LayerNorm/beta"]
    arrays["bert/encoder/layer_2/output/dense/bias"] = np.zeros([16])
    arrays["bert/embeddings/word_embeddings"] = np.zeros([60, 16])
    with pytest.raises(ValueError) as error:
        towers.from_bert(lit_bert, path=write(arrays, tmp_path / "bert"),
                         tower="txt")
    for line in [" - BertEncoder_0/layer_norm/bias (16,)",
                 f" + {LAYER}2/mlp_block/dense_layer/bias (16,)",
                 "embedders_token_ids/embedding (60, 16) in the file, "
                 "(50, 16) in the model"]:
        assert line in str(error.value)


def test_what_is_no_checkpoint_is_an_error(tmp_path, lit_bert):
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"bert_model.ckpt{suffix}").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="no intact TensorFlow checkpoint"):
        towers.from_bert(lit_bert, path=str(tmp_path), tower="txt")
    with pytest.raises(FileNotFoundError, match="bert_model.ckpt"):
        towers.from_bert(lit_bert, path=str(tmp_path / "none"), tower="txt")


def test_wrong_uses_are_errors(path, params, lit_bert, tiny):
    npz.save(path, params("vit_token_released_names"))
    with pytest.raises(ValueError, match="needs an image or a text"):
        towers.start(lit_bert)
    with pytest.raises(ValueError, match="only a LiT has the towers"):
        load.from_npz(tiny(), path=path, tower="img")
    with pytest.raises(ValueError, match="load.from_npz.tower says which"):
        load.from_npz(lit_bert, path=path)

"""Tests for names: every published spelling, without reading an array."""

import gzip
import json
import os

import numpy as np
import pytest

from tfvit.weights import names

GOLDENS = os.path.join(os.path.dirname(__file__), "..", "goldens")


@pytest.fixture(scope="module")
def inventory():
    """{model: {linen name: shape}} of the JAX models."""
    with gzip.open(os.path.join(GOLDENS, "param_inventory.json.gz")) as file:
        return json.load(file)


def read(entries, arrays):
    return {
        name: entry.make(*(arrays[source] for source in entry.sources))
        for name, entry in entries.items()
    }


@pytest.mark.parametrize("linen, released", [
    ("Transformer/encoderblock_3/LayerNorm_1/scale",
     "Transformer/encoderblock_3/LayerNorm_2/scale"),
    ("Transformer/encoderblock_11/MlpBlock_0/Dense_1/bias",
     "Transformer/encoderblock_11/MlpBlock_3/Dense_1/bias"),
    ("txt/Encoder_0/encoderblock_0/MultiHeadDotProductAttention_0/out/kernel",
     "txt/Encoder_0/encoderblock_0/MultiHeadDotProductAttention_1/out/kernel"),
])
def test_encoder_blocks_take_the_released_numbers(linen, released):
    assert names.canonical(linen) == released
    assert names.canonical(released) == released


@pytest.mark.parametrize("name", [
    "Transformer/encoderblock_0/LayerNorm_0/scale",
    "MixerBlock_0/LayerNorm_1/scale", "MAPHead_0/MlpBlock_0/Dense_0/kernel",
    "head/kernel"
])
def test_other_names_stay(name):
    assert names.canonical(name) == name


def test_no_array_of_any_published_model_is_lost_or_reshaped(inventory):
    for model, shapes in inventory.items():
        if model.startswith("_"):
            continue
        entries = names.canonicalise(shapes)
        assert sorted(e.sources for e in entries.values()) == sorted(
            (name,) for name in shapes)
        assert all(
            e.shape == tuple(shapes[e.sources[0]]) for e in entries.values())


@pytest.mark.parametrize("prefix, beside", [("params/", "opt/mu/cls"),
                                            ("opt/target/", "opt/state/step"),
                                            ("opt/target/params/", "epoch")])
def test_prefixes_go_and_what_is_beside_them_stays_out(prefix, beside):
    entries = names.canonicalise({prefix + "cls": [1, 1, 4], beside: [2]})
    assert {
        n: e.sources for n, e in entries.items()
    } == {
        "cls": (prefix + "cls",)
    }


def test_stacked_blocks_are_split():
    stack = np.arange(12).reshape(3, 4)
    entries = names.canonicalise(
        {"Transformer/encoderblock/LayerNorm_1/bias": stack.shape})
    blocks = read(entries, {"Transformer/encoderblock/LayerNorm_1/bias": stack})
    assert list(blocks) == [
        f"Transformer/encoderblock_{i}/LayerNorm_2/bias" for i in range(3)
    ]
    np.testing.assert_array_equal(list(blocks.values()), stack)


@pytest.mark.parametrize("shape", [(), (0, 4), (10**9, 0)])
def test_a_stack_of_no_or_absurdly_many_blocks_is_an_error(shape):
    with pytest.raises(ValueError, match="stacks"):
        names.canonicalise({"Transformer/encoderblock/x/bias": shape})


def test_positions_before_the_class_token_get_a_row_of_zeros_for_it():
    table = np.ones([1, 4, 2], np.float32)
    entries = names.canonicalise({
        "pos_embedding": table.shape,
        "cls": [1, 1, 2],
        "embedding/kernel": [8, 8, 3, 2]
    })
    entry = entries[names.POS_EMBEDDING]
    result = entry.make(table)
    assert entry.shape == result.shape == (1, 5, 2)
    np.testing.assert_array_equal(result[0, :, 0], [0, 1, 1, 1, 1])


def test_positions_without_a_class_token_are_only_renamed():
    entries = names.canonicalise({
        "pos_embedding": [1, 4, 2],
        "embedding/kernel": [8, 8, 3, 2]
    })
    assert entries[names.POS_EMBEDDING].shape == (1, 4, 2)


def test_positions_inside_the_encoder_keep_their_class_token():
    entries = names.canonicalise({
        "Transformer/pos_embedding": [1, 5, 2],
        "cls": [1, 1, 2],
        "embedding/kernel": [8, 8, 3, 2]
    })
    assert entries[names.POS_EMBEDDING].shape == (1, 5, 2)


def test_two_position_tables_of_a_text_tower_are_added():
    entries = names.canonicalise({
        "txt/pos_embedding": [1, 3, 2],
        "txt/Encoder_0/pos_embedding": [1, 3, 2]
    })
    entry = entries["txt/pos_embedding"]
    assert list(entries) == ["txt/pos_embedding"]
    np.testing.assert_array_equal(
        entry.make(np.full([1, 3, 2], 1.0), np.full([1, 3, 2], 2.0)), 3.0)


def test_group_norm_arrays_lose_their_axes_of_length_one():
    entries = names.canonicalise({
        "block1/unit1/gn_proj/scale": [1, 1, 1, 8],
        "gn_root/bias": [1, 1, 1, 8],
        "block1/unit1/conv1/kernel": [1, 1, 8, 8]
    })
    assert [e.shape for e in entries.values()] == [(8,), (8,), (1, 1, 8, 8)]
    assert entries["gn_root/bias"].make(np.ones([1, 1, 1, 8])).shape == (8,)


def test_a_subtree_stands_alone():
    shapes = {
        "params/img/cls": [1, 1, 4],
        "params/txt/head/bias": [4],
        "params/t": [1]
    }
    assert list(names.canonicalise(shapes, subtree="img")) == ["cls"]
    with pytest.raises(ValueError, match="'image'; there is: img, t, txt"):
        names.canonicalise(shapes, subtree="image")


def test_two_arrays_of_one_name_are_an_error():
    with pytest.raises(ValueError, match="both mean .*LayerNorm_2/bias"):
        names.canonicalise({
            "Transformer/encoderblock_0/LayerNorm_1/bias": [4],
            "Transformer/encoderblock_0/LayerNorm_2/bias": [4]
        })


@pytest.mark.parametrize("model, words", [
    ("ViT-B_16", "ViT, patch 16x16, width 768, depth 12, heads 12, mlp 3072, "
     "positions 197, class token, classes 1000"),
    ("R26+ViT-S_32", "hybrid ViT, patch 1x1, width 384, depth 12, heads 6, "
     "mlp 1536, positions 50, class token, classes 1000"),
    ("Mixer-L_16", "Mixer, patch 16x16, width 1024, depth 24, tokens mlp 512, "
     "tokens 196, channels mlp 4096, classes 1000"),
    ("LiT-B16B", "img = ViT, patch 16x16, width 768, depth 12, heads 12, mlp "
     "3072, positions 197, class token, classes 768; txt = BERT, "
     "width 768, depth 12, classes 768"),
])
def test_describe_recognises_the_published_models(inventory, model, words):
    entries = names.canonicalise(inventory[model])
    assert names.describe({n: e.shape for n, e in entries.items()}) == words

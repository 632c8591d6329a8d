"""Tests that every published layout of an `.npz` file can be loaded."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tfvit.models import mixer
from tfvit.models import resnet
from tfvit.weights import load
from tfvit.weights import names
from tfvit.weights import npz

POSEMB = "Transformer/posembed_input/pos_embedding"


@pytest.fixture(scope="module")
def released(params):
    """A ViT in the released layout; its token has no position of its own."""
    tree = params("vit_token_released_names")
    tree[POSEMB][:, 0] = 0.0
    return tree


@pytest.fixture(scope="module")
def model(tiny):
    return tiny()


def round_trip(model, path, suffix=""):
    """Loads the file into a model of sevens, and what that then writes."""
    for variable in model.weights:
        variable.assign(tf.fill(variable.shape, 7.0))
    load.from_npz(model, path=path + suffix, reset_head=False)
    load.to_npz(model, path)
    return dict(npz.load(path))


def assert_same_bits(a, b):
    assert sorted(a) == sorted(b)
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape
        assert a[name].tobytes() == b[name].tobytes(), name


def prefixed(prefix, tree):
    return {prefix + name: value for name, value in tree.items()}


def linen(tree):
    spelling = {
        "MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0",
        "LayerNorm_2": "LayerNorm_1",
        "MlpBlock_3": "MlpBlock_0"
    }
    return {
        "/".join(spelling.get(part, part) for part in name.split("/")): value
        for name, value in tree.items()
    }


def big_vision(tree):
    tree = linen(tree)
    tree["pos_embedding"] = tree.pop(POSEMB)[:, 1:]
    return prefixed("params/", tree) | {"opt/count": np.array(3)}


def optimizer_target(tree):
    return (prefixed("opt/target/", tree) |
            prefixed("opt/state/param_states/", tree) |
            {"opt/state/step": np.array(7)})


def scan(tree):
    tree = linen(tree)
    block = "Transformer/encoderblock_0/"
    stacked = {name for name in tree if "encoderblock_" in name}
    rest = {name: tree[name] for name in tree.keys() - stacked}
    return rest | {
        name.replace("_0/", "/", 1):
            np.stack([tree[name], tree[name.replace("_0/", "_1/", 1)]])
        for name in stacked if name.startswith(block)
    }


def lit(tree):
    return prefixed("img/", linen(tree)) | {"txt/head/bias": np.zeros(3)}


@pytest.mark.parametrize("layout, suffix", [
    (dict, ""),
    (linen, ""),
    (big_vision, ""),
    (optimizer_target, ""),
    (scan, ""),
    (lit, ":img"),
])
def test_every_vit_layout_makes_the_round_trip_bit_by_bit(
        released, model, path, layout, suffix):
    npz.save(path, layout(released))
    assert_same_bits(round_trip(model, path, suffix), released)


def old_mixer(tree):
    """Kernels have axes of length 1; the names of the norms do not follow."""
    old = {}
    for name, value in tree.items():
        name = name.replace("MixerBlock_", "Mixer/encoderblock_")
        name = name.replace("stem/", "embedding/")
        name = name.replace("pre_head_layer_norm", "Mixer/encoder_norm")
        name = name.replace("LayerNorm_1", "LayerNorm_2")
        if mlp := re.fullmatch(r"(.*)_mixing/Dense_(\d)/(kernel|bias)", name):
            name = f"{mlp[1]}_mixing_phase_0/{mlp[3]}{int(mlp[2]) + 1}"
            value = value[None, :, None]
        old[name] = value
    return old


@pytest.mark.parametrize("layout", [dict, old_mixer])
def test_both_mixer_layouts_make_the_round_trip_bit_by_bit(
        params, path, layout):
    tree = params("mixer")
    model = mixer.mixer(num_classes=10, image_size=32, patch_size=8, width=24,
                        depth=2, tokens_mlp_dim=12, channels_mlp_dim=40)
    npz.save(path, layout(tree))
    assert_same_bits(round_trip(model, path), tree)


def test_hybrids_with_group_norm_in_four_axes_make_the_round_trip(
        params, tiny, path):
    tree = params("hybrid_stem")
    model = tiny(image_size=64, patch_size=4,
                 stem=resnet.resnet_stem(blocks=(), width_factor=0.5))
    npz.save(
        path, tree | {
            name: value.reshape(1, 1, 1, -1)
            for name, value in tree.items() if name.startswith("gn_root/")
        })
    released = {names.canonical(name): value for name, value in tree.items()}
    assert_same_bits(round_trip(model, path), released)

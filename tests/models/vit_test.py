import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import toy
from tfvit.models import layers
from tfvit.models import vit

# Golden file -> what its model has beyond `build`'s arguments.
GOLDENS = {
    "vit_token": {},
    "vit_token_released_names": {},
    "vit_gap": {
        "classifier": "gap"
    },
    "vit_representation": {
        "representation_size": 20
    },
    "vit_unpooled": {
        "num_classes": None,
        "classifier": "unpooled"
    },
    "vit_token_unpooled": {
        "num_classes": None,
        "classifier": "token_unpooled"
    },
}

build = toy.recorded_vit


def images(*shape, number=0):
    rng = np.random.default_rng(number)
    return rng.uniform(-1, 1, shape).astype(np.float32)


def weights(model):
    return {w.name.removesuffix(":0"): w.numpy() for w in model.weights}


@pytest.fixture(scope="module")
def fresh():
    """Initial weights of a model wide enough for statistics."""
    tf_keras.utils.set_random_seed(0)
    return weights(
        build(width=96, mlp_dim=64, representation_size=80, head_bias=-6.9))


@pytest.mark.parametrize("name", GOLDENS)
def test_outputs_and_names_match_the_original(name, golden, assign):
    arrays = golden(name)
    model = build(**GOLDENS[name])
    assign(model.weights, arrays)
    outputs = model(arrays["images"])
    atol = 2e-6 * max(1, np.abs(arrays["outputs"]).max())
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(outputs, arrays["outputs"], rtol=0, atol=atol)


def test_outputs_match_the_original_under_xla(golden, assign):
    arrays = golden("vit_token")
    model = build()
    assign(model.weights, arrays)
    outputs = tf.function(model, jit_compile=True)(arrays["images"])
    np.testing.assert_allclose(outputs, arrays["outputs"], rtol=0, atol=5e-6)


def test_variables_have_the_names_of_the_released_files(golden):
    released = golden("vit_token_released_names")
    assert set(weights(build())) == {
        name.removeprefix("params/") for name in released if "/" in name
    }


def test_patches_are_read_row_by_row_in_images_that_are_not_square():
    model = build(image_size=(16, 48),
                  patch_size=(8, 16),
                  depth=0,
                  num_classes=None,
                  classifier="unpooled")
    assert model.image_grid == (2, 3)
    x = np.zeros([1, 16, 48, 3], np.float32)
    base = model(x).numpy()
    x[:, 8:, 16:32] = images(1, 8, 16, 3)  # Row 1, column 1.
    changed = (model(x).numpy() != base).any(axis=(0, 2))
    np.testing.assert_array_equal(changed, [0, 0, 0, 0, 1, 0])


def test_pixels_beyond_the_last_whole_patch_are_ignored():
    model = build(image_size=(39, 33), num_classes=None)
    assert model.image_grid == (4, 4)
    x = images(1, 39, 33, 3)
    y = x.copy()
    y[:, 32:] = y[:, :, 32:] = 0
    np.testing.assert_array_equal(model(x), model(y))


def test_sincos2d_is_constant_and_leaves_the_class_token_alone():
    model = build(posemb="sincos2d",
                  depth=0,
                  num_classes=None,
                  classifier="token_unpooled")
    names = weights(model)
    assert not any("pos_embedding" in name for name in names)
    model.get_layer("embedding").set_weights(
        [np.zeros([8, 8, 3, 24]), np.zeros([24])])
    table = vit.sincos2d((4, 4), 24)
    expected = np.concatenate([np.zeros([1, 1, 24]), table], axis=1)
    expected -= expected.mean(axis=-1, keepdims=True)
    expected /= np.sqrt(expected.var(axis=-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(model(images(1, 32, 32, 3)), expected, atol=1e-5)


def test_dropout_acts_in_training_only(golden, assign):
    arrays = golden("vit_token")
    model = build(dropout_rate=0.5,
                  attention_dropout_rate=0.5,
                  stochastic_depth=0.5)
    assign(model.weights, arrays)
    x = arrays["images"]
    np.testing.assert_allclose(model(x), arrays["outputs"], atol=2e-6)
    with layers.seed_scope([0, 1]):
        first, again = model(x, training=True), model(x, training=True)
    with layers.seed_scope([0, 2]):
        other = model(x, training=True)
    np.testing.assert_array_equal(first, again)
    assert (first.numpy() != other.numpy()).any()
    assert (first.numpy() != model(x).numpy()).any()


@pytest.mark.parametrize(
    "knob", ["dropout_rate", "attention_dropout_rate", "stochastic_depth"])
def test_each_kind_of_dropout_reaches_the_output(knob, golden, assign):
    arrays = golden("vit_token")
    model = build(**{knob: 0.5})
    assign(model.weights, arrays)
    outputs = model(np.tile(arrays["images"], [8, 1, 1, 1]), training=True)
    assert np.unique(outputs, axis=0).shape[0] > 2


def test_every_dropout_has_a_mask_of_its_own():
    salts = [
        layer.salt
        for layer in build(depth=3).submodules
        if isinstance(layer, layers.Dropout)
    ]
    # Per block: attention weights, attention out, MLP twice, two branches.
    assert len(salts) == len(set(salts)) == 1 + 3 * 6


def test_stochastic_depth_grows_linearly_over_the_blocks():
    model = build(depth=3, stochastic_depth=0.1)
    rates = [[
        path.rate
        for path in model.get_layer(f"Transformer/encoderblock_{i}").drop_paths
    ]
             for i in range(3)]
    np.testing.assert_allclose(rates, [[0, 0], [0.05, 0.05], [0.1, 0.1]])


@pytest.mark.parametrize("knobs, message", [
    ({"classifier": "max"}, "vit.classifier='max' is not one of token, gap"),
    ({"posemb": "rope"}, "vit.posemb='rope' is not one of learn, sincos2d"),
    ({"image_size": (32, 7)}, r"vit.image_size=\(32, 7\) .* vit.patch_size=8"),
    ({"num_heads": 5}, "width=24 must be divisible by num_heads=5"),
    ({"posemb": "sincos2d", "width": 30, "num_heads": 2}, "divisible by 4"),
    ({"dropout_rate": 1.0}, "rate 1.0 of posembed_input"),
])  # yapf: disable
def test_errors_name_the_knob_and_its_value(knobs, message):
    with pytest.raises(ValueError, match=message):
        build(**knobs)


def test_bfloat16_gives_float32_logits_close_to_float32(
        golden, assign, bfloat16, assert_close_in_bfloat16):
    arrays = golden("vit_token")
    model = build()
    assign(model.weights, arrays)
    assert {w.dtype for w in model.weights} == {tf.float32}
    assert model.get_layer("embedding").compute_dtype == "bfloat16"
    assert_close_in_bfloat16(model, arrays, precisions=4)


def test_head_starts_at_zero_with_the_given_bias(fresh):
    assert not fresh["head/kernel"].any()
    np.testing.assert_array_equal(fresh["head/bias"], np.float32([-6.9] * 10))


def test_xavier_limits_are_those_of_the_flattened_kernels(fresh):
    block = "Transformer/encoderblock_1"
    for name, fans in {
            "MultiHeadDotProductAttention_1/query/kernel": 96 + 96,
            "MultiHeadDotProductAttention_1/out/kernel": 96 + 96,
            "MlpBlock_3/Dense_0/kernel": 96 + 64,
            "MlpBlock_3/Dense_1/kernel": 96 + 64,
    }.items():
        limit = np.sqrt(6 / fans)
        assert 0.99 * limit < np.abs(fresh[f"{block}/{name}"]).max() <= limit


@pytest.mark.parametrize("name, std", [
    ("embedding/kernel", 1 / np.sqrt(8 * 8 * 3)),
    ("pre_logits/kernel", 1 / np.sqrt(96)),
    ("Transformer/posembed_input/pos_embedding", 0.02),
    ("Transformer/encoderblock_0/MlpBlock_3/Dense_1/bias", 1e-6),
])
def test_initial_deviations_are_the_published_ones(name, std, fresh):
    values = fresh[name]
    # Four standard errors of a deviation.
    np.testing.assert_allclose(values.std(),
                               std,
                               rtol=4 / np.sqrt(2 * values.size))
    assert abs(values.mean()) < 4 * std / np.sqrt(values.size)


def test_everything_else_starts_at_zero_and_scales_at_one(fresh):
    attention = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1"
    for name in ("cls", "embedding/bias", "pre_logits/bias",
                 "Transformer/encoder_norm/bias", f"{attention}/query/bias",
                 f"{attention}/out/bias"):
        assert not fresh[name].any(), name
    assert (fresh["Transformer/encoder_norm/scale"] == 1).all()

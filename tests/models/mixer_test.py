import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfvit.models import layers
from tfvit.models import mixer


def build(**kwargs):
    return mixer.mixer(
        **{
            "num_classes": 10,
            "image_size": 32,
            "patch_size": 8,
            "width": 24,
            "depth": 2,
            "tokens_mlp_dim": 12,
            "channels_mlp_dim": 40,
            **kwargs
        })


@pytest.mark.parametrize("jit, atol", [(False, 2e-6), (True, 5e-6)])
def test_outputs_and_names_match_the_original(jit, atol, golden, assign):
    arrays = golden("mixer")
    model = build()
    assign(model.weights, arrays)
    outputs = tf.function(model, jit_compile=jit)(arrays["images"])
    atol *= max(1, np.abs(arrays["outputs"]).max())
    np.testing.assert_allclose(outputs, arrays["outputs"], rtol=0, atol=atol)


def test_without_classes_it_returns_what_the_head_would_get(golden, assign):
    arrays = golden("mixer")
    model, headless = build(), build(num_classes=None)
    assign(model.weights, arrays)
    headless.set_weights(model.get_weights()[:-2])
    kernel, bias = model.get_layer("head").get_weights()
    logits = headless(arrays["images"]) @ kernel + bias
    np.testing.assert_allclose(logits, arrays["outputs"], atol=5e-6)


def test_images_need_not_be_square():
    model = build(image_size=(16, 48), patch_size=(8, 16))
    assert model(tf.zeros([2, 16, 48, 3])).shape == (2, 10)
    kernel = model.get_layer("MixerBlock_0").token_mixing.dense_0.kernel
    assert kernel.shape == (6, 12)


@pytest.mark.parametrize("image_size", [33, (32, 36)])
def test_images_must_be_whole_patches(image_size):
    with pytest.raises(ValueError,
                       match="mixer.image_size=.* "
                       "multiple of mixer.patch_size=8"):
        build(image_size=image_size)


def test_stochastic_depth_grows_linearly_over_the_blocks():
    model = build(depth=3, stochastic_depth=0.1)
    rates = [[
        path.rate for path in model.get_layer(f"MixerBlock_{i}").drop_paths
    ] for i in range(3)]
    np.testing.assert_allclose(rates, [[0, 0], [0.05, 0.05], [0.1, 0.1]])


def test_stochastic_depth_keeps_branches_unscaled_as_the_original():
    block = mixer.MixerBlock(tokens_mlp_dim=12,
                             channels_mlp_dim=40,
                             stochastic_depth=0.5,
                             name="MixerBlock_0")
    x = np.random.default_rng(0).standard_normal([64, 4, 8]).astype(np.float32)
    with layers.seed_scope([0, 0]):
        block(x, training=True)  # Creates the weights.
        # Only the first branch is left.
        last = block.channel_mixing.dense_1
        last.kernel.assign(tf.zeros_like(last.kernel))
        trained = block(x, training=True).numpy()
    whole = block(x).numpy()
    dropped = (trained == x).all(axis=(1, 2))
    assert 0 < dropped.sum() < 64
    np.testing.assert_allclose(trained[~dropped], whole[~dropped], atol=1e-6)


def test_the_two_branches_of_all_blocks_are_dropped_independently():
    salts = [
        path.salt
        for i in range(2)
        for path in build().get_layer(f"MixerBlock_{i}").drop_paths
    ]
    assert len(set(salts)) == 4


def test_initial_values_are_the_published_ones():
    tf_keras.utils.set_random_seed(0)
    model = build(width=96, head_bias=-6.9)
    values = {w.name.removesuffix(":0"): w.numpy() for w in model.weights}
    assert not values["head/kernel"].any()
    np.testing.assert_array_equal(values["head/bias"], np.float32([-6.9] * 10))
    for name, fan_in in {
            "stem/kernel": 8 * 8 * 3,
            "MixerBlock_1/token_mixing/Dense_0/kernel": 16,
            "MixerBlock_1/channel_mixing/Dense_1/kernel": 40,
    }.items():
        np.testing.assert_allclose(values[name].std(),
                                   fan_in**-0.5,
                                   rtol=4 / np.sqrt(2 * values[name].size),
                                   err_msg=name)
    for name, value in values.items():
        if name.endswith("bias") and name != "head/bias":
            assert not value.any(), name


def test_bfloat16_gives_float32_logits_close_to_float32(
        golden, assign, bfloat16, assert_close_in_bfloat16):
    arrays = golden("mixer")
    model = build()
    assign(model.weights, arrays)
    assert model.get_layer("MixerBlock_0").compute_dtype == "bfloat16"
    assert_close_in_bfloat16(model, arrays, precisions=4)

import threading

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfvit.models import layers
from tfvit.models import tokens
from tfvit.models import vit


def seed(number):
    return layers.seed_scope(tf.constant([0, number]))


def drop(x, *, rate=0.5, salt="a", number=0, **kwargs):
    layer = layers.Dropout(rate, salt=salt, **kwargs)
    with seed(number):
        return layer(x, training=True).numpy()


def test_mlp_block_applies_the_tanh_gelu(golden):
    units = golden("resnet_units")
    mlp = layers.MlpBlock(1,
                          salt="mlp",
                          kernel_initializer=tf_keras.initializers.Ones(),
                          bias_initializer=tf_keras.initializers.Zeros())
    y = mlp(units["gelu/input"][None, :, None])
    np.testing.assert_allclose(y[0, :, 0], units["gelu/output"], atol=1e-6)


def test_layer_norm_matches_the_original_where_epsilon_matters(golden):
    units = golden("resnet_units")
    norm = layers.LayerNorm()
    norm(units["layernorm_small/input"])  # Creates the weights.
    norm.set_weights(
        [units["layernorm_small/scale"], units["layernorm_small/bias"]])
    y = norm(units["layernorm_small/input"])
    np.testing.assert_allclose(y,
                               units["layernorm_small/output"],
                               rtol=1e-3,
                               atol=1e-5)


def test_layer_norm_keeps_float32_statistics_in_bfloat16(bfloat16):
    rng = np.random.default_rng(0)
    x = tf.cast(256 + 4 * rng.standard_normal([4, 64]), tf.bfloat16)
    y = layers.LayerNorm()(x)
    assert y.dtype == tf.bfloat16
    exact = x.numpy().astype(np.float64)
    exact -= exact.mean(axis=-1, keepdims=True)
    exact /= exact.std(axis=-1, keepdims=True)
    # 2^-8 is the precision of the bfloat16 result.
    np.testing.assert_allclose(tf.cast(y, tf.float32),
                               exact,
                               rtol=2**-8,
                               atol=1e-6)


def test_attention_matches_numpy():
    attention = layers.MultiHeadDotProductAttention(2, salt="attention")
    x = np.random.default_rng(0).standard_normal([3, 5, 8]).astype(np.float32)
    y = attention(x)
    w = {
        v.name.removesuffix(":0").split("/", 1)[1]: v for v in attention.weights
    }
    q, k, v = (np.einsum("bnD,Dhd->bhnd", x, w[f"{name}/kernel"])
               for name in ("query", "key", "value"))
    a = np.exp(np.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(4))
    a /= a.sum(axis=-1, keepdims=True)
    expected = np.einsum("bhqk,bhkd,hdD->bqD", a, v, w["out/kernel"])
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_attention_rejects_a_width_that_heads_do_not_divide():
    attention = layers.MultiHeadDotProductAttention(3, salt="attention")
    with pytest.raises(ValueError, match="width=8 .* num_heads=3"):
        attention(tf.zeros([1, 2, 8]))


def test_dropout_does_nothing_at_inference():
    x = tf.ones([4, 4])
    np.testing.assert_array_equal(layers.Dropout(0.9, salt="a")(x), x)


def test_dropout_follows_from_the_seed_and_the_salt_alone():
    x = tf.ones([64])
    np.testing.assert_array_equal(drop(x), drop(x))
    assert (drop(x) != drop(x, number=1)).any()
    assert (drop(x) != drop(x, salt="b")).any()


def test_dropout_draws_the_same_mask_under_xla():
    layer = layers.Dropout(0.5, salt="a")

    @tf.function(jit_compile=True)
    def jitted(x):
        with seed(0):
            return layer(x, training=True)

    x = tf.ones([64])
    np.testing.assert_array_equal(jitted(x), drop(x))


def test_dropout_outside_a_scope_draws_anew_every_time():
    layer, x = layers.Dropout(0.5, salt="a"), tf.ones([64])
    assert (layer(x, training=True).numpy()
            != layer(x, training=True).numpy()).any()


def test_seed_scope_belongs_to_its_thread_and_ends_with_the_block():
    with seed(0):
        inside = []
        thread = threading.Thread(
            target=lambda: inside.append(getattr(layers._LOCAL, "seed", None)))
        thread.start()
        thread.join()
        with seed(1):
            pass
        np.testing.assert_array_equal(layers._LOCAL.seed, [0, 0])
    assert inside == [None]
    assert layers._LOCAL.seed is None


def test_dropout_drops_at_its_rate_and_keeps_the_mean():
    y = drop(tf.ones([100_000]), rate=0.1)
    # Five standard deviations of a share of 100,000: 5 * sqrt(.1 * .9 / 1e5).
    assert abs((y == 0).mean() - 0.1) < 0.0048
    np.testing.assert_allclose(y[y != 0], 1 / 0.9, rtol=1e-6)


def test_stochastic_depth_drops_whole_examples():
    y = drop(tf.ones([64, 3, 5]), per_example=True)
    dropped = (y == 0).all(axis=(1, 2))
    np.testing.assert_array_equal(y[~dropped], 2)
    assert 0 < dropped.sum() < 64


def test_dropout_without_rescale_leaves_what_it_keeps():
    assert set(drop(tf.ones([64]), rescale=False)) == {0.0, 1.0}


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_rejects_a_rate_outside_its_range(rate):
    with pytest.raises(ValueError, match=f"rate {rate} of blocks/out"):
        layers.Dropout(rate, salt="blocks/out")


def test_sincos2d_matches_numpy():
    table = vit.sincos2d((2, 3), 8)
    omega = 1 / 10_000**np.array([0.0, 1.0])
    rows = [[
        *np.sin(x * omega), *np.cos(x * omega), *np.sin(y * omega),
        *np.cos(y * omega)
    ] for y in range(2) for x in range(3)]
    np.testing.assert_allclose(table[0], rows, atol=1e-7)


@pytest.mark.parametrize("width", [4, 10])
def test_sincos2d_rejects_widths_without_four_quarters(width):
    with pytest.raises(ValueError, match=f"divisible by 4 .* not {width}"):
        vit.sincos2d((2, 2), width)


def test_class_token_comes_first_and_is_named_after_the_files():
    layer = tokens.ClassToken(name="cls")
    y = layer(tf.ones([2, 3, 4]))
    assert layer.cls.name == "cls:0"
    np.testing.assert_array_equal(y[:, 0], np.zeros([2, 4]))
    np.testing.assert_array_equal(y[:, 1:], np.ones([2, 3, 4]))

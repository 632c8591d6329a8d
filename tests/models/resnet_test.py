import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfvit.models import resnet
from tfvit.models import vit

# Golden case -> (case whose parameters it uses, stride).
UNITS = {
    "proj_stride2": ("proj_stride2", 2),
    "proj_stride2_odd": ("proj_stride2", 2),
    "proj_stride1": ("proj_stride2", 1),
    "identity": ("identity", 1),
}


def hybrid(patch_size, blocks, **kwargs):
    return vit.vit(num_classes=10,
                   image_size=64,
                   patch_size=patch_size,
                   width=24,
                   depth=2,
                   num_heads=3,
                   mlp_dim=48,
                   stem=resnet.resnet_stem(blocks=blocks, width_factor=0.5),
                   **kwargs)


HYBRIDS = {"hybrid_stem": (4, ()), "hybrid_r50": (1, (2, 1))}


def unit(shape, *, strides):
    """A model of one residual unit, so that its variables have full names."""
    inputs = tf_keras.Input(shape)
    return tf_keras.Model(
        inputs,
        resnet.ResidualUnit(32, strides=strides, name="unit")(inputs))


@pytest.fixture(scope="module")
def units(golden):
    return golden("resnet_units")


@pytest.mark.parametrize("name", UNITS)
def test_residual_units_match_the_original(name, units, assign):
    params, strides = UNITS[name]
    x = units[f"{name}/input"]
    model = unit(x.shape[1:], strides=strides)
    prefix = f"{params}/params/"
    assign(
        model.weights, {
            key.replace(prefix, prefix + "unit/"): array
            for key, array in units.items()
        }, prefix)
    np.testing.assert_allclose(model(x),
                               units[f"{name}/output"],
                               rtol=0,
                               atol=5e-6)


@pytest.mark.parametrize(
    "name, rtol",
    [
        ("weight_standardize", 0),
        # The deviation is near epsilon: a wrong one, or one inside the root, is
        # off by a factor.
        ("weight_standardize_small", 1e-3),
    ])
def test_standardized_kernels_match_the_original(name, rtol, units):
    result = resnet.standardize(units[f"{name}/kernel"])
    np.testing.assert_allclose(result,
                               units[f"{name}/result"],
                               rtol=rtol,
                               atol=5e-6)


@pytest.mark.parametrize("name, rtol", [
    ("groupnorm", 0),
    ("groupnorm_small", 1e-3),
])
def test_group_norm_matches_the_original(name, rtol, units):
    x = units[f"{name}/input"]
    norm = resnet.GroupNorm()
    norm(x)  # Creates the weights.
    norm.set_weights([units["groupnorm/scale"], units["groupnorm/bias"]])
    np.testing.assert_allclose(norm(x),
                               units[f"{name}/output"],
                               rtol=rtol,
                               atol=5e-6)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", HYBRIDS)
def test_hybrids_match_the_original(name, jit, golden, assign):
    arrays = golden(name)
    model = hybrid(*HYBRIDS[name])
    assign(model.weights, arrays)
    outputs = tf.function(model, jit_compile=jit)(arrays["images"])
    np.testing.assert_allclose(outputs,
                               arrays["outputs"],
                               rtol=0,
                               atol=5e-6 if jit else 2e-6)


@pytest.mark.parametrize("blocks, shape", [
    ((), (9, 13, 32)),
    ((1,), (9, 13, 128)),
    ((1, 1), (5, 7, 256)),
])
def test_sides_are_halved_and_rounded_up(blocks, shape):
    stem = resnet.resnet_stem(blocks=blocks, width_factor=0.5)
    assert stem(tf_keras.Input([34, 50, 3])).shape[1:] == shape


def test_residual_branch_starts_at_zero():
    x = np.random.default_rng(0).uniform(0, 1, [2, 4, 4, 128])
    model = unit([4, 4, 128], strides=1)
    np.testing.assert_array_equal(model(x), x.astype(np.float32))


@pytest.mark.parametrize("factor", [0, 0.25, 0.51])
def test_width_factor_must_give_whole_groups(factor):
    with pytest.raises(ValueError, match=f"width_factor={factor} makes"):
        resnet.resnet_stem(blocks=(), width_factor=factor)


def test_bfloat16_hybrid_gives_float32_logits_close_to_float32(
        golden, assign, bfloat16, assert_close_in_bfloat16):
    arrays = golden("hybrid_r50")
    model = hybrid(*HYBRIDS["hybrid_r50"])
    assign(model.weights, arrays)
    assert model.get_layer("conv_root").output.dtype == tf.bfloat16
    assert_close_in_bfloat16(model, arrays, precisions=8)


def test_kernels_are_standardized_before_the_cast_to_bfloat16(bfloat16):
    conv = resnet.StdConv(1, 1)
    conv(tf.zeros([1, 1, 1, 64], tf.bfloat16))  # Creates the kernel.
    # Cast first, this kernel is 1 everywhere, and its standard form 0.
    kernel = 1 + 1e-4 * np.random.default_rng(0).standard_normal([1, 1, 64, 1])
    conv.set_weights([kernel])
    eye = tf.reshape(tf.eye(64, dtype=tf.bfloat16), [64, 1, 1, 64])
    result = tf.cast(conv(eye), tf.float32)[:, 0, 0, 0]
    kernel = kernel.astype(np.float32).astype(np.float64).ravel()
    expected = (kernel - kernel.mean()) / (kernel.std() + 1e-5)
    np.testing.assert_allclose(result, expected, rtol=2**-8, atol=1e-3)


def test_group_norm_keeps_float32_statistics_in_bfloat16(bfloat16):
    rng = np.random.default_rng(0)
    x = tf.cast(256 + 4 * rng.standard_normal([2, 4, 4, 32]), tf.bfloat16)
    y = resnet.GroupNorm()(x)
    assert y.dtype == tf.bfloat16
    exact = x.numpy().astype(np.float64)
    exact -= exact.mean(axis=(1, 2), keepdims=True)  # One channel a group.
    exact /= exact.std(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(tf.cast(y, tf.float32),
                               exact,
                               rtol=2**-8,
                               atol=1e-6)


@pytest.mark.parametrize("size", [5, 8])
def test_pooling_and_its_gradient_are_those_of_tensorflow(size):
    x = tf.nn.relu(tf.random.stateless_normal([2, size, size + 1, 3], [0, 1]))
    results = []
    for pool in (resnet.MaxPool(), lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME")):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = pool(x)
            loss = tf.reduce_sum(y**2)
        # At the zeros of the ReLU before it no gradient goes on.
        results.append((y, tape.gradient(loss, x) * tf.cast(x > 0, x.dtype)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])

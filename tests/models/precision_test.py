"""In half precision, what the original keeps in float32 stays so.

Expected values are float64, computed from the same inputs and rounded once, by
numpy and ml_dtypes.
"""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests import two_towers
from tfvit.models import activations
from tfvit.models import layers
from tfvit.models import mixer
from tfvit.models import resnet
from tfvit.models import text_tower
from tfvit.models import tokens
from tfvit.models import vit

HALF = {"mixed_bfloat16": ml_dtypes.bfloat16, "mixed_float16": np.float16}
# A parameter that rounds to 1.
NEAR_ONE = {"mixed_bfloat16": 1 + 2**-9, "mixed_float16": 1 + 2**-12}
RNG = np.random.default_rng(0)


@pytest.fixture(params=HALF)
def policy(request):
    """The name of a policy; models made inside the test have it."""
    tf_keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    tf_keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def float16():
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    tf_keras.mixed_precision.set_global_policy("float32")


def half(shape, policy):
    """Random numbers as half precision has them: (tensor, float64)."""
    x = RNG.standard_normal(shape).astype(HALF[policy])
    return tf.constant(x), x.astype(np.float64)


def slope(x):
    """The derivative of tanh-GELU, float64."""
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("sizes", [
    [0, 0.5, 1, 3], [39, 41, 147, 149], [255, 256, 257, 300], [1e3, 6e4]])
def test_the_slope_of_gelu_is_a_number_wherever_float16_is(sizes, jit):
    values = np.array([*sizes, *np.negative(sizes)], np.float16)

    @tf.function(jit_compile=jit)
    def value_and_slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = activations.activate(x)
        return y, tape.gradient(y, x)

    y, gradient = value_and_slope(tf.constant(values))
    assert y.dtype == gradient.dtype == tf.float16
    np.testing.assert_allclose(gradient, slope(values.astype(np.float64)),
                               rtol=2**-10, atol=2**-16)
    np.testing.assert_array_equal(y[np.abs(values) > 10], np.where(
        values > 0, values, 0)[np.abs(values) > 10])


def small(name):
    """(model, an input, the variables before its GELUs)."""
    if name == "bert":
        model = two_towers.BERT(num_classes=3)
        example, kernels = tf.ones([2, 5], tf.int32), "mlp_block/mlp"
    else:
        make = vit.vit if name == "vit" else mixer.mixer
        sizes = {"num_heads": 2, "mlp_dim": 8} if name == "vit" else {
            "tokens_mlp_dim": 8, "channels_mlp_dim": 8}
        model = make(num_classes=3, image_size=8, patch_size=4, width=8,
                     depth=1, head_initializer="ones", **sizes)
        example, kernels = tf.random.stateless_normal([2, 8, 8, 3], [0, 0]), (
            "Dense_0")
    return model, example, [v for v in model.trainable_variables
                            if kernels in v.name and "bias" in v.name]


@pytest.mark.parametrize("name", ["vit", "mixer", "bert"])
def test_gradients_of_large_activations_are_finite(name, float16):
    model, example, biases = small(name)
    assert biases
    for bias in biases:
        bias.assign(np.resize([300.0, -300.0, 2_000.0], bias.shape))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(example, training=True)[:, 0])
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()


def test_layer_norm_does_not_round_its_parameters(policy):
    x, exact = half([8, 64], policy)
    norm = layers.LayerNorm()
    norm(x)
    scale = NEAR_ONE[policy] * np.ones(64, np.float32)
    bias = 0.1 * RNG.standard_normal(64).astype(np.float32)
    norm.set_weights([scale, bias])
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(
        exact.var(-1, keepdims=True) + 1e-6)
    _assert_rounded_once(norm(x), exact * scale + bias, policy)


def test_group_norm_does_not_round_its_parameters(policy):
    x, exact = half([2, 4, 4, 64], policy)
    norm = resnet.GroupNorm()
    norm(x)
    scale = NEAR_ONE[policy] * np.ones(64, np.float32)
    bias = 0.1 * RNG.standard_normal(64).astype(np.float32)
    norm.set_weights([scale, bias])
    y = exact.reshape(2, 16, 32, 2)
    y = (y - y.mean((1, 3), keepdims=True)) / np.sqrt(
        y.var((1, 3), keepdims=True) + 1e-6)
    _assert_rounded_once(norm(x), y.reshape(exact.shape) * scale + bias, policy)


def test_positions_and_the_class_token_are_added_before_rounding(policy):
    x, exact = half([3, 5, 16], policy)
    token = tokens.ClassToken(name="class_token")
    add = tokens.PositionEmbedding(name="posembed_input")
    assert add(token(x)).dtype == tf.as_dtype(HALF[policy])
    cls = RNG.standard_normal([1, 1, 16]).astype(np.float32)
    table = RNG.standard_normal([1, 6, 16]).astype(np.float32)
    token.set_weights([cls])
    add.set_weights([table])
    expected = np.concatenate([np.repeat(cls, 3, 0), exact], 1) + table
    _assert_rounded_once(add(token(x)), expected, policy)
    constant = tokens.PositionEmbedding(constant=table[:, :5])
    _assert_rounded_once(constant(x), exact + table[:, :5], policy)


def test_embeddings_of_tokens_are_added_before_rounding(policy):
    tokens = tf.constant([[3, 1, 0, 3]])
    for tower in (two_towers.BERT, two_towers.SMALL):
        model = tower(num_classes=3)
        embedder = model.layers[1]
        weights = [RNG.standard_normal(w.shape).astype(np.float32)
                   for w in embedder.get_weights()]
        embedder.set_weights(weights)
        by_name = {w.name.split("/embedding")[0].split("/")[-1]: v.astype(
            np.float64) for w, v in zip(embedder.weights, weights)}
        if tower is two_towers.BERT:
            exact = (by_name["embedders_token_ids"][tokens] +
                     by_name["embedders_position_ids"][:4] +
                     by_name["embedders_segment_ids"][0])
        else:
            tokens = tf.repeat(tokens, 2, axis=1)
            exact = by_name["Embed_0"][tokens] + by_name["pos_embedding:0"]
        _assert_rounded_once(embedder(tokens), exact, policy)


@pytest.mark.parametrize("name", ["token", "gap", "representation", "mixer",
                                  "text"])
def test_what_follows_the_encoder_is_float32(name, policy):
    if name == "mixer":
        model = mixer.mixer(
            num_classes=5, image_size=16, patch_size=4, width=16, depth=0,
            tokens_mlp_dim=4, channels_mlp_dim=4,
            head_initializer="lecun_normal")
    elif name == "text":
        model = text_tower.text_transformer(
            num_classes=5, vocab_size=9, max_len=4, width=16, depth=0,
            num_heads=2, mlp_dim=4)
    else:
        model = vit.vit(num_classes=5, image_size=16, patch_size=4, width=16,
                        depth=0, num_heads=2, mlp_dim=4,
                        classifier="token" if name == "token" else "gap",
                        representation_size=8 if name != "gap" else None,
                        head_initializer="lecun_normal")
    weights = {w.name.removesuffix(":0"): w for w in model.weights}
    for key, w in weights.items():
        if "norm" in key:
            w.assign_add(0.1 * RNG.standard_normal(w.shape))
    norm = next(layer for layer in model.layers if "norm" in layer.name)
    example = (tf.constant([[1, 2, 3, 4]]) if name == "text" else
               tf.random.stateless_normal([2, 16, 16, 3], [0, 0]))
    inside = tf_keras.Model(model.inputs, norm.input)(example)
    assert inside.dtype == tf.as_dtype(HALF[policy])
    x = inside.numpy().astype(np.float64)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
        x.var(-1, keepdims=True) + 1e-6)
    value = lambda key: weights[key].numpy().astype(np.float64)
    x = x * value(f"{norm.name}/scale") + value(f"{norm.name}/bias")
    x = {"token": x[:, 0], "text": x[:, -1]}.get(name, x.mean(1))
    if "pre_logits/kernel" in weights:
        x = np.tanh(x @ value("pre_logits/kernel") + value("pre_logits/bias"))
    expected = x @ value("head/kernel") + value("head/bias")
    outputs = model(example)
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=2e-6)


def _assert_rounded_once(y, exact, policy):
    """All are `exact`, rounded; a few, near ties, may be its neighbours."""
    assert y.dtype == tf.as_dtype(HALF[policy])
    y = y.numpy().astype(np.float64)
    rounded = exact.astype(np.float32).astype(HALF[policy]).astype(np.float64)
    np.testing.assert_allclose(y, rounded, rtol=2**-7, atol=1e-6)
    assert np.mean(y == rounded) > 0.995

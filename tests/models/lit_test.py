"""LiT against the JAX original, and BERT against tf-models-official."""

import functools

import numpy as np
from official.nlp.modeling import networks
import pytest
import tensorflow as tf
import tf_keras

from tests import two_towers
from tfvit.models import bert
from tfvit.models import layers
from tfvit.models import lit
from tfvit.models import mixer
from tfvit.models import text_tower

MODELS = {
    "lit_text_transformer": (two_towers.SMALL, (None, 24)),
    "lit_bert": (two_towers.BERT, 20),
    "lit_bert_no_image_head": (two_towers.BERT, (None, 24)),
}


def build(name="lit_text_transformer", **kwargs):
    tower, out_dim = MODELS[name]
    return lit.lit(**{"image": two_towers.IMAGE, "text": tower,
                      "out_dim": out_dim, **kwargs})


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_names_and_temperature_match_the_original(
        name, golden, assign):
    arrays, model = golden(name), build(name)
    assign(model.weights, arrays)
    for embed, inputs, expected in [
        (model.embed_images, "images", "zimg"),
        (model.embed_texts, "tokens", "ztxt"),
    ]:
        outputs = tf.function(embed)(arrays[inputs])
        np.testing.assert_allclose(outputs, arrays[expected], rtol=0, atol=2e-6)
    assert model.temperature().numpy() == arrays["t"]


@pytest.mark.parametrize("name", ["lit_text_transformer", "lit_bert"])
def test_xla_embeds_texts_as_the_original(name, golden, assign):
    arrays, model = golden(name), build(name)
    assign(model.weights, arrays)
    embed = tf.function(model.embed_texts, jit_compile=True)
    np.testing.assert_allclose(embed(arrays["tokens"]), arrays["ztxt"], rtol=0,
                               atol=5e-6)


def test_the_variables_of_replicas_have_the_published_names(golden):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = build("lit_bert")
    assert {weight.name.removesuffix(":0") for weight in model.weights} == {
        weight.name.removesuffix(":0") for weight in build("lit_bert").weights}


def test_images_may_be_embedded_by_a_mixer():
    tower = functools.partial(mixer.mixer, image_size=16, patch_size=8, width=8,
                              depth=1, tokens_mlp_dim=4, channels_mlp_dim=16)
    model = build(image=tower, out_dim=6)
    z = model.embed_images(np.random.default_rng(0).uniform(
        -1, 1, [2, 16, 16, 3]).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    assert "img/stem/kernel:0" in {weight.name for weight in model.weights}


@pytest.mark.parametrize("kwargs, message", [
    ({"out_dim": (None, 20)}, r"out_dim=\(None, 20\).*\(24,\).*\(20,\)"),
    ({"out_dim": (24, None)}, r"\(24,\).*\(16,\)"),
    ({"image": functools.partial(two_towers.IMAGE, classifier="unpooled")},
     r"\(16, 24\).*one vector"),
    ({"temperature_init": 0}, "temperature_init=0 must be above 0"),
])
def test_towers_that_do_not_meet_are_an_error(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_temperature_and_bias_start_as_told():
    model = build(temperature_init=7.0, bias_init=-2.71)
    np.testing.assert_allclose(model.temperature(), 7.0, rtol=1e-6)
    np.testing.assert_allclose(model.bias(), -2.71, rtol=1e-6)
    assert {"t:0", "b:0"} < {weight.name for weight in model.weights}
    assert build().bias() == 0


def test_padding_changes_nothing_in_bert(golden, assign):
    arrays, model = golden("lit_bert"), build("lit_bert")
    assign(model.weights, arrays)
    row = arrays["tokens"][:1]  # Three of its tokens are padding.
    np.testing.assert_allclose(model.embed_texts(row[:, :5]),
                               arrays["ztxt"][:1], rtol=0, atol=2e-6)


def test_bert_rejects_texts_beyond_its_positions():
    with pytest.raises(ValueError, match="33 tokens.*max_positions=32"):
        two_towers.BERT(num_classes=None)(tf.ones([1, 33], tf.int32))
    with pytest.raises(ValueError, match="width=16 .*num_heads=3"):
        bert.bert(num_classes=None, **{**two_towers.SIZES, "num_heads": 3})


def test_bert_computes_what_tf_models_official_computes():
    ours = two_towers.BERT(num_classes=None)
    theirs = networks.BertEncoderV2(
        vocab_size=50, hidden_size=16, num_layers=2, num_attention_heads=2,
        max_sequence_length=32, inner_dim=32, type_vocab_size=2,
        inner_activation=lambda x: tf.nn.gelu(x, approximate=True))
    words = np.random.default_rng(0).integers(1, 50, [3, 8])
    words[0, 5:] = 0
    inputs = {"input_word_ids": words, "input_mask": np.int32(words != 0),
              "input_type_ids": np.zeros_like(words)}
    theirs(inputs)  # Creates its variables.
    rng = np.random.default_rng(1)
    for variable in ours.weights:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    mine = {w.name.removesuffix(":0"): w.numpy() for w in ours.weights}
    for variable in theirs.weights:
        if "pooler" not in variable.name:
            array = mine[_name_here(variable.name)]
            variable.assign(array.reshape(variable.shape))
    expected = theirs(inputs)["sequence_output"][:, 0]
    np.testing.assert_allclose(ours(words), expected, atol=1e-5)


def _name_here(name):
    """Our name of a variable of tf-models-official's BERT."""
    name = name.removeprefix("bert_encoder_v2/").removesuffix(":0")
    for theirs, ours in [
        ("word_embeddings/embeddings",
         "embedder/embedders_token_ids/embedding"),
        ("position_embedding/embeddings",
         "embedder/embedders_position_ids/embedding"),
        ("type_embeddings/embeddings",
         "embedder/embedders_segment_ids/embedding"),
        ("embeddings/layer_norm", "layer_norm"),
        ("transformer/layer_", "encoder_block/layer_sequence/layers_"),
        ("self_attention/attention_output", "attention_block/dense_layer"),
        ("self_attention_layer_norm", "attention_block/layer_norm"),
        ("self_attention/", "attention_block/attention_layer/"),
        ("intermediate", "mlp_block/mlp/dense_layer"),
        ("output_layer_norm", "mlp_block/layer_norm"),
        ("/output/", "/mlp_block/dense_layer/"),
        ("gamma", "scale"),
        ("beta", "bias"),
    ]:
        name = name.replace(theirs, ours)
    return f"BertEncoder_0/{name}"


@pytest.mark.parametrize("tower", [two_towers.BERT, two_towers.SMALL])
def test_gradients_of_embeddings_are_dense_and_right(tower):
    model = tower(num_classes=3)
    tokens = tf.constant([[5, 7, 5, 1, 2, 3, 4, 4]])
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(tokens))
    table = next(i for i, v in enumerate(variables)
                 if v.shape == [50, 16])
    gradient = tape.gradient(loss, variables)[table]
    assert isinstance(gradient, tf.Tensor)
    used = np.flatnonzero(np.abs(gradient).sum(axis=1))
    assert set(used) == {1, 2, 3, 4, 5, 7}
    # Against a difference quotient, for a token that comes twice.
    step = np.zeros([50, 16], np.float32)
    step[5] = 1e-3 * np.sign(gradient[5])
    changed = []
    for sign in (1, -1):
        variables[table].assign_add(sign * step)
        changed.append(tf.reduce_sum(model(tokens)).numpy())
        variables[table].assign_sub(sign * step)
    np.testing.assert_allclose((changed[0] - changed[1]) / 2e-3,
                               np.abs(gradient[5]).sum(), rtol=2e-2)


def test_gradients_of_frequent_tokens_add_up_in_bfloat16():
    table = tf.Variable(tf.zeros([3, 2], tf.bfloat16))
    with tf.GradientTape() as tape:
        rows = text_tower.lookup(table, tf.ones([64, 64], tf.int32))
    np.testing.assert_array_equal(
        tf.cast(tape.gradient(rows, table), tf.float32),
        [[0, 0], [4096, 4096], [0, 0]])


@pytest.mark.parametrize("tower", [two_towers.BERT, two_towers.SMALL])
def test_dropout_in_a_text_tower_follows_from_the_seed(tower):
    model = tower(num_classes=3, dropout_rate=0.5)
    tokens = tf.ones([4, 8], tf.int32)

    def run(number):
        with layers.seed_scope(tf.constant([0, number])):
            return model(tokens, training=True).numpy()

    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()
    salts = [layer.salt for layer in model.submodules
             if isinstance(layer, layers.Dropout) and layer.rate]
    assert len(set(salts)) == len(salts) > 4


def test_bfloat16_gives_float32_embeddings_close_to_float32(
        golden, assign, bfloat16):
    arrays, model = golden("lit_bert"), build("lit_bert")
    assign(model.weights, arrays)
    z = model.embed_texts(arrays["tokens"])
    assert z.dtype == tf.float32
    np.testing.assert_allclose(z, arrays["ztxt"], rtol=0, atol=4 * 2**-8)


def test_initial_values_are_the_published_ones():
    tf_keras.utils.set_random_seed(0)
    model = build("lit_bert")
    values = {w.name.removesuffix(":0"): w.numpy() for w in model.weights}
    small = {w.name.removesuffix(":0"): w.numpy()
             for w in build(out_dim=(None, 24)).weights}
    for array, std in [
        (values["txt/head/kernel"], 16**-0.5),
        (values["img/head/kernel"], 24**-0.5),
        # A normal of 0.02, cut off at two standard deviations.
        (values["txt/BertEncoder_0/embedder/embedders_token_ids/embedding"],
         0.02 * 0.8796),
        (small["txt/Embed_0/embedding"], 16**-0.5),
        (small["txt/pos_embedding"], 16**-0.5),
    ]:
        np.testing.assert_allclose(array.std(), std,
                                   rtol=4 / np.sqrt(2 * array.size))

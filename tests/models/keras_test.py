"""Our models as Keras knows models: saved, cloned, trained, taken apart."""

import functools

import numpy as np
import pytest
import tf_keras

from tfvit.models import bert
from tfvit.models import lit
from tfvit.models import mixer
from tfvit.models import resnet
from tfvit.models import text_tower
from tfvit.models import vit

SIZES = {"num_classes": 3, "image_size": 16, "patch_size": 8, "width": 8,
         "depth": 2, "head_initializer": "lecun_normal"}
VIT = functools.partial(vit.vit, **SIZES, num_heads=2, mlp_dim=16)
TEXT = {"vocab_size": 9, "width": 8, "depth": 1, "num_heads": 2, "mlp_dim": 8}
IMAGES = np.random.default_rng(0).normal(size=(6, 16, 16, 3)).astype("f")
TOKENS = np.array([[1, 2, 3, 0], [4, 3, 2, 1]])
MODELS = {
    "token": lambda: VIT(representation_size=4, dropout_rate=0.1,
                         stochastic_depth=0.1, head_bias=-1.0),
    "gap": lambda: VIT(classifier="gap", posemb="sincos2d"),
    "unpooled": lambda: VIT(classifier="token_unpooled", remat=True),
    "hybrid": lambda: VIT(patch_size=1,
                          stem=resnet.resnet_stem(blocks=(1,))),
    "mixer": lambda: mixer.mixer(**SIZES, tokens_mlp_dim=8, channels_mlp_dim=16,
                                 stochastic_depth=0.1),
    "bert": lambda: bert.bert(num_classes=4, **TEXT),
    "text": lambda: text_tower.text_transformer(num_classes=4, max_len=4,
                                                **TEXT),
    "lit": lambda: lit.lit(
        image=functools.partial(VIT.func, **{
            k: v for k, v in VIT.keywords.items()
            if k not in ("num_classes", "head_initializer")}),
        text=functools.partial(bert.bert, **TEXT), out_dim=4, bias_init=-3.0),
}
INPUTS = {"bert": TOKENS, "text": TOKENS, "lit": (IMAGES, TOKENS)}


def file(kind):

    def saved(model, folder):
        model.save(folder / f"model.{kind}")
        return tf_keras.models.load_model(folder / f"model.{kind}")

    return saved


def clone(model, folder):
    del folder
    again = tf_keras.models.clone_model(model)
    again.set_weights(model.get_weights())
    return again


def json(model, folder):
    del folder
    again = tf_keras.models.model_from_json(model.to_json())
    again.set_weights(model.get_weights())
    return again


WAYS = {"keras": file("keras"), "h5": file("h5"), "clone": clone, "json": json}


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_as_it_was(name, tmp_path):
    model = MODELS[name]()
    inputs = INPUTS.get(name, IMAGES)
    outputs = model(inputs).numpy()
    assert np.ptp(outputs) > 0
    # Keras has the other ways for functional models alone.
    for way in ["keras"] if name == "lit" else WAYS:
        again = WAYS[way](model, tmp_path)
        np.testing.assert_array_equal(again(inputs), outputs, way)
        assert ([v.name for v in again.weights] ==
                [v.name for v in model.weights]), way


def test_what_is_saved_keeps_dropout_and_precision(bfloat16, tmp_path):
    model = MODELS["token"]()
    again = WAYS["keras"](model, tmp_path)
    settings = [[(layer.compute_dtype, getattr(layer, "rate", None))
                 for layer in m.submodules
                 if isinstance(layer, tf_keras.layers.Layer)]
                for m in (model, again)]
    assert settings[0] == settings[1]
    assert ("bfloat16", 0.1) in settings[0]
    assert again(IMAGES).dtype == "float32"


def test_lit_gives_the_logits_of_its_embeddings():
    model = MODELS["lit"]()
    images, tokens = model.embed_images(IMAGES), model.embed_texts(TOKENS)
    expected = 10 * images.numpy() @ tokens.numpy().T - 3
    np.testing.assert_allclose(model((IMAGES, TOKENS)), expected, rtol=1e-5)


def test_keras_trains_evaluates_and_freezes():
    model = MODELS["token"]()
    for layer in model.layers[:-1]:
        layer.trainable = False
    model.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(
        from_logits=True), metrics=["accuracy"])
    before = {v.name: v.numpy() for v in model.weights}
    labels = np.arange(len(IMAGES)) % 3
    history = model.fit(IMAGES, labels, epochs=2, batch_size=3, verbose=0)
    assert len(history.history["loss"]) == 2
    changed = {v.name for v in model.weights
               if np.any(v.numpy() != before[v.name])}
    assert changed == {"head/kernel:0", "head/bias:0"}
    loss, accuracy = model.evaluate(IMAGES, labels, verbose=0)
    logits = model.predict(IMAGES, verbose=0)
    assert accuracy == pytest.approx(np.mean(logits.argmax(-1) == labels))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert loss == pytest.approx(-log_p[range(6), labels].mean(), rel=1e-5)


def test_a_layer_gives_features_by_its_name():
    model = MODELS["token"]()
    part = tf_keras.Model(
        model.input, model.get_layer("Transformer/encoder_norm").output)
    features = part(IMAGES)
    assert features.shape == (6, 5, 8)
    pre = model.get_layer("pre_logits")(features[:, 0])
    logits = model.get_layer("head")(np.tanh(pre))
    np.testing.assert_allclose(logits, model(IMAGES), atol=1e-6)

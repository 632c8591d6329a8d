"""Every architecture in gin/models is the one that was published."""

import gzip
import json
import math
import pathlib

import gin
import pytest
import tensorflow as tf
import tf_keras

from tfvit.weights import names

ROOT = pathlib.Path(__file__).parents[2]

# File -> (parameters at 1000 classes and 224 px, name in the inventory of the
# JAX original). Numbers with such a name are the original's; the others are
# sums over the layers' shapes, done by hand.
MODELS = {
    "ti16": (5_717_416, "ViT-Ti_16"),
    "s16": (22_050_664, "ViT-S_16"),
    "s32": (22_878_952, "ViT-S_32"),
    "b8": (86_576_872, "ViT-B_8"),
    "b16": (86_567_656, "ViT-B_16"),
    "b32": (88_224_232, "ViT-B_32"),
    "l16": (304_326_632, "ViT-L_16"),
    "l32": (306_535_400, "ViT-L_32"),
    "h14": (632_045_800, "ViT-H_14"),
    "s16_gap": (22_049_896, "ViT-S_16-gap-norep"),
    "s32_gap": (22_878_184, "ViT-S_32-gap-norep"),
    "b16_gap": (86_566_120, "ViT-B_16-gap-norep"),
    "b32_gap": (88_222_696, "ViT-B_32-gap-norep"),
    "r_ti16": (6_337_704, "R+ViT-Ti_16"),
    "r26_s32": (36_431_912, "R26+ViT-S_32"),
    "r26_b32": (101_383_976, "R26+ViT-B_32"),
    "r50_b16": (98_659_112, "R50+ViT-B_16"),
    "r50_l32": (328_994_856, "R50+ViT-L_32"),
    "mixer_s8": (20_646_504, None),
    "mixer_s16": (18_528_264, None),
    "mixer_s32": (19_104_624, None),
    "mixer_b16": (59_880_472, "Mixer-B_16"),
    "mixer_b32": (60_293_428, "Mixer-B_32"),
    "mixer_l16": (208_196_168, "Mixer-L_16"),
    "lit_b16b": (195_871_489, "LiT-B16B"),
    "lit_b16b_2": (195_280_897, "LiT-B16B_2"),
    "lit_l16l": (638_443_521, "LiT-L16L"),
    "lit_l16s": (331_140_353, "LiT-L16S"),
    "lit_l16ti": (311_913_089, "LiT-L16Ti"),
    "tiny": (37_144, None),
}

# What the original trains with dropout 0.1; everything else has none.
DROPOUT = {"l16", "h14", "r50_b16", "r50_l32"}


@pytest.fixture(scope="module")
def inventory():
    """{model: {name in the released spelling: shape}}."""
    path = ROOT / "tests" / "goldens" / "param_inventory.json.gz"
    models = json.loads(gzip.decompress(path.read_bytes()))
    del models["_doc"]
    return {
        model: {
            names.canonical(name): shape for name, shape in shapes.items()
        } for model, shapes in models.items()
    }


@pytest.fixture
def graph():
    """A graph where building a model allocates nothing."""
    # Keras would initialise every variable to find out a constant.
    tf_keras.backend.manual_variable_initialization(True)
    with tf.Graph().as_default():
        yield
    tf_keras.backend.manual_variable_initialization(False)


def parse(name):
    gin.add_config_file_search_path(str(ROOT))
    gin.parse_config_files_and_bindings(
        [f"gin/models/{name}.gin"], ["NUM_CLASSES = 1000", "IMAGE_SIZE = 224"])
    model = gin.query_parameter("experiment.Experiment.model")
    return model.scoped_configurable_fn


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] * name.startswith("lit_l16"))
    for name in MODELS])
def test_parameters_are_those_of_the_published_model(name, inventory, graph):
    # Halves the time; the models hold no tensor-dependent Python.
    model = tf.autograph.experimental.do_not_convert(parse(name))()
    shapes = {names.of(w): w.shape.as_list() for w in model.weights}
    parameters, original = MODELS[name]
    assert sum(map(math.prod, shapes.values())) == parameters
    if original:
        assert shapes == inventory[original]


@pytest.mark.parametrize("name", MODELS)
def test_only_what_the_original_trains_with_dropout_has_it(name):
    parse(name)
    try:
        rate = gin.query_parameter("vit.vit.dropout_rate")
    except ValueError:  # Not bound, so it is the default.
        rate = 0.0
    assert rate == (0.1 if name in DROPOUT else 0.0)


def test_the_list_is_complete(inventory):
    files = {path.stem for path in (ROOT / "gin" / "models").glob("*.gin")}
    assert files == set(MODELS)
    originals = {original for _, original in MODELS.values() if original}
    assert originals == {
        name for name in inventory if not name.startswith("testing")
    }

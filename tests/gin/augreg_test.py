"""gin/augreg.gin builds the architecture that the name of a file asks for."""

import gin
import pytest

from tfvit import config

FILE = "{}-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"

# Architecture -> patch size, width, depth and ResNet blocks in the JAX
# original (vit_jax/configs/models.py).
ARCHITECTURES = {
    "Ti_16": (16, 192, 12, None),
    "S_32": (32, 384, 12, None),
    "S_16": (16, 384, 12, None),
    "B_32": (32, 768, 12, None),
    "B_16": (16, 768, 12, None),
    "B_8": (8, 768, 12, None),
    "L_16": (16, 1024, 24, None),
    "R_Ti_16": (8, 192, 12, ()),
    "R26_S_32": (1, 384, 12, (2, 2, 2, 2)),
    "R50_L_32": (1, 1024, 24, (3, 4, 6, 3)),
}


def parse(name, *bindings, files=("gin/augreg.gin",)):
    return config.parse(files, [f"AUGREG = {name!r}", *bindings])


def bound(parameter):
    try:
        return gin.query_parameter(parameter)
    except ValueError:  # Not bound.
        return None


@pytest.mark.parametrize("form", ["{}", FILE, FILE + "--cifar100-steps_2k"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_architecture_follows_from_the_name(name, form):
    parse(form.format(name))
    found = (*(gin.query_parameter(f"vit.vit.{parameter}")
               for parameter in ("patch_size", "width", "depth")),
             bound("resnet.resnet_stem.blocks"))
    assert found == ARCHITECTURES[name]


def test_a_name_may_be_written_as_in_the_paper():
    assert parse("R26+S/32").replace("R26+S/32", "R26_S_32") == parse("R26_S_32")


def test_fine_tuning_is_without_dropout_unless_the_user_wants_it():
    parse("L_16")
    assert gin.query_parameter("vit.vit.dropout_rate") == 0.0
    parse("L_16", "vit.vit.dropout_rate = 0.2")
    assert gin.query_parameter("vit.vit.dropout_rate") == 0.2


def test_the_saved_config_is_complete_by_itself(tmp_path):
    text = parse("R26_S_32")
    (tmp_path / "config.gin").write_text(text)
    assert config.parse([str(tmp_path / "config.gin")]) == text


@pytest.mark.parametrize("data", ["oxford_iiit_pet", "digits"])
def test_the_recipe_takes_any_dataset(data):
    recipe = "gin/recipes/augreg.gin"
    assert (parse("Ti_16", files=[recipe, f"gin/data/{data}.gin"]) ==
            parse("Ti_16", files=[f"gin/data/{data}.gin", recipe]))


def test_a_model_that_the_run_names_is_kept():
    parse("B_16", files=["gin/augreg.gin", "gin/models/s32.gin"])
    assert gin.query_parameter("vit.vit.width") == 384


@pytest.mark.parametrize("name", ["X_16", "", 16])
def test_an_unknown_architecture_is_refused(name):
    with pytest.raises(ValueError, match="AUGREG"):
        parse(name)

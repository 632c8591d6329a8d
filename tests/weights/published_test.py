"""The shapes of a published file tell its gin file and settings."""

import contextlib
import gzip
import json
import pathlib
import types

import gin
import pytest

from tfvit import config
from tfvit.weights import fetch
from tfvit.weights import names
from tfvit.weights import npz
from tfvit.weights import published

ROOT = pathlib.Path(__file__).parents[2]
MODELS = {
    "ViT-Ti_16": "ti16", "ViT-S_16": "s16", "ViT-S_32": "s32",
    "ViT-B_8": "b8", "ViT-B_16": "b16", "ViT-B_32": "b32", "ViT-L_16": "l16",
    "ViT-L_32": "l32", "ViT-H_14": "h14", "R+ViT-Ti_16": "r_ti16",
    "R26+ViT-S_32": "r26_s32", "R26+ViT-B_32": "r26_b32",
    "R50+ViT-B_16": "r50_b16", "R50+ViT-L_32": "r50_l32",
    "Mixer-B_16": "mixer_b16", "Mixer-B_32": "mixer_b32",
    "Mixer-L_16": "mixer_l16", "ViT-B_32-gap-norep": "b32",
}


@pytest.fixture(scope="module")
def inventory():
    path = ROOT / "tests" / "goldens" / "param_inventory.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.mark.parametrize("name", MODELS)
def test_an_architecture_is_recognised(name, inventory):
    shapes = {names.canonical(k): tuple(v) for k, v in inventory[name].items()}
    model, settings = published.describe(shapes)
    assert model == MODELS[name]
    assert (ROOT / "gin" / "models" / f"{model}.gin").exists()
    assert settings["NUM_CLASSES"] == 1000
    assert settings["IMAGE_SIZE"] == 224
    assert settings.get("vit.vit.classifier") == (
        "gap" if "gap" in name else None)


@pytest.mark.parametrize("name, stem, out_dim, tokenizer", [
    ("B16B", "lit_b16b", (768, 768), "wordpiece"),
    ("B16B_2", "lit_b16b", (None, 768), "wordpiece"),
    ("L16L", "lit_l16l", (None, 1024), "wordpiece"),
    ("L16S", "lit_l16s", (None, 1024), "sentencepiece"),
    ("L16Ti", "lit_l16ti", (None, 1024), "sentencepiece"),
])
def test_a_lit_is_recognised(name, stem, out_dim, tokenizer, inventory,
                             monkeypatch):
    shapes = {f"params/{k}": tuple(v)
              for k, v in inventory[f"LiT-{name}"].items()}
    monkeypatch.setattr(fetch, "resolve", lambda path: path)
    monkeypatch.setattr(npz, "load", lambda path: contextlib.nullcontext(
        types.SimpleNamespace(shapes=shapes)))
    files, bindings = published.gin_of(f"lit/LiT-{name}")
    assert files == [f"gin/models/{stem}.gin", "gin/recipes/published_lit.gin"]
    config.parse(files, bindings)

    def bound(name):
        return gin.query_parameter(name)

    assert bound("lit.lit.out_dim") == out_dim
    assert bound("vit.vit.image_size") == 224
    assert bound("load.from_npz.path") == f"lit/LiT-{name}"
    kind, suffix = {"wordpiece": ("vocab", "txt"),
                    "sentencepiece": ("model", "model")}[tokenizer]
    assert bound(f"tokenizers.{tokenizer}.{kind}") == f"lit/LiT-{name}.{suffix}"
    assert bound(f"tokenizers.{tokenizer}.max_len") == 16
    assert tokenizer in str(bound("TOKENIZER/gin.macro.value"))


def test_another_lit_is_an_error():
    with pytest.raises(ValueError, match="no LiT in gin/models"):
        published.describe_lit({"txt/Embed_0/embedding": (50, 16)})


def test_what_no_gin_file_builds_is_an_error():
    with pytest.raises(ValueError, match="no model in gin/models"):
        published.describe({"embedding/kernel": (16, 16, 3, 100)})

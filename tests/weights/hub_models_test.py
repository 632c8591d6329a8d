"""Models of timm and transformers give here what they give there.

What they give was recorded (tests/torch_judges.py); the slow tests ask them.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests import torch_judges
from tfvit import experiment
from tfvit.inference import finished
from tfvit.weights import hub_models
from tfvit.weights import load
from tfvit.weights import names
from tfvit.weights import published
from tfvit.weights import tensor_files
from tfvit.weights import torch_export

pytest.importorskip("safetensors", reason="needs safetensors")
TWO = ("hf_clip", "hf_siglip")
FAST = ("timm_vit", "timm_registers", "timm_mixer", "timm_hybrid", "hf_vit",
        "hf_clip", "hf_siglip")
NAMES = [*torch_judges.TIMM, *torch_judges.HF]


def some_slow(rows):
    """Rows of which those that are none of FAST are slow."""
    return [pytest.param(*row, marks=[pytest.mark.slow] * (row[0] not in FAST))
            for row in rows]


needs_torch = pytest.mark.skipif(
    not torch_judges.LIVE, reason="needs torch, timm and transformers")


@pytest.fixture(scope="session")
def recorded():
    with np.load(torch_judges.RECORDED) as file:
        return dict(file)


@pytest.fixture
def folder(recorded, tmp_path):
    """folder("hf_vit") -> path of that model."""

    def write(name, **changes):
        about = json.loads(str(recorded[f"{name}/about"]))
        torch_judges.save(tmp_path, about["shapes"],
                          {**about["config"], **changes})
        if name == "hf_clip":
            vocab, merges = torch_judges.byte_pairs()
            (tmp_path / "vocab.json").write_text(json.dumps(vocab))
            (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "".join(
                f"{a} {b}\n" for a, b in merges))
        (tmp_path / "spiece.model").write_bytes(b"")  # Read by its tokenizer.
        return str(tmp_path)

    return write


def build(path, *overrides):
    files, bindings = published.gin_of(path, overrides)
    exp, _ = experiment.from_config(files, [*bindings, *overrides])
    model = exp.model()
    exp.init(model)
    return model


def assert_same(ours, theirs):
    """Within 2e-6 of the size, or of 1."""
    limit = 2e-6 * max(1.0, np.abs(theirs).max())
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=limit)


def results(model, name):
    """{what: array} as torch_judges.outputs has them."""
    if name in TWO:
        inputs = torch_judges.images(), torch_judges.tokens(name)
        return {"images": model.embed_images(inputs[0]),
                "texts": model.embed_texts(inputs[1]), "logits": model(inputs)}
    return {"logits": model(torch_judges.images(model.input_shape[1:3]))}


@pytest.mark.parametrize("name", some_slow((name,) for name in NAMES))
def test_a_model_gives_what_it_gave_there(name, recorded, folder):
    for what, value in results(build(folder(name)), name).items():
        assert_same(value, recorded[f"{name}/{what}"])


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_libraries_themselves_agree(name, tmp_path):
    torch_judges.make(name, tmp_path)
    for file in ("spiece.model", "vocab.json", "merges.txt"):
        (tmp_path / file).write_text("")
    model = build(str(tmp_path))
    theirs = torch_judges.outputs(name, tmp_path)
    for what, value in results(model, name).items():
        assert_same(value, theirs[what])


BACK = some_slow((name, "hf" if name == "hf_vit" else "timm") for name in (
    "timm_vit", "timm_gap", "timm_oblong", "timm_registers", "timm_map",
    "timm_hybrid", "timm_fc_norm", "hf_vit"))


def write_back(model, layout, path):
    ops = [("decode", {}), ("resize", {"method": "bilinear",
                                       "antialias": True}),
           ("value_range", {"low": -1.0, "high": 1.0})]
    files = torch_export.files(model, layout=layout, class_names=[], ops=ops)
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return str(path)


@pytest.mark.parametrize("name, layout", BACK)
def test_what_came_in_goes_out_bit_for_bit(name, layout, folder, tmp_path,
                                           recorded):
    (tmp_path / "in").mkdir()
    model = build(folder(name))
    back = write_back(model, layout, tmp_path / "back")
    about = json.loads(str(recorded[f"{name}/about"]))
    expected = torch_judges.weights(about["shapes"])
    found = dict(tensor_files.load(f"{back}/model.safetensors"))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    again = results(build(back), name)
    assert_same(again["logits"], recorded[f"{name}/logits"])


@pytest.mark.slow
def test_two_towers_go_out_as_they_came_in(folder, tmp_path, recorded):
    trained = finished.load(folder("hf_clip"))
    record = trained.record()
    files = torch_export.files(
        trained.model, layout="hf", class_names=[], tokenizer=trained.tokenizer,
        ops=list(zip(record["preprocessing"], record["settings"])))
    about = json.loads(str(recorded["hf_clip/about"]))
    for part in ("vision_config", "text_config"):
        written = json.loads(files["config.json"])[part]
        expected = about["config"][part]
        # The recorded config has no tokenizer of that size, and defaults.
        assert {k: v for k, v in written.items() if expected.get(k) != v and
                not k.endswith(("token_id", "projection_dim"))} == {}
    (tmp_path / "back").mkdir()
    for name, content in files.items():
        (tmp_path / "back" / name).write_bytes(content)
    found = dict(tensor_files.load(tmp_path / "back" / "model.safetensors"))
    expected = torch_judges.weights(about["shapes"])
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    again = finished.load(str(tmp_path / "back"))
    assert again.record()["settings"] == record["settings"]


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("layout", torch_export.LAYOUTS)
def test_both_libraries_load_what_is_written(layout, tmp_path, tiny):
    import timm
    import torch
    import transformers
    model = tiny(num_classes=10)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    path = write_back(model, layout, tmp_path / "back")
    size = model.input_shape[1:3]
    theirs = (timm.create_model(f"local-dir:{path}", pretrained=True)
              if layout == "timm" else
              transformers.AutoModelForImageClassification.from_pretrained(path))
    with torch.no_grad():
        logits = theirs.eval()(torch.from_numpy(
            torch_judges.images(size).transpose(0, 3, 1, 2).copy()))
    assert_same(model(torch_judges.images(size)),
                getattr(logits, "logits", logits).numpy())


@pytest.mark.parametrize("change, layout, words", [
    ({"representation_size": 8}, "timm", "pre_logits before a head"),
    ({"classifier": "gap"}, "hf", "classifier='gap'. --layout=timm has"),
    ({"norm_epsilon": 1e-12}, "timm", "norm_epsilon=1e-12 but 1e-06"),
    ({"layer_scale": 1.0}, "hf", "layer scale"),
])
def test_a_layout_says_what_it_has_not(change, layout, words, tiny, tmp_path):
    with pytest.raises(ValueError, match=words):
        write_back(tiny(**change), layout, tmp_path / "back")


def test_a_run_starts_from_it_at_another_size(folder, tiny):
    model = build(folder("timm_vit"), "IMAGE_SIZE = 48")
    assert model.input_shape[1:3] == (48, 48)
    classes = model.get_layer("head").kernel.shape[-1]
    assert classes == 10


def test_one_tower_classifies_alone(folder):
    model = build(folder("hf_clip") + ":img")
    assert model.output_shape == (None, 16)


def test_classes_have_their_names(folder, recorded):
    names_ = [f"kind {i}" for i in range(10)]
    path = folder("hf_vit", id2label={str(i): n for i, n in enumerate(names_)})
    assert hub_models.class_names(path, 10) == names_
    assert hub_models.class_names(folder("hf_vit"), 10) is None  # LABEL_0, ...
    assert hub_models.class_names(folder("timm_vit", label_names=names_),
                                  10) == names_
    assert hub_models.class_names(path, 9) is None


@pytest.mark.slow
def test_clip_names_what_is_in_an_image(folder):
    functions = finished.signatures(folder("hf_clip"))
    classify = finished.zeroshot(functions, ["cat", "photo"], prompts=["a {}"])
    data = tf.io.encode_png(torch_judges.photo())[tf.newaxis]
    found = classify(image_bytes=data)["probabilities"].numpy()
    assert found.shape == (1, 2) and abs(found.sum() - 1) < 1e-5


TIMM = {"architecture": "vit_tiny_patch16_224", "model_args": {}}


@pytest.mark.parametrize("config, more, words", [
    (TIMM, {"dist_token": [1, 1, 24]}, "DeiT's distillation token"),
    ({**TIMM, "architecture": "vit_base_patch16_rpn_224"}, {}, "none that is"),
    (TIMM, {"blocks.0.mlp.fc1_g.weight": [48, 24]}, "SwiGLU"),
    (TIMM, {"rope.freqs": [3]}, "rotary position embeddings"),
    (TIMM, {"extra": [3]}, "it has extra, which no model here has"),
    ({**TIMM, "architecture": "eva02_tiny"}, {}, "'eva02_tiny' is none that"),
    ({**TIMM, "model_args": {"norm_layer": "x"}}, {}, "model_args.norm_layer"),
    ({**TIMM, "global_pool": "avg"}, {}, "global_pool='avg'"),
    ({"model_type": "dinov3_vit"}, {}, "model_type 'dinov3_vit' is none"),
    ({"model_type": "vit"}, {}, "no blocks of a Transformer"),
    ({**TIMM, "model_args": [1]}, {}, "do not go together"),
    ({**TIMM, "pretrained_cfg": {"std": [0, 0, 0]}}, {}, "and deviation"),
    ({**TIMM, "pretrained_cfg": {"mean": 3}}, {}, "do not go together"),
    ({**TIMM, "model_args": {"num_heads": 7}}, {}, "which none of its kind"),
])
def test_what_no_model_here_has_is_refused_by_name(config, more, words,
                                                   recorded, tmp_path):
    about = json.loads(str(recorded["timm_vit/about"]))
    torch_judges.save(tmp_path, {**about["shapes"], **more}, config)
    with pytest.raises(ValueError, match=words):
        with hub_models.opened(str(tmp_path)):
            pass


def test_a_file_alone_is_what_is_usual(recorded, tmp_path):
    shapes = json.loads(str(recorded["timm_vit/about"]))["shapes"]
    wide = {name: [64 if n == 24 else 192 if n == 72 else n for n in shape]
            for name, shape in shapes.items()}
    torch_judges.save(tmp_path, wide, {})
    (tmp_path / "config.json").unlink()
    model = build(str(tmp_path / "model.safetensors"))
    assert model.get_layer(
        "Transformer/encoderblock_0").attention.num_heads == 1
    file = tensor_files.load(str(tmp_path / "model.safetensors"))
    with pytest.raises(ValueError, match="model.safetensors does not fit"):
        load.from_arrays(model, file, canonicalise=names.canonicalise)


def test_position_embeddings_tell_the_size_where_config_does_not():
    shapes = {"pos_embed": [1, 17, 64], "cls_token": [1, 1, 64],
              "patch_embed.proj.weight": [64, 3, 8, 8],
              "blocks.0.mlp.fc1.weight": [128, 64],
              "blocks.0.mlp.fc2.weight": [64, 128]}
    found = hub_models.describe({}, shapes)
    assert found.image_size == (32, 32) and found.grid == (4, 4)

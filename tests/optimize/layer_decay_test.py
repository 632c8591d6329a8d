"""Learning rates by layer: a table by hand, and timm's groups."""

import dataclasses
import functools

import numpy as np
import pytest

from tests import toy
from tests import two_towers
from tests.engine import parts_test
from tfvit.engine import build
from tfvit.models import lit
from tfvit.models import mixer
from tfvit.models import resnet
from tfvit.optimize import layer_decay
from tfvit.weights import names

# 0.75 ** layers below the head, of a model of two blocks.
TABLE = {"embeddings": 0.421875, "block 0": 0.5625, "block 1": 0.75,
         "head": 1.0}
VIT = {
    "cls": "embeddings", "embedding/kernel": "embeddings",
    "Transformer/posembed_input/pos_embedding": "embeddings",
    "Transformer/encoderblock_0/LayerNorm_0/scale": "block 0",
    "Transformer/encoderblock_1/MlpBlock_3/Dense_1/bias": "block 1",
    "Transformer/encoder_norm/scale": "head", "pre_logits/kernel": "head",
    "head/bias": "head",
}
HYBRID = {
    **VIT, "conv_root/kernel": "embeddings", "gn_root/bias": "embeddings",
    "block1/unit1/conv1/kernel": "embeddings",
}
MIXER = {
    "stem/kernel": "embeddings",
    "MixerBlock_0/token_mixing/Dense_0/kernel": "block 0",
    "MixerBlock_1/LayerNorm_1/scale": "block 1",
    "pre_head_layer_norm/scale": "head", "head/kernel": "head",
}
# lr_scale of the groups of timm 1.0.31's param_groups_layer_decay(
# timm.create_model("vit_tiny_patch16_224"), layer_decay=0.75).
TIMM = {
    **dict.fromkeys(["cls", "Transformer/posembed_input/pos_embedding",
                     "embedding/kernel", "embedding/bias"],
                    0.023757264018058777),
    **{f"Transformer/encoderblock_{i}/LayerNorm_0/scale": scale
       for i, scale in enumerate([
           0.03167635202407837, 0.04223513603210449, 0.056313514709472656,
           0.07508468627929688, 0.1001129150390625, 0.13348388671875,
           0.177978515625, 0.2373046875, 0.31640625, 0.421875, 0.5625, 0.75])},
    "head/kernel": 1.0, "head/bias": 1.0
}


def of(model):
    return layer_decay.factors(map(names.of, model.weights), 0.75)


@pytest.mark.parametrize("make, table", [
    (functools.partial(toy.recorded_vit, representation_size=8), VIT),
    (functools.partial(toy.recorded_vit, representation_size=8, patch_size=1,
                       stem=resnet.resnet_stem(blocks=(1,))), HYBRID),
    (functools.partial(
        mixer.mixer, num_classes=3, image_size=16, patch_size=8, width=8,
        depth=2, tokens_mlp_dim=4, channels_mlp_dim=8), MIXER),
], ids=["vit", "hybrid", "mixer"])
def test_factors_by_hand(make, table):
    found = of(make())
    assert {name: TABLE[layer] for name, layer in table.items()}.items() <= (
        found.items())
    assert set(found.values()) == set(TABLE.values())


def test_factors_are_those_of_timm():
    found = of(toy.recorded_vit(depth=12, width=6))
    for name, scale in TIMM.items():
        np.testing.assert_allclose(found[name], scale, rtol=1e-12)
    # The one difference: timm has the final norm learn as the last block does
    # (0.75); here, as in BEiT and MAE, it goes with the head.
    assert found["Transformer/encoder_norm/scale"] == 1.0


def test_the_towers_of_a_lit_decay_each_by_its_own_depth():
    found = of(lit.lit(image=functools.partial(two_towers.IMAGE, depth=1),
                       text=two_towers.BERT, out_dim=4, bias_init=-10.0))
    text = "txt/BertEncoder_0/"
    for name, factor in {
            "img/cls": 0.5625, "img/Transformer/encoderblock_0/"
            "LayerNorm_0/scale": 0.75, "img/head/kernel": 1.0,
            f"{text}embedder/embedders_token_ids/embedding": 0.421875,
            f"{text}layer_norm/scale": 0.421875,
            f"{text}encoder_block/layer_sequence/layers_0/attention_block/"
            "layer_norm/scale": 0.5625, "txt/head/bias": 1.0, "t": 1.0,
            "b": 1.0}.items():
        assert found[name] == factor, name
    text = two_towers.SMALL(num_classes=4)
    found = of(text)
    assert found["Embed_0/embedding"] == found["pos_embedding"] == 0.421875
    assert found["Encoder_0/encoder_norm/scale"] == 1.0


def test_a_model_whose_blocks_cannot_be_told_is_refused():
    with pytest.raises(ValueError, match="layer_decay=0.5: .* as 'body/kernel'"
                       ".*lr_multipliers"):
        layer_decay.factors(["body/kernel", "head/kernel"], 0.5)
    with pytest.raises(ValueError, match="as 'txt/hidden/kernel'"):
        layer_decay.factors(["img/Transformer/encoderblock_0/a/bias",
                             "txt/hidden/kernel"], 0.5)
    assert layer_decay.factors(["body/kernel"], None) == {"body/kernel": 1.0}


@pytest.mark.parametrize("value", [0, -0.5, 1.5, True, "0.65", float("nan")])
def test_what_is_no_factor_is_refused(value):
    with pytest.raises(ValueError, match="Experiment.layer_decay=.*0.65"):
        dataclasses.replace(toy.EXPERIMENT, layer_decay=value)


def test_one_step_moves_each_layer_by_its_factor():
    """Of SGD without momentum, times what lr_multipliers say."""
    exp = dataclasses.replace(
        toy.EXPERIMENT, clip_norm=None, optimizer=parts_test.SGD,
        model=functools.partial(toy.recorded_vit, num_classes=toy.NUM_CLASSES,
                                image_size=8, patch_size=4, width=6,
                                head_initializer="lecun_normal"))

    def moved(exp):
        run = build.build(exp)
        before = {name: v.numpy() for name, v in run.params.items()}
        run.train_step(run.batches(), 1)
        return {name: v.numpy() - before[name]
                for name, v in run.params.items()}

    plain = moved(exp)
    decayed = moved(dataclasses.replace(
        exp, layer_decay=0.75, lr_multipliers=[("head/.*", 10.0)]))
    for name, layer in VIT.items():
        if name in plain:
            factor = TABLE[layer] * (10.0 if "head/" in name else 1.0)
            assert np.abs(plain[name]).max() > 1e-4, name
            np.testing.assert_allclose(decayed[name], factor * plain[name],
                                       rtol=1e-3, atol=1e-7)

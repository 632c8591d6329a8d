"""timm's own reader of the published files understands the ones we write.

timm is no dependency: `pip install timm` to run these.
"""

import functools

import numpy as np
import pytest

from tfvit.models import resnet
from tfvit.models import vit
from tfvit.weights import load
from tfvit.weights import names

torch = pytest.importorskip("torch", reason="needs PyTorch and timm")
pytest.importorskip("timm", reason="needs PyTorch and timm")

SIZES = {"patch_size": 8, "depth": 2, "num_heads": 3, "num_classes": 10}
WIDTH, MLP_DIM, IMAGE_SIZE = 24, 48, 32
BLOCKS = (1, 1)


def timm_vit(**changes):
    from timm.models import vision_transformer

    # vision_transformer's GELU is the approximation by tanh, timm's is not.
    return vision_transformer.VisionTransformer(
        img_size=IMAGE_SIZE, embed_dim=WIDTH, mlp_ratio=MLP_DIM / WIDTH,
        act_layer="gelu_tanh", **{**SIZES, **changes})


def timm_hybrid():
    from timm import layers
    from timm.models import resnetv2
    backbone = resnetv2.ResNetV2(
        BLOCKS, num_classes=0, global_pool="", stem_type="same", preact=False,
        conv_layer=layers.StdConv2dSame,
        norm_layer=functools.partial(layers.GroupNormAct, num_groups=32,
                                     eps=1e-6))
    return timm_vit(patch_size=1, embed_layer=functools.partial(
        layers.HybridEmbed, backbone=backbone))


def ours(**changes):
    return vit.vit(image_size=IMAGE_SIZE, width=WIDTH, mlp_dim=MLP_DIM,
                   **{**SIZES, **changes})


@pytest.mark.parametrize("theirs, changes", [
    (timm_vit, {}),
    (functools.partial(timm_vit, class_token=False, global_pool="avg",
                       fc_norm=False), {"classifier": "gap"}),
    (timm_hybrid, {"patch_size": 1, "stem": resnet.resnet_stem(blocks=BLOCKS)}),
], ids=["token", "gap", "hybrid"])
def test_timm_computes_the_same_from_our_file(theirs, changes, path):
    rng = np.random.default_rng(0)
    model = ours(**changes)
    for variable in model.weights:
        # Deviation 1 where kernels are standardised: epsilons differ there.
        scale = 1.0 if "/conv" in f"/{names.of(variable)}" else 0.3
        variable.assign(rng.normal(0.0, scale, variable.shape))
    images = rng.uniform(-1, 1, (2, IMAGE_SIZE, IMAGE_SIZE, 3))
    images = images.astype(np.float32)

    load.to_npz(model, path)
    reader = theirs().eval()
    reader.load_pretrained(path)
    with torch.no_grad():
        logits = reader(torch.from_numpy(images.transpose(0, 3, 1, 2)))

    np.testing.assert_allclose(logits.numpy(), model(images), atol=1e-5)

"""Toy models of every architecture, and image files of every kind."""

import functools
import io

import numpy as np
from PIL import Image

from tfvit.data.images import ops
from tfvit.models import lit as lit_lib
from tfvit.models import mixer
from tfvit.models import resnet
from tfvit.models import text_tower
from tfvit.models import vit
from tfvit.serving import signatures as signatures_lib

NAMES = [f"class {i}" for i in range(7)]
OPS = [ops.decode, functools.partial(ops.resize, size=16), ops.value_range]
_VIT = functools.partial(vit.vit, num_classes=7, image_size=16, patch_size=4,
                         width=8, depth=2, num_heads=2, mlp_dim=16)
ARCHITECTURES = {
    "token": _VIT,
    "gap": functools.partial(_VIT, classifier="gap", posemb="sincos2d"),
    "representation": functools.partial(_VIT, representation_size=8),
    "unpooled": functools.partial(_VIT, classifier="token_unpooled"),
    "headless": functools.partial(_VIT, num_classes=None, depth=1),
    "hybrid": functools.partial(_VIT, patch_size=1,
                                stem=resnet.resnet_stem(blocks=(1,))),
    "mixer": functools.partial(
        mixer.mixer, num_classes=7, image_size=16, patch_size=4, width=8,
        depth=2, tokens_mlp_dim=8, channels_mlp_dim=16),
}


def model(name="token", **settings):
    """A model with random weights everywhere, also in the head."""
    made = ARCHITECTURES[name](**settings)
    rng = np.random.default_rng(0)
    made.set_weights([
        rng.normal(scale=0.3, size=w.shape) for w in made.get_weights()
    ])
    return made


def server(name="token", made=None, **settings):
    return signatures_lib.Server(model=made or model(name), ops=OPS,
                                 class_names=NAMES, **settings)


def pixels(height=20, width=30, seed=0):
    """A smooth random image, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 255, [4, 4, 3], np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height)))


def encoded(kind="PNG", mode="RGB", **shape):
    """Bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels(**shape)).convert(mode).save(file, kind)
    return file.getvalue()


def lit(**settings):
    """A model of images and of texts of 6 of 8 tokens, embedded in 8 numbers.

    The weights are random everywhere.
    """
    made = lit_lib.lit(
        image=functools.partial(_VIT, depth=1), out_dim=(None, 8),
        text=functools.partial(
            text_tower.text_transformer, vocab_size=8, max_len=6, width=8, depth=1,
            num_heads=2, mlp_dim=16), **settings)
    rng = np.random.default_rng(0)
    for variable in made.weights:
        variable.assign(rng.normal(scale=0.5, size=variable.shape))
    return made

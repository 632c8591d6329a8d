"""Names of the published checkpoints, and the model of gin/models each is of.

The file itself lies where fetch.catalogue_url says. Of AugReg's 50,000 files
only the architectures are here: each name stands for the recommended file.
"""

import re

# From vit_jax.ipynb and the README of vision_transformer, but for gsam/ViT-*,
# which that notebook does not list: named as its other files are.
FILES = {
    "imagenet21k": (
        "ViT-B_8", "ViT-B_16", "ViT-B_32", "ViT-L_16", "ViT-L_32", "ViT-H_14",
        "R26+ViT-B_32", "R50+ViT-B_16", "R50+ViT-L_32", "Mixer-B_16",
        "Mixer-L_16"),
    "imagenet21k+imagenet2012": (
        "ViT-B_8", "ViT-B_16", "ViT-B_16-224", "ViT-B_32", "ViT-L_16",
        "ViT-L_16-224", "ViT-L_32", "R50+ViT-B_16"),
    "imagenet1k": ("Mixer-B_16", "Mixer-L_16"),
    "augreg": ("Ti_16", "S_32", "S_16", "B_32", "B_16", "B_8", "L_16",
               "R_Ti_16", "R26_S_32", "R50_L_32"),
    "sam": ("ViT-S_16", "ViT-B_16", "ViT-B_32", "ViT-L_16", "ViT-L_32",
            "Mixer-B_16", "Mixer-B_32"),
    "gsam": ("ViT-S_16", "ViT-S_32", "ViT-B_16", "ViT-B_32", "Mixer-S_8",
             "Mixer-S_16", "Mixer-S_32", "Mixer-B_16", "Mixer-B_32"),
    "lit": ("LiT-B16B", "LiT-B16B_2", "LiT-L16L", "LiT-L16S", "LiT-L16Ti"),
    "big_vision": ("vit_s16_i1k_90ep", "vit_s16_i1k_150ep",
                   "vit_s16_i1k_300ep"),
}


def names():
    """All names, such as imagenet21k/ViT-B_16."""
    return [f"{collection}/{name}" for collection, files in FILES.items()
            for name in files]


def model(name):
    """Stem of the file in gin/models that a catalogue name is of.

    Such as r50_b16 for imagenet21k/R50+ViT-B_16.
    """
    collection, _, file = name.partition("/")
    if collection == "lit":
        return file.replace("-", "_").lower()
    if collection == "big_vision":
        return "s16_gap"
    stem = re.sub(r"-224$|ViT-", "", file)
    stem = re.sub(r"_(?=\d+$)", "", re.sub(r"[+-]", "_", stem)).lower()
    # Those of the paper are mean-pooled.
    return f"{stem}_gap" if name.startswith("gsam/ViT") else stem

"""Which of our models a model of transformers is.

Sizes are those of the arrays; heads, activation, epsilon and the size of images
those of config.json.
"""

import re

from tfvit.weights import torch_layouts
from tfvit.weights import torch_models

# What config.json leaves out where it is so: transformers' configuration_*.py.
_DEFAULTS = {
    "vit": {"layer_norm_eps": 1e-12, "hidden_act": "gelu"},
    "dinov2": {"layer_norm_eps": 1e-6, "hidden_act": "gelu"},
    "clip": {"layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"},
    "siglip": {"layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh"}}
_HEADS = {768: 12, 512: 8}  # Where transformers' configs leave them out.


def describe(kind, config, shapes, pixels=None):
    """As hub_models.describe, of a config.json with that model_type."""
    kind = {"dinov2_with_registers": "dinov2"}.get(kind, kind)
    if kind in ("clip", "siglip"):
        return _two_towers(kind, config, shapes)
    if kind in ("vit", "dinov2"):
        return _vit(kind, config, shapes, pixels)
    raise ValueError(f"model_type {kind!r} is none that is read, which are: "
                     f"{torch_models.READ}.")


def _vit(kind, config, shapes, pixels):
    config = {**_DEFAULTS[kind], **config}
    shapes = {re.sub(r"^(vit|dinov2|dinov2_with_registers)\.", "", name): shape
              for name, shape in shapes.items()}
    depth = torch_models.depth(shapes, r"(?:encoder\.layer|layers)\.(\d+)\.")
    width, channels, *patch = shapes[
        "embeddings.patch_embeddings.projection.weight"]
    heads = config.get("num_attention_heads", _HEADS.get(width))
    classes = shapes.get("classifier.weight", (None,))[0]
    if classes and shapes["classifier.weight"][1] != width:
        raise ValueError("its classifier sees the class token beside the mean "
                         "of the patches, which no model here does.")
    size, grid = torch_models.fitting(
        torch_models.pair(config.get("image_size", 224)), patch,
        shapes["embeddings.position_embeddings"][1], True)
    hidden = next(shape[0] for name, shape in shapes.items() if re.search(
        r"\.0\.(intermediate\.dense|mlp\.fc1|mlp\.weights_in)\.weight", name))
    settings = {
        "patch_size": torch_models.plain(patch), "width": width, "depth": depth,
        "num_heads": heads, "mlp_dim": hidden, "channels": channels,
        "activation": torch_models.activation(config["hidden_act"]),
        "norm_epsilon": float(config["layer_norm_eps"]),
        "layer_scale": 1.0 if kind == "dinov2" else None,
        "registers": shapes.get("embeddings.register_tokens", (1, 0))[1]}
    if not classes and "pooler.dense.weight" in shapes:
        settings["representation_size"] = width  # Google's pre_logits.
    return torch_models.Found(function="vit.vit", num_classes=classes,
                 image_size=pixels or size, grid=grid,
                 settings={f"vit.vit.{key}": value
                           for key, value in settings.items()},
                 rules=torch_layouts.hf_vit(depth, heads, kind == "dinov2"))


def _two_towers(kind, config, shapes):
    siglip = kind == "siglip"
    vision, text = ({**_DEFAULTS[kind], **(config.get(part) or {})}
                    for part in ("vision_config", "text_config"))
    prefix = r"{}\.encoder\.layers\.(\d+)\."
    width, channels, *patch = shapes[
        "vision_model.embeddings.patch_embedding.weight"]
    vocabulary, text_width = shapes[
        "text_model.embeddings.token_embedding.weight"]
    sizes = [(torch_models.depth(shapes, prefix.format(f"{tower}_model")),
              one.get("num_attention_heads", _HEADS.get(own)))
             for tower, one, own in (("vision", vision, width),
                                     ("text", text, text_width))]
    count = shapes["vision_model.embeddings.position_embedding.weight"][0]
    size, grid = torch_models.fitting(
        torch_models.pair(vision.get("image_size", 224)), patch, count,
        not siglip)
    mlp = ".encoder.layers.0.mlp.fc1.weight"
    vit = {"patch_size": torch_models.plain(patch), "width": width,
           "depth": sizes[0][0], "num_heads": sizes[0][1],
           "channels": channels,
           "mlp_dim": shapes[f"vision_model{mlp}"][0],
           "classifier": "map" if siglip else "token", "pre_norm": not siglip}
    length = shapes["text_model.embeddings.position_embedding.weight"][0]
    txt = {"vocab_size": vocabulary, "max_len": length, "width": text_width,
           "depth": sizes[1][0], "num_heads": sizes[1][1],
           "mlp_dim": shapes[f"text_model{mlp}"][0], "causal": not siglip}
    for settings, one in ((vit, vision), (txt, text)):
        settings["activation"] = torch_models.activation(one["hidden_act"])
        settings["norm_epsilon"] = float(one["layer_norm_eps"])
    out = shapes["text_model.head.weight" if siglip else
                 "text_projection.weight"][0]
    return torch_models.Found(
        function="lit.lit", num_classes=None, image_size=size, grid=grid,
        settings={
            "lit.lit.image": "@vit.vit",
            "lit.lit.text": "@text_tower.text_transformer",
            "lit.lit.out_dim": (None if siglip else out, out),
            **({"lit.lit.bias_init": 0.0} if siglip else {}),
            **{f"vit.vit.{key}": value for key, value in vit.items()},
            **{f"text_tower.text_transformer.{key}": value
               for key, value in txt.items()}},
        rules=torch_layouts.two_towers(*sizes, siglip))

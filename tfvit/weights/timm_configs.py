"""Which of our models a model of timm is.

Sizes are those of the arrays. What arrays do not tell (heads, activation,
epsilon) follows from the architecture's name in config.json.
"""

import re

from tfvit.weights import torch_layouts
from tfvit.weights import torch_models

# timm's widths whose heads are not 64 wide.
_TIMM_HEADS = {1152: 16, 1280: 16, 1408: 16, 1536: 16, 1664: 16}
_TIMM_KNOWN = re.compile(r"(vit|deit|deit3|flexivit|mixer|test_vit)\d?_"
                         # Whose arrays do not tell that they are others.
                         r"(?!.*(_rpn_|rope|relpos|dinov3))")
# Whose GELU is the approximation by tanh: timm 1.0 vision_transformer.py.
_TANH = re.compile(r"vit_(base_patch32|so400m_patch16|giantopt_patch16)_siglip|"
                   r"vit_large_patch16_siglip_(gap_)?512")
# Arguments of timm's models that config.json may have: what shapes tell, or we
# read, or only training sees.
_TIMM_ARGS = re.compile(
    r"img_size|num_heads|act_layer|num_classes|global_pool|embed_dim|depth|"
    r"patch_size|mlp_ratio|class_token|fc_norm|init_values|reg_tokens|qk_norm|"
    r"no_embed_class|in_chans|.*drop.*|weight_init|fix_init|qkv_bias|pre_norm|"
    r"backbone|dynamic_img_size|dynamic_img_pad|num_blocks")


def describe(config, shapes, pixels=None):
    """As hub_models.describe, of timm's config.json."""
    name = config.get("architecture") or "vit_"
    if not _TIMM_KNOWN.match(name):
        raise ValueError(f"timm's architecture {name!r} is none that is read, "
                         f"which are: {torch_models.READ}.")
    args = {**config.get("model_args", {})}
    if odd := [arg for arg in args if not _TIMM_ARGS.fullmatch(arg)]:
        raise ValueError(f"its config.json has model_args.{odd[0]}, of which "
                         "nothing is known here.")
    given = config.get("pretrained_cfg", config)
    size = torch_models.pair(args.get("img_size") or pixels or
                 given.get("input_size") or 224)
    depth = torch_models.depth(shapes, r"blocks\.(\d+)\.")
    classes = shapes["head.weight"][0] if "head.weight" in shapes else None
    activation = torch_models.activation(args.get("act_layer") or (
        "quickgelu" if "quickgelu" in name else
        "gelu_tanh" if _TANH.match(name) else "gelu"))
    if "stem.proj.weight" in shapes:
        return _mixer(shapes, depth, classes, activation, size)
    width, channels, *patch = shapes["patch_embed.proj.weight"]
    heads = args.get("num_heads") or (
        width // 32 if name.startswith("test_vit") else
        16 if name == "vit_base_patch16_gap_224" else
        _TIMM_HEADS.get(width, max(width // 64, 1)))
    stages = _stages(shapes)
    reduction = 1 if stages is None else 4 * 2**max(len(stages) - 1, 0)
    count = shapes["pos_embed"][1]
    size, grid = torch_models.fitting(
        size, [side * reduction for side in patch], count,
        "cls_token" in shapes)
    pool = args.get("global_pool") or config.get("global_pool") or (
        "token" if "cls_token" in shapes else "avg")
    if "attn_pool.latent" in shapes:
        pool = "map"
    if pool == "avg" and "cls_token" in shapes or pool not in (
            "token", "avg", "map"):
        raise ValueError(f"it has a class token and takes global_pool={pool!r} "
                         "of the rest, which no model here does.")
    registers = shapes.get("reg_token", (1, 0))[1]
    hidden, after = (shapes[f"blocks.0.mlp.fc{i}.weight"][i - 1]
                     for i in (1, 2))
    if hidden != after:
        raise ValueError("it has SwiGLU, which no model here has.")
    settings = {
        "patch_size": torch_models.plain(patch), "width": width, "depth": depth,
        "num_heads": heads, "mlp_dim": hidden,
        "classifier": {"avg": "gap"}.get(pool, pool),
        "activation": activation,
        "norm_epsilon": 1e-5 if "_clip_" in name else 1e-6,
        "pre_norm": "norm_pre.weight" in shapes,
        "layer_scale": 1e-5 if "blocks.0.ls1.gamma" in shapes else None,
        "qk_norm": "blocks.0.attn.q_norm.weight" in shapes,
        "registers": registers, "norm_pooled": "fc_norm.weight" in shapes}
    settings = {f"vit.vit.{key}": value for key, value in settings.items()}
    if stages is None:
        settings["vit.vit.channels"] = channels
    else:
        stem = "resnet.resnet_stem."
        settings |= {"vit.vit.stem": "@resnet.resnet_stem()",
                     f"{stem}blocks": tuple(stages),
                     f"{stem}norm_epsilon": 1e-5,
                     f"{stem}variance_epsilon": 1e-8}
    norm = "fc_norm" if "fc_norm.weight" in shapes else "norm"
    return torch_models.Found(
        function="vit.vit", settings=settings, num_classes=classes,
        image_size=size, grid=grid,
        rules=torch_layouts.timm_vit(depth, heads, stages, norm))


def _stages(shapes):
    """Units in each stage of a hybrid's stem; None without."""
    if not any(name.startswith("patch_embed.backbone.") for name in shapes):
        return None
    count = {}
    for name in shapes:
        if match := re.fullmatch(
                r"patch_embed\.backbone\.stages\.(\d+)\.blocks\.(\d+)\."
                r"conv1\.weight", name):
            count[int(match[1])] = count.get(int(match[1]), 0) + 1
    return [count[i] for i in sorted(count)]


def _mixer(shapes, depth, classes, activation, size):
    width, channels, *patch = shapes["stem.proj.weight"]
    tokens, count = shapes["blocks.0.mlp_tokens.fc1.weight"]
    size, grid = torch_models.fitting(size, patch, count, False)
    settings = {
        "patch_size": torch_models.plain(patch), "width": width, "depth": depth,
        "tokens_mlp_dim": tokens, "channels": channels,
        "channels_mlp_dim": shapes["blocks.0.mlp_channels.fc1.weight"][0],
        "activation": activation}
    return torch_models.Found(
        function="mixer.mixer", num_classes=classes, image_size=size, grid=grid,
        settings={f"mixer.mixer.{key}": value
                  for key, value in settings.items()},
        rules=torch_layouts.timm_mixer(depth))

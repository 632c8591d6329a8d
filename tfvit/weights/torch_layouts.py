"""The layouts of transformers and timm, array by array: torch_names.Rule."""

from tfvit.weights import names
from tfvit.weights import torch_names

_rule = torch_names.Rule
_BLOCK = "Transformer/encoderblock_{}/"
_TEXT_BLOCK = "Encoder_0/encoderblock_{}/"
_ATTENTION = "MultiHeadDotProductAttention_1"


def _pair(ours, theirs, turn="in", kernel="kernel"):
    """Rules of a matrix, or convolution, and its bias."""
    return [_rule(f"{ours}/{kernel}", f"{theirs}.weight", turn),
            _rule(f"{ours}/bias", f"{theirs}.bias")]


def _norm(ours, theirs):
    return _pair(ours, theirs, "keep", "scale")


def _heads(ours, theirs, heads, weight="weight", bias="bias", rows=None):
    """Rules of queries, keys and values that are rows of one matrix."""
    rows = rows or ("query", "key", "value")
    return [_rule(f"{ours}/{row}/{leaf}", f"{theirs}{name}", turn, heads, i,
                 len(rows))
            for leaf, name, turn in (("kernel", weight, "in"),
                                     ("bias", bias, "keep"))
            for i, row in enumerate(rows)]


def _out(ours, theirs, heads):
    return [_rule(f"{ours}/kernel", f"{theirs}.weight", "out", heads),
            _rule(f"{ours}/bias", f"{theirs}.bias")]


def _separate(ours, prefix, heads, parts):
    """Rules of attention whose four matrices have names of their own."""
    query, key, value, out = (prefix + part for part in parts)
    return [*_heads(ours, query, heads, ".weight", ".bias", ["query"]),
            *_heads(ours, key, heads, ".weight", ".bias", ["key"]),
            *_heads(ours, value, heads, ".weight", ".bias", ["value"]),
            *_out(f"{ours}/out", out, heads)]


def timm_vit(depth, heads, stages=None, norm="norm"):
    """Rules of timm's VisionTransformer.

    Args:
      depth: number of blocks.
      heads: attention heads.
      stages: units in each stage of the stem of a hybrid, or None.
      norm: what the last one is called: "fc_norm" behind the mean.
    """
    rules = [_rule("cls", "cls_token"), _rule("registers", "reg_token"),
             _rule(names.POS_EMBEDDING, "pos_embed"),
             *_pair("embedding", "patch_embed.proj", "conv"),
             *_norm("Transformer/pre_norm", "norm_pre"),
             *_norm("Transformer/encoder_norm", norm),
             *_pair("head", "head")]
    for i in range(depth):
        ours, theirs = _BLOCK.format(i), f"blocks.{i}."
        attention = ours + _ATTENTION
        rules += [
            *_norm(f"{ours}LayerNorm_0", f"{theirs}norm1"),
            *_heads(attention, f"{theirs}attn.qkv.", heads),
            *_norm(f"{attention}/query_ln", f"{theirs}attn.q_norm"),
            *_norm(f"{attention}/key_ln", f"{theirs}attn.k_norm"),
            *_out(f"{attention}/out", f"{theirs}attn.proj", heads),
            _rule(f"{ours}layer_scale_0", f"{theirs}ls1.gamma"),
            *_norm(f"{ours}LayerNorm_2", f"{theirs}norm2"),
            *_pair(f"{ours}MlpBlock_3/Dense_0", f"{theirs}mlp.fc1"),
            *_pair(f"{ours}MlpBlock_3/Dense_1", f"{theirs}mlp.fc2"),
            _rule(f"{ours}layer_scale_1", f"{theirs}ls2.gamma")]
    pool = "MAPHead_0/MultiHeadDotProductAttention_0"
    rules += [
        _rule("MAPHead_0/probe", "attn_pool.latent"),
        *_heads(pool, "attn_pool.q.", heads, rows=["query"]),
        *_heads(pool, "attn_pool.kv.", heads, rows=["key", "value"]),
        *_out(f"{pool}/out", "attn_pool.proj", heads),
        *_norm("MAPHead_0/LayerNorm_0", "attn_pool.norm"),
        *_pair("MAPHead_0/MlpBlock_0/Dense_0", "attn_pool.mlp.fc1"),
        *_pair("MAPHead_0/MlpBlock_0/Dense_1", "attn_pool.mlp.fc2")]
    return rules + ([] if stages is None else _stem(stages))


def _stem(stages):
    backbone = "patch_embed.backbone."
    root = f"{backbone}stem." if stages else backbone
    rules = [_rule("conv_root/kernel", f"{root}conv.weight", "conv"),
             *_norm("gn_root", f"{root}norm")]
    for i, units in enumerate(stages):
        for j in range(units):
            ours = f"block{i + 1}/unit{j + 1}/"
            theirs = f"{backbone}stages.{i}.blocks.{j}."
            for here, conv, norm in [("1", "conv1", "norm1"),
                                     ("2", "conv2", "norm2"),
                                     ("3", "conv3", "norm3"),
                                     ("_proj", "downsample.conv",
                                      "downsample.norm")]:
                rules += [_rule(f"{ours}conv{here}/kernel",
                               f"{theirs}{conv}.weight", "conv"),
                          *_norm(f"{ours}gn{here}", f"{theirs}{norm}")]
    return rules


def timm_mixer(depth):
    """Rules of timm's MlpMixer."""
    rules = [*_pair("stem", "stem.proj", "conv"),
             *_norm("pre_head_layer_norm", "norm"), *_pair("head", "head")]
    for i in range(depth):
        ours, theirs = f"MixerBlock_{i}/", f"blocks.{i}."
        rules += [*_norm(f"{ours}LayerNorm_0", f"{theirs}norm1"),
                  *_norm(f"{ours}LayerNorm_1", f"{theirs}norm2")]
        for here, there in (("token_mixing", "mlp_tokens"),
                            ("channel_mixing", "mlp_channels")):
            for j in (0, 1):
                rules += _pair(f"{ours}{here}/Dense_{j}",
                               f"{theirs}{there}.fc{j + 1}")
    return rules


def hf_vit(depth, heads, dinov2=False):
    """Rules of transformers' ViT, or DINOv2, in files: without "vit."."""
    rules = [_rule("cls", "embeddings.cls_token"),
             _rule("registers", "embeddings.register_tokens"),
             _rule(names.POS_EMBEDDING, "embeddings.position_embeddings"),
             *_pair("embedding", "embeddings.patch_embeddings.projection",
                    "conv"),
             *_norm("Transformer/encoder_norm", "layernorm"),
             *_pair("head", "classifier"),
             *_pair("pre_logits", "pooler.dense")]
    norms = (("norm1", "norm2") if dinov2 else
             ("layernorm_before", "layernorm_after"))
    for i in range(depth):
        ours, theirs = _BLOCK.format(i), f"encoder.layer.{i}."
        rules += [
            *_norm(f"{ours}LayerNorm_0", theirs + norms[0]),
            *_norm(f"{ours}LayerNorm_2", theirs + norms[1]),
            *_separate(ours + _ATTENTION, f"{theirs}attention.", heads,
                       ("attention.query", "attention.key", "attention.value",
                        "output.dense")),
            *_pair(f"{ours}MlpBlock_3/Dense_0", f"{theirs}intermediate.dense"),
            *_pair(f"{ours}MlpBlock_3/Dense_1", f"{theirs}output.dense"),
            _rule(f"{ours}layer_scale_0", f"{theirs}layer_scale1.lambda1"),
            _rule(f"{ours}layer_scale_1", f"{theirs}layer_scale2.lambda1")]
    return rules


def _encoder(block, prefix, depth, heads):
    """Rules of the encoder that CLIP's and SigLIP's towers share."""
    rules = []
    for i in range(depth):
        ours, theirs = block.format(i), f"{prefix}.encoder.layers.{i}."
        rules += [
            *_norm(f"{ours}LayerNorm_0", f"{theirs}layer_norm1"),
            *_norm(f"{ours}LayerNorm_2", f"{theirs}layer_norm2"),
            *_separate(ours + _ATTENTION, f"{theirs}self_attn.", heads,
                       ("query", "key", "value", "out_proj")),
            *_pair(f"{ours}MlpBlock_3/Dense_0", f"{theirs}mlp.fc1"),
            *_pair(f"{ours}MlpBlock_3/Dense_1", f"{theirs}mlp.fc2")]
    return rules


def two_towers(image, text, siglip):
    """Rules of transformers' CLIP or SigLIP.

    Args:
      image, text: (depth, heads) of each tower.
      siglip: whether it is SigLIP.
    """
    img, txt = "vision_model", "text_model"
    pool = "img/MAPHead_0/MultiHeadDotProductAttention_0"
    scalar = "keep" if siglip else "number"
    return [
        *_encoder(f"img/{_BLOCK}", img, *image),
        *_encoder(f"txt/{_TEXT_BLOCK}", txt, *text),
        _rule("img/cls", f"{img}.embeddings.class_embedding", "token"),
        *_pair("img/embedding", f"{img}.embeddings.patch_embedding", "conv"),
        _rule(f"img/{names.POS_EMBEDDING}",
             f"{img}.embeddings.position_embedding.weight", "table"),
        *_norm("img/Transformer/pre_norm", f"{img}.pre_layrnorm"),
        *_norm("img/Transformer/encoder_norm", f"{img}.post_layernorm"),
        _rule("img/head/kernel", "visual_projection.weight", "in"),
        _rule("txt/Embed_0/embedding",
             f"{txt}.embeddings.token_embedding.weight"),
        _rule("txt/pos_embedding",
             f"{txt}.embeddings.position_embedding.weight", "table"),
        *_norm("txt/Encoder_0/encoder_norm", f"{txt}.final_layer_norm"),
        *(_pair("txt/head", f"{txt}.head") if siglip else
          [_rule("txt/head/kernel", "text_projection.weight", "in")]),
        _rule("t", "logit_scale", scalar), _rule("b", "logit_bias", scalar),
        _rule("img/MAPHead_0/probe", f"{img}.head.probe"),
        *_heads(pool, f"{img}.head.attention.", image[1], "in_proj_weight",
                "in_proj_bias"),
        *_out(f"{pool}/out", f"{img}.head.attention.out_proj", image[1]),
        *_norm("img/MAPHead_0/LayerNorm_0", f"{img}.head.layernorm"),
        *_pair("img/MAPHead_0/MlpBlock_0/Dense_0", f"{img}.head.mlp.fc1"),
        *_pair("img/MAPHead_0/MlpBlock_0/Dense_1", f"{img}.head.mlp.fc2")]

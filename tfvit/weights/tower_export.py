"""Writes CLIP and SigLIP as transformers keeps them, for its own loaders."""

import json

import numpy as np

from tfvit.models import encoder_block
from tfvit.weights import names
from tfvit.weights import torch_layouts
from tfvit.weights import torch_names

_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh",
                "quick_gelu": "quick_gelu"}
# As ours have the names of attention's parts, see torch_names.entries.
_PARTS = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))


def describe(model, weights, tokenizer):
    """({name: array}, config.json, {name: bytes} of the tokenizer's files).

    Args:
      model: a models.lit.LiT.
      weights: {published name: array} of it.
      tokenizer: one of data.tokenizers.

    Raises:
      ValueError: it is neither CLIP nor SigLIP.
    """
    img, txt = (_blocks(tower) for tower in (model.img, model.txt))
    siglip = "b" in weights
    kind = {"clip_bpe": "clip", "siglip": "siglip"}.get(tokenizer.kind)
    shape = (("img/MAPHead_0/probe", "txt/head/bias") if siglip else
             ("img/Transformer/pre_norm/scale", "img/cls"))
    if (kind != ("siglip" if siglip else "clip") or not (img and txt) or
            txt[0].attention.causal == siglip or any(
                name not in weights for name in shape) or any(
                    part in name for name in weights
                    for part in ("layer_scale", "registers", "query_ln"))):
        raise ValueError("--layout=hf has CLIP and SigLIP alone of models with "
                         "two towers, and this is neither.")
    if not siglip:
        weights = _without_biases(weights)
    rules = torch_layouts.two_towers(*[
        (len(blocks), blocks[0].attention.num_heads)
        for blocks in (img, txt)], siglip)
    arrays = {}
    for name, array in torch_names.arrays(rules, weights).items():
        for ours, theirs in _PARTS:
            name = name.replace(f".self_attn.{ours}.", f".self_attn.{theirs}.")
        arrays[name] = array
    kernel = weights["img/embedding/kernel"]
    out = model.txt.output_shape[-1]
    common = "projection_size" if siglip else "projection_dim"
    vision = {**_config(img, weights, "img/Transformer/encoderblock_0"),
              "image_size": model.img.input_shape[1],
              "patch_size": kernel.shape[0], "num_channels": kernel.shape[2]}
    ends = ({"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1}
            if siglip else {"bos_token_id": tokenizer.start,
                            "eos_token_id": tokenizer.end,
                            "pad_token_id": tokenizer.end})
    text = {**_config(txt, weights, "txt/Encoder_0/encoderblock_0"),
            "vocab_size": weights["txt/Embed_0/embedding"].shape[0],
            "max_position_embeddings": tokenizer.max_len, common: out, **ends}
    config = {"architectures": ["SiglipModel" if siglip else "CLIPModel"],
              "model_type": kind, "vision_config": {
                  "model_type": f"{kind}_vision_model", **vision},
              "text_config": {"model_type": f"{kind}_text_model", **text}}
    if not siglip:
        config |= {"projection_dim": out}
        config["vision_config"]["projection_dim"] = out
    return arrays, config, _vocabulary(tokenizer)


def _blocks(tower):
    return [layer for layer in tower.layers
            if isinstance(layer, encoder_block.EncoderBlock)]


def _config(blocks, weights, first):
    hidden = weights[f"{first}/MlpBlock_3/Dense_0/kernel"].shape
    return {"hidden_size": hidden[0], "intermediate_size": hidden[1],
            "num_hidden_layers": len(blocks),
            "num_attention_heads": blocks[0].attention.num_heads,
            "hidden_act": _ACTIVATIONS[blocks[0].mlp.activation],
            "layer_norm_eps": blocks[0].norm_0.epsilon}


def _without_biases(weights):
    """Weights of a CLIP without the biases that CLIP's have not."""
    weights = dict(weights)
    bias = weights.pop("img/embedding/bias")
    table = f"img/{names.POS_EMBEDDING}"
    # What is added to each patch may as well be added to its position.
    weights[table] = weights[table] + np.concatenate(
        [np.zeros_like(bias)[np.newaxis], np.tile(
            bias, (weights[table].shape[1] - 1, 1))])
    for name in ("img/head/bias", "txt/head/bias"):
        if np.any(weights.pop(name)):
            raise ValueError(f"--layout=hf has no bias {name}, and this model "
                             "was trained with one.")
    return weights


def _vocabulary(tokenizer):
    """{name: bytes} of the files that transformers reads a tokenizer from."""
    if tokenizer.kind == "siglip":
        kind = {"tokenizer_class": "SiglipTokenizer"}
        found = {"spiece.model": tokenizer.vocabulary}
    else:
        given = json.loads(tokenizer.vocabulary)
        kind = {"tokenizer_class": "CLIPTokenizer"}
        found = {"vocab.json": json.dumps(given["vocab"]).encode(),
                 "merges.txt": "".join(["#version: 0.2\n", *(
                     f"{a} {b}\n" for a, b in given["merges"])]).encode()}
    kind["model_max_length"] = tokenizer.max_len
    return {**found, "tokenizer_config.json": json.dumps(kind).encode()}

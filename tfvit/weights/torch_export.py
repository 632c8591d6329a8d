"""Writes models as timm and transformers keep them, for their own loaders."""

import json
import os
import tempfile

from absl import logging
import numpy as np

from tfvit.models import encoder_block
from tfvit.models import mixer
from tfvit.models import resnet
from tfvit.weights import names
from tfvit.weights import tensor_files
from tfvit.weights import torch_layouts
from tfvit.weights import torch_names
from tfvit.weights import torch_pixels
from tfvit.weights import tower_export

LAYOUTS = ("timm", "hf")
# Units in the stages of the stem -> timm's hybrid.
_HYBRIDS = {(): "vit_tiny_r_s16_p8_224", (2, 2, 2, 2): "vit_small_r26_s32_224",
            (3, 4, 9): "vit_base_r50_s16_224",
            (3, 4, 6, 3): "vit_large_r50_s32_224"}
_TIMM_EPSILONS = (1e-5, 1e-8)  # Of a hybrid's stem.
_HF_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh",
                   "quick_gelu": "quick_gelu"}


def files(model, *, layout, class_names, ops, tokenizer=None):
    """{name: bytes} of a folder that holds a model.

    Args:
      model: of vit.vit or mixer.mixer, or a models.lit.LiT.
      layout: one of LAYOUTS.
      class_names: of its classes.
      ops: [(name of the op, its settings)] of its evaluation.
      tokenizer: of a LiT, one of data.tokenizers.

    Raises:
      ValueError: the layout has no such model; says what it lacks. Or the
        safetensors package is missing.
    """
    weights = {names.of(v): v.numpy() for v in model.weights}
    if tokenizer:
        if layout != "hf":
            raise ValueError("--layout=timm has no models of two towers. "
                             "--layout=hf has CLIP and SigLIP.")
        arrays, config, found = tower_export.describe(model, weights, tokenizer)
        processor = torch_pixels.to_transformers(
            ops, model.img.input_shape[1:3])
        return _folder(arrays, config, {
            **found, "preprocessor_config.json": _json(processor)})
    known = _facts(model, weights)
    _check(known, weights, layout)
    _complete(model, weights)
    if layout == "timm":
        rules, config = _timm(known, weights, class_names, ops)
        found = {}
    else:
        rules, config = _hf(known, weights, class_names)
        processor = torch_pixels.to_transformers(ops, known["image_size"])
        found = {"preprocessor_config.json": _json(processor)}
    return _folder(torch_names.arrays(rules, weights), config, found)


def _folder(arrays, config, found):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        tensor_files.save(path, arrays)
        with open(path, "rb") as file:
            found["model.safetensors"] = file.read()
    return {**found, "config.json": _json(config)}


def _json(values):
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _facts(model, weights):
    """What arrays do not tell, from the model's layers."""
    blocks = [layer for layer in model.layers
              if isinstance(layer, encoder_block.EncoderBlock)]
    mixers = [layer for layer in model.layers
              if isinstance(layer, mixer.MixerBlock)]
    if not blocks and not mixers:
        raise ValueError("--format=safetensors writes Vision Transformers and "
                         f"Mixers; this is a {model.name} without a block.")
    known = {"image_size": tuple(model.input_shape[1:3]),
             "depth": len(blocks or mixers), "mixer": bool(mixers),
             "classes": model.output_shape[-1] if "head/kernel" in weights
             else 0}
    if mixers:
        return {**known, "activation": mixers[0].token_mixing.activation,
                "epsilon": mixers[0].norm_0.epsilon}
    convolutions = [layer for layer in model.layers
                    if isinstance(layer, resnet.StdConv)]
    if convolutions:
        count = {}
        for name in weights:
            stage, _, rest = name.partition("/")
            if stage.startswith("block") and rest.endswith("/conv1/kernel"):
                count[stage] = count.get(stage, 0) + 1
        norm, = [layer for layer in model.layers if layer.name == "gn_root"]
        known |= {"stages": tuple(count.values()), "stem": (
            norm.norm_epsilon, convolutions[0].variance_epsilon)}
    return {**known, "activation": blocks[0].mlp.activation,
            "epsilon": blocks[0].norm_0.epsilon,
            "heads": blocks[0].attention.num_heads,
            "norm_pooled": len(model.get_layer(
                "Transformer/encoder_norm").input_shape) == 2,
            "classifier": model.classifier}


def _check(known, weights, layout):
    """Raises ValueError for what a layout has not."""

    def refuse(what, way_out=""):
        raise ValueError(f"--layout={layout} has no {what}.{way_out}")

    other = " --layout=timm has." if layout == "hf" else ""
    if "pre_logits/kernel" in weights:
        refuse("pre_logits before a head", " Fine-tune without them first.")
    if known.get("classifier") in ("unpooled", "token_unpooled"):
        refuse(f"classifier={known['classifier']!r}")
    if layout == "timm":
        if not known["mixer"] and known["epsilon"] != 1e-6:
            refuse(f"norm_epsilon={known['epsilon']} but 1e-06",
                   " --layout=hf takes any.")
        if "Transformer/pre_norm/scale" in weights:
            refuse("model of CLIP but its own")
        if known.get("stages", ()) not in _HYBRIDS:
            refuse(f"hybrid with a stem of {known['stages']} units")
        return
    if known["mixer"]:
        refuse("Mixer", other)
    if "stages" in known:
        refuse("hybrid", other)
    for name, what in [("registers", "registers without layer scale"),
                       ("MAPHead_0/probe", "attention pooling"),
                       ("Transformer/pre_norm/scale", "pre_norm"),
                       ("Transformer/encoderblock_0/layer_scale_0",
                        "layer scale")]:
        if name in weights:
            refuse(what, other)
    if any("query_ln" in name for name in weights):
        refuse("qk_norm", other)
    if known["classifier"] != "token":
        refuse(f"classifier={known['classifier']!r}", other)


def _complete(model, weights):
    """Adds the position embeddings that are constants of a model."""
    if names.POS_EMBEDDING in weights or "embedding/kernel" not in weights:
        return
    table = model.get_layer("Transformer/posembed_input").constant
    token = np.zeros_like(table[:, :int("cls" in weights)])
    weights[names.POS_EMBEDDING] = np.concatenate([token, table], axis=1)


def _timm(known, weights, class_names, ops):
    """(rules, config.json) of timm."""
    height, width = known["image_size"]
    kernel = weights["stem/kernel" if known["mixer"] else "embedding/kernel"]
    stages = known.get("stages")
    args = {"img_size": height if height == width else [height, width],
            "embed_dim": int(kernel.shape[-1]),
            "act_layer": known["activation"],
            "num_classes": known["classes"]}
    if stages is None:
        side = kernel.shape[:2]
        args |= {"patch_size": int(side[0]) if side[0] == side[1] else [
            int(n) for n in side], "in_chans": int(kernel.shape[2])}
    cfg = {**torch_pixels.to_timm(ops, known["image_size"]),
           "num_classes": known["classes"],
           "first_conv": "patch_embed.proj", "classifier": "head"}
    if known["mixer"]:
        return torch_layouts.timm_mixer(known["depth"]), _timm_config(
            _mixer(known, weights, kernel), {
                name: args[name] for name in ("img_size", "num_classes",
                                              "in_chans")},
            {**cfg, "first_conv": "stem.proj"}, class_names)
    pool = {"gap": "avg"}.get(known["classifier"], known["classifier"])
    block = "Transformer/encoderblock_0/"
    args |= {"depth": known["depth"], "num_heads": known["heads"],
             "mlp_ratio": weights[f"{block}MlpBlock_3/Dense_0/kernel"].shape[
                 1] / kernel.shape[-1],
             "class_token": "cls" in weights, "global_pool": pool}
    if pool == "avg":
        args["fc_norm"] = known["norm_pooled"]
    if f"{block}layer_scale_0" in weights:
        args["init_values"] = 1e-5
    if f"{block}MultiHeadDotProductAttention_1/query_ln/scale" in weights:
        args["qk_norm"] = True
    if "registers" in weights:
        args |= {"reg_tokens": int(weights["registers"].shape[1]),
                 "no_embed_class": True}
        weights[names.POS_EMBEDDING] = _without_token(weights)
    architecture = "vit_base_patch16_224"
    if stages is not None:
        architecture = _HYBRIDS[stages]
        cfg["first_conv"] = ("patch_embed.backbone.stem.conv" if stages else
                             "patch_embed.backbone.conv")
        if known["stem"] != _TIMM_EPSILONS:
            logging.warning(
                "timm's stems of hybrids have other epsilons than the "
                "original's: expect logits that differ in the third digit.")
    norm = "fc_norm" if known["norm_pooled"] else "norm"
    rules = torch_layouts.timm_vit(known["depth"], known["heads"], stages, norm)
    return rules, _timm_config(architecture, args, cfg, class_names)


def _mixer(known, weights, kernel):
    """timm's name of a Mixer, whose sizes cannot be told it otherwise."""
    sizes = (*kernel.shape[:2], kernel.shape[-1], known["depth"], *(
        weights[f"MixerBlock_0/{part}_mixing/Dense_0/kernel"].shape[1]
        for part in ("token", "channel")))
    names_ = {(patch, patch, width, depth, width // 2, 4 * width):
              f"mixer_{letter}{patch}_224" for patch in (16, 32)
              for letter, width, depth in (("s", 512, 8), ("b", 768, 12),
                                           ("l", 1024, 24))}
    if sizes not in names_:
        raise ValueError("--layout=timm has the Mixers S, B and L with patches "
                         "of 16 and 32 alone, none of these sizes.")
    if known["activation"] != "gelu":
        logging.warning("timm's Mixers have the exact GELU, and not %s: expect "
                        "logits that differ in the third digit.",
                        known["activation"])
    return names_[sizes]


def _without_token(weights):
    """Position embeddings of the patches alone, as timm has with registers."""
    table = weights[names.POS_EMBEDDING]
    if "cls" not in weights:
        return table
    # What is added to the token, it has from the start.
    weights["cls"] = weights["cls"] + table[:, :1]
    return table[:, 1:]


def _timm_config(architecture, args, cfg, class_names):
    config = {"architecture": architecture, "num_classes": args["num_classes"],
              "model_args": args, "pretrained_cfg": cfg}
    if "global_pool" in args:
        config["global_pool"] = args["global_pool"]
    if args["num_classes"] and len(class_names) == args["num_classes"]:
        config["label_names"] = list(class_names)
    return config


def _hf(known, weights, class_names):
    """(rules, config.json) of transformers' ViT."""
    kernel = weights["embedding/kernel"]
    height, width = known["image_size"]
    square = kernel.shape[0] == kernel.shape[1]
    hidden = weights["Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"]
    config = {
        "architectures": ["ViTForImageClassification" if known["classes"] else
                          "ViTModel"],
        "model_type": "vit", "hidden_size": int(kernel.shape[-1]),
        "num_hidden_layers": known["depth"],
        "num_attention_heads": known["heads"],
        "intermediate_size": int(hidden.shape[1]),
        "hidden_act": _HF_ACTIVATIONS[known["activation"]],
        "layer_norm_eps": known["epsilon"], "qkv_bias": True,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "image_size": height if height == width else [height, width],
        "patch_size": int(kernel.shape[0]) if square else [
            int(n) for n in kernel.shape[:2]],
        "num_channels": int(kernel.shape[2])}
    if known["classes"]:
        labels = (list(class_names) if len(class_names) == known["classes"]
                  else [str(i) for i in range(known["classes"])])
        config |= {"id2label": dict(enumerate(labels)),
                   "label2id": {name: i for i, name in enumerate(labels)}}
    rules = torch_layouts.hf_vit(known["depth"], known["heads"])
    prefix = "vit." if known["classes"] else ""
    return [rule if rule.theirs.startswith("classifier") else rule._replace(
        theirs=prefix + rule.theirs) for rule in rules], config

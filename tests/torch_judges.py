"""Tiny models of timm and transformers, and what those libraries make of them.

    python -m tests.torch_judges

writes tests/goldens/torch_models.npz, by which the suite judges without PyTorch:
of each model its config.json, the names and shapes in its file, and its outputs.
Weights are not recorded: they follow from the names (`weights`). Where torch,
timm and transformers are installed (`pip install torch timm transformers`), a
slow test compares with them as they are.
"""

import functools
import importlib.util
import json
import os
import pathlib
import tempfile
import zlib

import numpy as np

RECORDED = pathlib.Path(__file__).parent / "goldens" / "torch_models.npz"
SIZE = 32  # Pixels.
TINY = {"img_size": SIZE, "patch_size": 8, "embed_dim": 24, "depth": 2,
        "num_heads": 3, "num_classes": 10}
_PLAIN = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
          "intermediate_size": 48, "image_size": SIZE, "patch_size": 8}
_TEXT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
         "intermediate_size": 48}
TIMM = {  # Name -> (architecture, arguments).
    "timm_vit": ("vit_tiny_patch16_224", TINY),
    "timm_deit": ("deit_tiny_patch16_224", TINY),
    "timm_gap": ("vit_tiny_patch16_224", {
        **TINY, "class_token": False, "global_pool": "avg", "fc_norm": False}),
    "timm_fc_norm": ("vit_base_patch16_reg4_gap_256", TINY),
    "timm_oblong": ("vit_tiny_patch16_224", {**TINY, "img_size": (32, 48)}),
    "timm_registers": ("vit_tiny_patch16_224", {
        **TINY, "init_values": 1e-5, "reg_tokens": 2, "qk_norm": True,
        "no_embed_class": True}),
    "timm_map": ("vit_base_patch16_siglip_224", TINY),
    "timm_clip": ("vit_base_patch16_clip_quickgelu_224", TINY),
    "timm_hybrid": ("vit_tiny_r_s16_p8_224", {
        **{k: v for k, v in TINY.items() if k != "patch_size"},
        "img_size": 64}),
    "timm_mixer": ("mixer_s32_224", {
        "img_size": SIZE, "patch_size": 8, "embed_dim": 24, "num_blocks": 2,
        "num_classes": 10}),
    "timm_r26": ("vit_small_r26_s32_224", {
        **{k: v for k, v in TINY.items() if k != "patch_size"},
        "img_size": 64})}
_VISION = {"vision_config": _PLAIN}
HF = {  # Name -> (class, class of the config, arguments).
    "hf_vit": ("ViTForImageClassification", "ViTConfig", {
        **_PLAIN, "num_labels": 10}),
    "hf_vit_features": ("ViTModel", "ViTConfig", _PLAIN),
    "hf_dinov2": ("Dinov2Model", "Dinov2Config", {**_PLAIN, "mlp_ratio": 2}),
    "hf_registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {
        **_PLAIN, "mlp_ratio": 2}),
    "hf_clip": ("CLIPModel", "CLIPConfig", {
        "vision_config": _PLAIN, "projection_dim": 16, "text_config": {
            **_TEXT, "vocab_size": 600, "max_position_embeddings": 12,
            "bos_token_id": 598, "eos_token_id": 599, "pad_token_id": 599}}),
    "hf_siglip": ("SiglipModel", "SiglipConfig", {
        "vision_config": _PLAIN, "text_config": {
            **_TEXT, "vocab_size": 18, "max_position_embeddings": 12,
            "projection_size": 24, "bos_token_id": 0, "eos_token_id": 1,
            "pad_token_id": 1}})}
LIVE = all(importlib.util.find_spec(name) for name in (
    "torch", "timm", "transformers"))


def weights(shapes):
    """{name: float32 array} for {name: shape}, the same every time."""
    return {name: np.random.default_rng(zlib.crc32(name.encode())).normal(
        1.0 if name.endswith(("gamma", "lambda1")) else 0.0, 0.3, shape).astype(
            np.float32) for name, shape in shapes.items()}


def images(shape=(SIZE, SIZE)):
    """Two images [2, H, W, 3] in [-1, 1]."""
    return np.random.default_rng(1).uniform(-1, 1, (2, *shape, 3)).astype(
        np.float32)


def photo():
    """What is prepared: uint8 [57, 91, 3], smooth with a little noise."""
    y, x, c = np.mgrid[:57, :91, :3]
    smooth = 128 + 90 * np.sin(x / 9 + c) * np.cos(y / 7 - c)
    noise = np.random.default_rng(2).normal(0, 12, smooth.shape)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def tokens(name):
    """Texts of a model of two towers, int [3, 12], ended and filled up."""
    found = np.random.default_rng(3).integers(
        2, {"hf_clip": 597, "hf_siglip": 17}[name], (3, 12))
    end = {"hf_clip": 599, "hf_siglip": 1}[name]
    for row, length in zip(found, (4, 9, 12)):
        row[length - 1:] = end
    return found


def save(folder, shapes, config):
    """Writes such a model as a folder, weights included."""
    from safetensors import numpy as safe_numpy
    safe_numpy.save_file(weights(shapes),
                         os.path.join(folder, "model.safetensors"),
                         metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)


def make(name, folder):
    """Writes the folder of a model by its own library, with our weights.

    Returns:
      ({name: shape}, config.json's dict).
    """
    import torch
    torch.manual_seed(0)
    if name in TIMM:
        import timm
        architecture, arguments = TIMM[name]
        shapes = {key: list(value.shape) for key, value in
                  _timm(name).state_dict().items()}
        size = np.broadcast_to(arguments["img_size"], 2).tolist()
        cfg = timm.get_pretrained_cfg(architecture).to_dict()
        keep = ("mean", "std", "interpolation", "crop_pct", "crop_mode",
                "pool_size", "first_conv", "classifier")
        config = {"architecture": architecture, "num_classes": 10,
                  "num_features": 24, "model_args": arguments,
                  "pretrained_cfg": {
                      **{k: cfg[k] for k in keep if k in cfg},
                      "input_size": [3, *size], "num_classes": 10}}
        if "global_pool" in arguments:
            config["global_pool"] = arguments["global_pool"]
    else:
        import transformers
        cls, config_cls, arguments = HF[name]
        getattr(transformers, cls)(getattr(transformers, config_cls)(
            **arguments)).save_pretrained(folder)
        from safetensors import numpy as safe_numpy
        shapes = {key: list(value.shape) for key, value in safe_numpy.load_file(
            os.path.join(folder, "model.safetensors")).items()}
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
    save(folder, shapes, config)
    return shapes, config


def outputs(name, folder):
    """{what: array} that the library of a model makes of `images`."""
    import torch
    with torch.no_grad():
        if name in TIMM:
            import timm
            if name == "timm_mixer":
                from safetensors import torch as safe_torch
                model = _timm(name)
                model.load_state_dict(safe_torch.load_file(
                    os.path.join(folder, "model.safetensors")))
            else:
                model = timm.create_model(f"local-dir:{folder}",
                                          pretrained=True)
            size = np.broadcast_to(TIMM[name][1]["img_size"], 2)
            return {"logits": model.eval()(_torch(images(size))).numpy()}
        import transformers
        model = getattr(transformers, HF[name][0]).from_pretrained(
            folder, attn_implementation="eager").eval()
        if name in ("hf_clip", "hf_siglip"):
            found = model(input_ids=torch.from_numpy(tokens(name)),
                          pixel_values=_torch(images()))
            return {"images": found.image_embeds.numpy(),
                    "texts": found.text_embeds.numpy(),
                    "logits": found.logits_per_image.numpy()}
        found = model(_torch(images()))
        return {"logits": (found.logits if "logits" in found else
                           found.pooler_output).numpy()}


def _timm(name):
    import timm
    architecture, arguments = TIMM[name]
    if name == "timm_mixer":  # Its functions take no sizes.
        return timm.models.mlp_mixer.MlpMixer(**arguments)
    return timm.create_model(architecture, **arguments)


def _torch(pixels):
    import torch
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())


def processors():
    """{name: (kind, configuration, function from uint8 [H, W, 3] to pixels)}."""
    from PIL import Image
    import timm.data
    import torch
    import transformers
    found = {}
    for name, cfg in {
            "timm_crop": {"crop_pct": 0.9, "interpolation": "bicubic",
                          "mean": [0.5] * 3, "std": [0.5] * 3},
            "timm_imagenet": {"crop_pct": 0.875, "interpolation": "bilinear",
                              "mean": [0.485, 0.456, 0.406],
                              "std": [0.229, 0.224, 0.225]},
            "timm_squash": {"crop_pct": 1.0, "crop_mode": "squash",
                            "interpolation": "bicubic", "mean": [0.5] * 3,
                            "std": [0.5] * 3}}.items():
        cfg = {**cfg, "input_size": [3, 24, 24]}
        found[name] = ("timm", {"pretrained_cfg": cfg}, functools.partial(
            lambda pixels, cfg: timm.data.create_transform(
                **{**cfg, "input_size": tuple(cfg["input_size"])})(
                    Image.fromarray(pixels)).numpy(), cfg=cfg))
    square = {"height": 24, "width": 24}
    for name, cls, arguments in [
            ("vit", "ViTImageProcessor", {"size": square}),
            ("siglip", "SiglipImageProcessor", {"size": square, "resample": 3}),
            ("clip", "CLIPImageProcessor", {
                "size": {"shortest_edge": 24}, "crop_size": square}),
            ("dinov2", "BitImageProcessor", {
                "size": {"shortest_edge": 27}, "crop_size": square,
                "resample": 3, "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225]})]:
        one = getattr(transformers, cls)(**arguments)
        found[f"hf_{name}"] = (name, json.loads(one.to_json_string()),
                               functools.partial(
            lambda pixels, one: one(Image.fromarray(pixels),
                                    return_tensors="pt")[
                "pixel_values"][0].to(torch.float32).numpy(), one=one))
    return found


TEXTS = ("a cat", "  A  Cat's\tphoto, of 12 dogs!!", "café ÉTÉ naïve",
         "aaaaa aaaa", "日本 cat😀", "", "don't you'll we've", "x" * 40)


def byte_pairs():
    """A small vocabulary for CLIP's tokenizer, ({token: number}, merges)."""
    from tfvit.data import byte_pairs as lib
    merges = [("a", "a"), ("c", "a"), ("a", "t</w>"), ("c", "at</w>"),
              ("aa", "a</w>"), ("aa", "aa"), ("p", "h"), ("o", "t"),
              ("ph", "ot"), ("phot", "o</w>"), ("Ã", "©"), ("d", "o"),
              ("do", "n</w>"), ("'", "t</w>"), ("ca", "f"), ("x", "x"),
              ("xx", "xx")]
    names = lib.letters()
    vocab = [*names, *(name + lib.END for name in names),
             *dict.fromkeys(a + b for a, b in merges), "<|startoftext|>",
             "<|endoftext|>"]
    return {token: i for i, token in enumerate(vocab)}, merges


def clip_tokens(vocab, merges, max_len):
    """What CLIP's own tokenizer makes of TEXTS, int [T, max_len]."""
    import transformers
    return np.array(transformers.CLIPTokenizer(vocab=vocab, merges=merges)(
        list(TEXTS), padding="max_length", truncation=True,
        max_length=max_len)["input_ids"])


GRIDS = {"smaller": (4, 5), "larger": (9, 7)}


def table():
    """Position embeddings of a grid of 6 x 7, [1, 42, 3]."""
    return np.random.default_rng(4).normal(size=(1, 42, 3)).astype(np.float32)


def resized(grid, antialias):
    """`table` as PyTorch resizes it bicubically, [1, h * w, 3]."""
    import torch
    found = torch.nn.functional.interpolate(
        _torch(table().reshape(1, 6, 7, 3)), size=grid, mode="bicubic",
        antialias=antialias, align_corners=False)
    return found.numpy().transpose(0, 2, 3, 1).reshape(1, -1, 3)


def record():
    """Writes RECORDED."""
    found = {}
    for name in [*TIMM, *HF]:
        with tempfile.TemporaryDirectory() as folder:
            shapes, config = make(name, folder)
            found[f"{name}/about"] = json.dumps({"shapes": shapes,
                                                 "config": config})
            for what, value in outputs(name, folder).items():
                found[f"{name}/{what}"] = value.astype(np.float32)
    for name, (kind, config, prepare) in processors().items():
        found[f"pixels/{name}"] = prepare(photo()).transpose(1, 2, 0)
        found[f"pixels/{name}/about"] = json.dumps([kind, config])
    found["tokens/clip"] = clip_tokens(*byte_pairs(), max_len=12)
    np.savez_compressed(RECORDED, **found)


if __name__ == "__main__":
    record()

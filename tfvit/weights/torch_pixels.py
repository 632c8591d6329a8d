"""How transformers and timm prepare images, as evaluation ops, and back."""

import math

from absl import logging

_MAX_EDGE = 16_384  # Pixels.
_HALF = (0.5, 0.5, 0.5)
# PIL's numbers, which transformers writes, and timm's words.
_METHODS = {0: "nearest", 1: "lanczos3", 2: "bilinear", 3: "bicubic",
            "bilinear": "bilinear", "bicubic": "bicubic",
            "nearest": "nearest", "lanczos": "lanczos3"}
# timm's defaults of a Vision Transformer (vision_transformer._cfg), for a file
# without config.json.
_TIMM = {"mean": _HALF, "std": _HALF, "interpolation": "bicubic",
         "crop_pct": 0.9}
# transformers' where preprocessor_config.json is missing, or leaves it out.
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRANSFORMERS = {  # model_type -> what is usual for it.
    "vit": {"size": 224, "resample": 2, "image_mean": _HALF,
            "image_std": _HALF},
    "siglip": {"size": 224, "resample": 3, "image_mean": _HALF,
               "image_std": _HALF},
    "clip": {"size": {"shortest_edge": 224}, "crop_size": 224, "resample": 3,
             "do_center_crop": True, "image_mean": _CLIP_MEAN,
             "image_std": _CLIP_STD},
    "dinov2": {"size": {"shortest_edge": 256}, "crop_size": 224,
               "resample": 3, "do_center_crop": True,
               "image_mean": _IMAGENET_MEAN, "image_std": _IMAGENET_STD}}
TRANSFORMERS["dinov2_with_registers"] = TRANSFORMERS["dinov2"]


def of_timm(config):
    """(gin settings, (height, width) or None) of timm's config.json.

    Settings are {gin name: value}, of which "ops" is the list of ops between
    decoding and the model.
    """
    given = config.get("pretrained_cfg", config)
    given = {**_TIMM, **{k: v for k, v in given.items() if v is not None}}
    size = given.get("input_size")
    size = tuple(size[-2:]) if size else None
    mode = given.get("crop_mode") or "center"
    if mode == "border" or given.get("crop_border_pixels"):
        logging.warning("Its images are prepared with borders (crop_mode=%s), "
                        "which is left out: they are cropped.", mode)
    return _joined(
        _crop(given["crop_pct"], _method(given["interpolation"]),
              squash=mode == "squash", floor=False),
        _range(given["mean"], given["std"])), size


def of_transformers(kind, config):
    """As of_timm, of preprocessor_config.json's dict ({} where there is none).
    """
    given = {**TRANSFORMERS[kind],
             **{k: v for k, v in config.items() if v is not None}}
    size, crop = _sides(given["size"]), _sides(given.get("crop_size"))
    if not given.get("do_center_crop"):
        crop = None
    scale = _range(*((given["image_mean"], given["image_std"])
                     if given.get("do_normalize", True) else
                     ((0.0,) * 3, (1.0,) * 3)))
    method = _method(given["resample"])
    if isinstance(size, tuple) and not crop:  # The whole image, squashed.
        return _joined({
            "ops": ["ops.resize", "ops.to_uint8"],
            "ops.resize.size": "%IMAGE_SIZE", "ops.resize.method": method,
            "ops.resize.antialias": True, "ops.to_uint8.nearest": True,
        }, scale), size
    edge = size if isinstance(size, int) else min(size)
    crop = crop or (edge, edge)
    if not 0 < max(crop) <= edge <= _MAX_EDGE:
        raise ValueError(f"its images are resized to {edge} pixels, of which "
                         f"{crop} are taken.")
    fraction = min(crop) / edge
    while int(min(crop) / fraction) < edge:  # By a rounding of the last bit.
        fraction = math.nextafter(fraction, 0)
    return _joined(_crop(fraction, method, floor=True,
                         squash=isinstance(size, tuple)), scale), crop


def _joined(first, second):
    return {**first, **second, "ops": [*first["ops"], *second["ops"]]}


def _sides(size):
    """A shortest edge, or (height, width); None for None."""
    if isinstance(size, dict):
        if "shortest_edge" in size:
            return size["shortest_edge"]
        return size["height"], size["width"]
    return (size, size) if isinstance(size, int) else size


def _method(name):
    if name not in _METHODS:
        logging.warning("Its images are resized by %r, for which bicubic is "
                        "taken.", name)
    return _METHODS.get(name, "bicubic")


def _crop(fraction, method, squash, floor):
    op = "torch_ops.resize_and_center_crop"
    return {"ops": [op], f"{op}.size": "%IMAGE_SIZE",
            f"{op}.fraction": float(fraction), f"{op}.method": method,
            **({f"{op}.keep_aspect": False} if squash else {}),
            **({f"{op}.floor": True} if floor else {})}


def _range(mean, std):
    mean, std = tuple(map(float, mean)), tuple(map(float, std))
    if not len(mean) == len(std) == 3 or not min(std) > 0:
        raise ValueError(f"its images have mean {mean} and deviation {std}.")
    if set(mean + std) == {0.5}:
        return {"ops": ["ops.value_range"]}
    return {"ops": ["torch_ops.normalize"], "torch_ops.normalize.mean": mean,
            "torch_ops.normalize.std": std}


def to_timm(ops, image_size):
    """The pretrained_cfg of timm for evaluation ops.

    Args:
      ops: [(name, {argument: value})], as inference.preprocessing.record has
        them.
      image_size: (height, width).
    """
    method, fraction, squash, mean, std = _found(ops, image_size, "timm")
    return {"input_size": [3, *image_size], "interpolation": {
        "lanczos3": "lanczos"}.get(method, method), "crop_pct": fraction,
            "crop_mode": "squash" if squash else "center",
            "mean": mean, "std": std}


def to_transformers(ops, image_size):
    """The preprocessor_config.json of transformers; see to_timm."""
    method, fraction, squash, mean, std = _found(ops, image_size,
                                                 "transformers")
    height, width = image_size
    found = {"image_processor_type": "ViTImageProcessor", "do_resize": True,
             "resample": next(number for number, name in _METHODS.items()
                              if name == method),
             "size": {"height": height, "width": width}, "do_rescale": True,
             "rescale_factor": 1 / 255, "do_normalize": True,
             "image_mean": mean, "image_std": std}
    if not squash:
        found |= {"image_processor_type": "CLIPImageProcessor",
                  "size": {"shortest_edge": int(min(image_size) / fraction)},
                  "do_center_crop": True, "do_convert_rgb": True,
                  "crop_size": {"height": height, "width": width}}
    return found


def _found(ops, image_size, library):
    """(method, fraction, whether squashed, mean, std) of evaluation ops."""
    method, fraction, squash, mean, std = "bilinear", 1.0, True, [0.0], [1.0]
    odd = []
    for name, given in ops:
        if name in ("resize", "resize_small"):
            method, squash = given["method"], name == "resize"
            fraction = 1.0 if squash else min(image_size) / given[
                "smaller_size"]
            if not given["antialias"]:
                odd.append("without antialiasing")
        elif name == "resize_and_center_crop":
            method, fraction = given["method"], given["fraction"]
            squash = not given["keep_aspect"]
        elif name == "value_range":
            scale = given["high"] - given["low"]
            mean, std = [-given["low"] / scale], [1 / scale]
        elif name == "normalize":
            mean, std = list(given["mean"]), list(given["std"])
        elif name not in ("decode", "to_uint8", "central_crop"):
            odd.append(f"by ops.{name}")
    if method not in _METHODS.values():
        odd.append(f"by method={method!r}")
        method = "bilinear"
    if odd:
        logging.warning("This model sees images prepared %s, which %s cannot: "
                        "its pixels will differ a little.",
                        " and ".join(odd), library)
    return method, fraction, squash, (mean * 3)[:3], (std * 3)[:3]

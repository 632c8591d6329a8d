"""Models of Hugging Face and timm: opened, and the gin settings that they need.

Either `hf:owner/name` (weights.hub), a folder with config.json, or a file of
weights, beside which config.json may lie.
"""

import contextlib
import math
import os
import re

from absl import logging

from tfvit.models import encoder_block
from tfvit.weights import hf_configs
from tfvit.weights import hub
from tfvit.weights import names
from tfvit.weights import tensor_files
from tfvit.weights import timm_configs
from tfvit.weights import torch_models
from tfvit.weights import torch_names
from tfvit.weights import torch_pixels

_WEIGHTS = ("model.safetensors", f"model.safetensors{tensor_files.INDEX}",
            "pytorch_model.bin", f"pytorch_model.bin{tensor_files.INDEX}")
_MAX_SIDE = 8_192  # Pixels of an image.
_IN21K = 21_843  # Classes, in the order of the original's.


class Opened:
    """A file of weights with what its configuration says.

    Attributes:
      kind: model_type of transformers, or None.
      tensors: tensor_files.Tensors.
      found: torch_models.Found.
      settings: {gin name: value} of torch_pixels, "ops" among them.
      tokenizer: {gin name: value}, of two towers.
    """

    def __init__(self, tensors, model):
        self.tensors = tensors
        tensors.warn = self.warn  # For load.from_npz.
        config = _json(model, hub.CONFIG)
        if not config:
            logging.warning(
                "%s has no %s beside it: heads are taken to be 64 wide, and "
                "what is usual for the rest.", model.name, hub.CONFIG)
        kind = config.get("model_type")
        self.kind = "dinov2" if str(kind).startswith("dinov2") else kind
        processor = kind and _json(model, "preprocessor_config.json")
        try:
            self.settings, pixels = _pixels(kind, config, processor)
            self.found = describe(config, tensors.shapes, pixels)
            self._entries, rest = torch_names.entries(self.found.rules,
                                                      tensors.shapes)
            torch_models.check_rest(rest)
        except ValueError as error:
            raise ValueError(f"{model.name} is not read: {error}") from error
        # Whatever else a config of strangers makes it stumble over.
        except (ArithmeticError, AttributeError, LookupError,
                TypeError) as error:
            raise ValueError(f"{model.name} is not read: its arrays and its "
                             f"configuration do not go together ({error!r})."
                             ) from error
        table = self._entries.get(names.POS_EMBEDDING)
        if table and "cls" in self._entries and (
                table.shape[1] == math.prod(self.found.grid)):
            _, count, width = table.shape
            self._entries[names.POS_EMBEDDING] = table.then(
                (1, count + 1, width), names.prepend_zeros)
        if self.found.num_classes:  # pre_logits that its head never sees.
            for leaf in ("kernel", "bias"):
                self._entries.pop(f"pre_logits/{leaf}", None)
        self.tokenizer = {}
        if self.found.function == "lit.lit":
            self.tokenizer = _tokenizer(kind, model, self.found)

    def canonicalise(self, subtree=None):
        """{canonical name: names.Entry}, of one tower where `subtree` says so.

        Raises:
          ValueError: there is no such tower.
        """
        if not subtree:
            return self._entries
        part = {name.removeprefix(f"{subtree}/"): entry
                for name, entry in self._entries.items()
                if name.startswith(f"{subtree}/")}
        if not part:
            raise ValueError(f"There is nothing under {subtree!r}.")
        return part


    def warn(self, model):
        """Says what arrays do not tell, and `model` has otherwise."""
        blocks = [layer for tower in (model, getattr(model, "img", None))
                  for layer in getattr(tower, "layers", ())
                  if isinstance(layer, encoder_block.EncoderBlock)]
        if not blocks:
            return
        has = {"vit.vit.activation": blocks[0].mlp.activation,
               "vit.vit.norm_epsilon": blocks[0].norm_0.epsilon}
        for name, value in has.items():
            wanted = self.found.settings.get(name, value)
            if wanted != value:
                logging.warning(
                    "%s was trained with %s = %r; this model has %r and will "
                    "compute a little else.", self.tensors.path, name, wanted,
                    value)


@contextlib.contextmanager
def opened(name):
    """Opens what hub.is_theirs says is one, as Opened.

    Raises:
      FileNotFoundError, OSError: it is not there, or not to be had.
      ValueError: it is broken, or no model of ours is like it.
    """
    model = hub.Model(name)
    path = model.weights or next(filter(None, map(model.file, _WEIGHTS)), None)
    if path is None:
        if model.file(hub.CONFIG) is None:
            raise FileNotFoundError(f"There is no model {name}.")
        raise FileNotFoundError(f"{name} has none of {', '.join(_WEIGHTS)}.")
    if path.endswith(tensor_files.INDEX):
        of = tensor_files.read_json(path).get("weight_map")
        for part in sorted(set(of.values()) if isinstance(of, dict) else ()):
            if isinstance(part, str) and re.fullmatch(r"[\w.-]+", part):
                model.file(part)
    with tensor_files.load(path) as tensors:
        yield Opened(tensors, model)


def describe(config, shapes, pixels=None):
    """Finds the model of {name: shape}, by config.json's dict.

    Args:
      config: {} where there is none; then what is usual is taken.
      shapes: of the arrays in the file.
      pixels: (height, width) for which its images are prepared, if known.

    Returns:
      A torch_models.Found.

    Raises:
      ValueError: no model of ours is like it; says what it lacks.
    """
    kind = config.get("model_type")
    if kind is None and any(name.endswith("embeddings.cls_token")
                            for name in shapes):
        kind = "vit"
    found = (timm_configs.describe(config, shapes, pixels) if kind is None else
             hf_configs.describe(kind, config, shapes, pixels))
    if not all(0 < side <= _MAX_SIDE for side in found.image_size):
        raise ValueError(f"its images have {found.image_size} pixels.")
    return found


def _pixels(kind, config, processor):
    """(settings, size or None) of torch_pixels."""
    if kind not in torch_pixels.TRANSFORMERS:
        return torch_pixels.of_timm(config)
    settings, size = torch_pixels.of_transformers(kind, processor)
    return settings, size if processor else None


def gin_of(name, subtree, given):
    """As published.gin_of, of such a model.

    Args:
      name: of the model.
      subtree: the tower, "img" or None.
      given: whether somebody else gives IMAGE_SIZE.
    """
    with opened(name) as model:
        found = model.found
    settings = dict(found.settings)
    function, size = found.function, found.image_size
    classes = found.num_classes
    if subtree == "img" and function == "lit.lit":
        function = "vit.vit"
        classes = settings["lit.lit.out_dim"][0]
        settings = {key: value for key, value in settings.items()
                    if key.startswith("vit.vit.")}
    lines = {f"{key}": value if str(value).startswith("@") else repr(value)
             for key, value in settings.items()}
    lines["experiment.Experiment.model"] = f"@{function}"
    if function != "lit.lit":
        lines |= {"NUM_CLASSES": repr(classes),
                  f"{function}.num_classes": "%NUM_CLASSES"}
    if not given:
        lines["IMAGE_SIZE"] = repr(size[0] if size[0] == size[1] else
                                   tuple(size))
    image = function if function != "lit.lit" else "vit.vit"
    lines[f"{image}.image_size"] = "%IMAGE_SIZE"
    path = f"{name}:{subtree}" if subtree else name
    lines["load.from_npz.path"] = repr(path)
    lines |= _preprocessing(model.settings, function == "lit.lit")
    if model.kind == "dinov2":
        lines["load.from_npz.posemb_method"] = "'bicubic'"
    if classes == _IN21K and "in21k" in name:
        lines["experiment.Experiment.loss"] = "@losses.sigmoid_xent"
    recipe = "published"
    if function == "lit.lit":
        recipe = "published_lit"
        maker, *_ = {key.rpartition(".")[0] for key in model.tokenizer}
        lines |= {key: repr(value) for key, value in model.tokenizer.items()}
        lines["TOKENIZER"] = f"@{maker}()"
    return ([f"gin/recipes/{recipe}.gin"],
            [f"{key} = {value}" for key, value in lines.items()])


def _preprocessing(settings, lit):
    lines = {key: value if str(value).startswith("%") else repr(value)
             for key, value in settings.items() if key != "ops"}
    ops = ", ".join(f"@{op}" for op in ["ops.decode", *settings["ops"]])
    evaluator = ("retrieval.Retrieval" if lit else
                 "classification.Classification")
    lines[f"{evaluator}.ops"] = f"[{ops}]"
    if settings["ops"][-1] != "ops.value_range":  # Of training, on the device.
        lines["experiment.Experiment.device_ops"] = f"[@{settings['ops'][-1]}]"
    return lines


def class_names(name, num_classes):
    """Names of the classes of such a model, or None."""
    model = hub.Model(name)
    return _class_names(_json(model, hub.CONFIG), num_classes)


def _json(model, name):
    path = model.file(name)
    return tensor_files.read_json(path) if path else {}


def _class_names(config, num_classes):
    given = config.get("pretrained_cfg", {})
    found = config.get("label_names") or given.get("label_names")
    if isinstance(config.get("id2label"), dict):
        try:
            found = [config["id2label"][str(i)]
                     for i in range(len(config["id2label"]))]
        except KeyError:
            return None
    if not isinstance(found, list) or not all(
            isinstance(name, str) for name in found):
        return None
    if num_classes not in (None, len(found)) or all(
            re.fullmatch(r"LABEL_\d+", name) for name in found):
        return None
    return [" ".join(name.split()) for name in found]


def _tokenizer(kind, model, found):
    """Settings of tokenizers for CLIP or SigLIP; fetches their files."""
    length = found.settings["text_tower.text_transformer.max_len"]
    if kind == "clip":
        maker, files = "tokenizers.clip_bpe", {"vocab": "vocab.json",
                                               "merges": "merges.txt"}
    else:
        maker, files = "tokenizers.siglip", {"model": "spiece.model"}
    paths = {argument: model.file(file) for argument, file in files.items()}
    for argument, path in paths.items():
        if path is None:
            raise ValueError(
                f"{model.name} has no {files[argument]}, without which its "
                f"texts cannot be read"
                f"{' (SigLIP 2 has another tokenizer)' * (kind == 'siglip')}.")
    return {**{f"{maker}.{argument}": os.path.abspath(path)
               for argument, path in paths.items()}, f"{maker}.max_len": length}

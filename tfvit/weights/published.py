"""Which gin file, and which settings, belong to a published `.npz` file.

The architecture is told by the arrays' shapes, so that names do not matter;
what they do not tell, by the file beside it (weights.sidecar) or, of the
catalogue's files, by what is known of them.
"""

import math
import re

from absl import logging

from tfvit.weights import adapt
from tfvit.weights import augreg
from tfvit.weights import fetch
from tfvit.weights import hub
from tfvit.weights import hub_models
from tfvit.weights import load
from tfvit.weights import names
from tfvit.weights import npz
from tfvit.weights import sidecar

_WIDTHS = {192: "ti", 384: "s", 512: "s", 768: "b", 1024: "l", 1280: "h"}
# Width of the text tower -> the LiT.
_BERTS = {768: "lit_b16b", 1024: "lit_l16l"}
_SMALL = {192: "lit_l16ti", 384: "lit_l16s"}
_SIZE = 224  # Pixels of published models without a table of positions.
GIVEN = object()
_NAMES = {8: "r26", 16: "r50"}  # Units in the ResNet stem -> its name.


def gin_of(path, overrides=()):
    """Returns (gin files, bindings) that load a file with its whole function.

    Args:
      path: what load.from_npz takes.
      overrides: bindings that will follow, of which one may give IMAGE_SIZE.

    Raises:
      FileNotFoundError, OSError: as fetch.resolve.
      ValueError: the file is broken or of no architecture in gin/models.
    """
    file, subtree = load.split_subtree(path)
    given = any(re.search(r"\b(IMAGE_SIZE|image_size)\s*=", binding)
                for binding in overrides)
    if hub.is_theirs(file):
        return hub_models.gin_of(file, subtree, given)
    if re.fullmatch(r"augreg/\w+", file):
        file = augreg.recommended(file.split("/")[1], augreg.read_index())
        path = f"{file}:{subtree}" if subtree else file
    with npz.load(fetch.resolve(file)) as arrays:
        entries = names.canonicalise(arrays.shapes, subtree=subtree)
        noted = getattr(arrays, "notes", {}).get("image_size")
    if given:
        noted = GIVEN
    shapes = {name: entry.shape for name, entry in entries.items()}
    if any(name.startswith("txt/") for name in shapes):
        return _gin_of_lit(path, shapes, noted)
    known = sidecar.read(file)
    if noted is not GIVEN:
        noted = known.get("image_size", noted)
    if "architecture" in known:
        files = []
        settings, bindings = _own_model(known["architecture"], noted is GIVEN)
    else:
        model, settings = describe(shapes, noted)
        files, bindings = [f"gin/models/{model}.gin"], []
    settings.update(_settings(known))
    bindings += [f"{k} = {v!r}" for k, v in settings.items()]
    bindings.append(f"load.from_npz.path = {path!r}")
    link = known.get("link")
    if fetch.is_published(file) and settings["NUM_CLASSES"] == 21_843:
        link = link or "sigmoid"  # arXiv 2010.11929, appendix B.1.
    if link == "sigmoid":
        bindings.append("experiment.Experiment.loss = @losses.sigmoid_xent")
    return [*files, "gin/recipes/published.gin"], bindings


def _own_model(architecture, given):
    """({macro: value}, bindings) of a model whose arrays do not tell its heads.
    """
    function = next(iter(architecture)).rpartition(".")[0]
    values = {name: tuple(value) if isinstance(value, list) else value
              for name, value in architecture.items()}
    size = values.pop(f"{function}.image_size")
    macros = {"NUM_CLASSES": values[f"{function}.num_classes"]}
    if not given:
        macros["IMAGE_SIZE"] = size
    return macros, [f"experiment.Experiment.model = @{function}",
                    f"{function}.image_size = %IMAGE_SIZE",
                    *(f"{name} = {value!r}" for name, value in values.items())]


def _settings(known):
    """The {gin name: value} of the preprocessing that a sidecar knows."""
    settings = {}
    if "upright" in known:
        settings["ops.decode.upright"] = known["upright"]
    for name, value, usual in zip(("low", "high"),
                                  known.get("value_range", (-1, 1)), (-1, 1)):
        if value != usual:
            settings[f"ops.value_range.{name}"] = value
    return settings


def _gin_of_lit(path, shapes, noted):
    model, settings = describe_lit(shapes, noted)
    # Published beside the weights.
    stem = path.removesuffix(".npz")
    bindings = ["TOKENIZER = @tokenizers.sentencepiece()"]
    if "bert.bert.vocab_size" in settings:
        bindings = []  # As gin/recipes/lit.gin has it.
        settings["tokenizers.wordpiece.vocab"] = f"{stem}.txt"
    else:
        settings["tokenizers.sentencepiece.model"] = f"{stem}.model"
    settings["load.from_npz.path"] = path
    bindings += [f"{k} = {v!r}" for k, v in settings.items()]
    files = [f"gin/models/{model}.gin", "gin/recipes/published_lit.gin"]
    return files, bindings


def describe_lit(shapes, noted=None):
    """As describe, for a file of two towers.

    Raises:
      ValueError: no LiT in gin/models has these shapes.
    """
    bert = shapes.get(
        "txt/BertEncoder_0/embedder/embedders_token_ids/embedding")
    small = shapes.get("txt/Embed_0/embedding")
    table, stems = (bert, _BERTS) if bert else (small, _SMALL)
    kernel = shapes.get("img/embedding/kernel")
    positions = shapes.get(f"img/{names.POS_EMBEDDING}")
    if not (table and kernel) or table[1] not in stems:
        raise ValueError(f"The arrays are those of {names.describe(shapes)}: "
                         "no LiT in gin/models.")
    heads = [shapes.get(f"{tower}/head/bias", [None])[0]
             for tower in ("img", "txt")]
    settings = {"lit.lit.out_dim": tuple(heads)}
    tokens = positions and positions[1] - ("img/cls" in shapes)
    if (size := _image_size(tokens, kernel[0], noted)) is not GIVEN:
        settings |= {"vit.vit.image_size": size, "ops.resize.size": size}
    if not positions:
        settings["vit.vit.posemb"] = "sincos2d"
    if bert:
        settings["bert.bert.vocab_size"] = bert[0]
    else:
        length = shapes["txt/pos_embedding"][1]
        settings["text_tower.text_transformer.vocab_size"] = small[0]
        settings["text_tower.text_transformer.max_len"] = length
        settings["tokenizers.sentencepiece.max_len"] = length
    return stems[table[1]], settings


def describe(shapes, noted=None):
    """Returns (stem of the gin file, {gin name: value}) for {name: shape}.

    Args:
      shapes: of the file's arrays.
      noted: (height, width) of the images if the file says so; GIVEN where
        somebody else does.

    Raises:
      ValueError: no architecture in gin/models has these shapes, or they leave
        the size of the images open.
    """
    mixer = "MixerBlock_0/LayerNorm_0/scale" in shapes
    kernel = shapes.get("stem/kernel" if mixer else "embedding/kernel")
    letter = _WIDTHS.get(kernel[-1]) if kernel else None
    if letter is None or kernel[0] != kernel[1]:
        raise ValueError(f"The arrays are those of {names.describe(shapes)}: "
                         "no model in gin/models.")
    patch = kernel[0]
    classes = shapes["head/bias"][0] if "head/bias" in shapes else None
    settings = {"NUM_CLASSES": classes}
    if (channels := (shapes.get("conv_root/kernel") or kernel)[2]) != 3:
        family = "mixer.mixer" if mixer else "vit.vit"
        settings |= {f"{family}.channels": channels,
                     "ops.decode.channels": channels}
    if mixer:
        tokens = shapes["MixerBlock_0/token_mixing/Dense_0/kernel"][0]
        if (size := _image_size(tokens, patch, noted)) is not GIVEN:
            settings["IMAGE_SIZE"] = size
        return f"mixer_{letter}{patch}", settings
    stages = _stages(shapes)
    reduction = patch * (4 * 2**max(len(stages) - 1, 0) if stages is not None
                         else 1)
    positions = shapes.get(names.POS_EMBEDDING)
    tokens = positions and positions[1] - ("cls" in shapes)
    if (size := _image_size(tokens, reduction, noted)) is not GIVEN:
        settings["IMAGE_SIZE"] = size
    if not positions:
        settings["vit.vit.posemb"] = "sincos2d"
    if "cls" not in shapes:
        settings["vit.vit.classifier"] = "gap"
    if "pre_logits/kernel" in shapes and classes:
        settings["vit.vit.representation_size"] = shapes["pre_logits/kernel"][1]
    if stages is None:
        return f"{letter}{patch}", settings
    if not stages:
        return f"r_{letter}16", settings
    return f"{_NAMES.get(sum(stages))}_{letter}{reduction}", settings


def _image_size(count, patch, noted):
    """Pixels of an image of `count` patches, an int or (height, width).

    Args:
      count: None where there is no table of positions.
      patch: pixels of a patch.
      noted: see describe.

    Raises:
      ValueError: only the user can know.
    """
    if noted is GIVEN:
        return GIVEN
    if noted:
        height, width = noted
        return height if height == width else (height, width)
    if count is None:
        logging.info("No position embeddings in the file: posemb='sincos2d', "
                     "at %d pixels, as published. Other images: "
                     "--gin_bindings='IMAGE_SIZE = ...'.", _SIZE)
        return _SIZE
    if not adapt.is_square(count):
        raise ValueError(
            f"The file is for images of {count} patches of {patch} pixels, "
            "which are no square: give their (height, width), such as "
            f"--gin_bindings='IMAGE_SIZE = ({patch}, {count * patch})', and "
            "the patches' as load.from_npz.file_grid.")
    return math.isqrt(count) * patch


def _stages(shapes):
    """Units per stage of a ResNet stem; None without stem."""
    if "conv_root/kernel" not in shapes:
        return None
    count = {}
    for name in shapes:
        if name.startswith("block") and name.endswith("/conv1/kernel"):
            stage = name.split("/")[0]
            count[stage] = count.get(stage, 0) + 1
    return list(count.values())

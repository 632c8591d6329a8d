"""Which gin file, and which settings, belong to a published `.npz` file.

The architecture is told by the arrays' shapes, so that names do not matter;
what they do not tell, by the file beside it (weights.sidecar) or, of the
catalogue's files, by what is known of them.
"""

import math
import re

from tfvit.weights import augreg
from tfvit.weights import fetch
from tfvit.weights import load
from tfvit.weights import names
from tfvit.weights import npz
from tfvit.weights import sidecar

_WIDTHS = {192: "ti", 384: "s", 512: "s", 768: "b", 1024: "l", 1280: "h"}
# Width of the text tower -> the LiT.
_BERTS = {768: "lit_b16b", 1024: "lit_l16l"}
_SMALL = {192: "lit_l16ti", 384: "lit_l16s"}
_NAMES = {8: "r26", 16: "r50"}  # Units in the ResNet stem -> its name.


def gin_of(path):
    """Returns (gin files, bindings) that load a file with its whole function.

    Args:
      path: what load.from_npz takes.

    Raises:
      FileNotFoundError, OSError: as fetch.resolve.
      ValueError: the file is broken or of no architecture in gin/models.
    """
    file, subtree = load.split_subtree(path)
    if re.fullmatch(r"augreg/\w+", file):
        file = augreg.recommended(file.split("/")[1], augreg.read_index())
        path = f"{file}:{subtree}" if subtree else file
    with npz.load(fetch.resolve(file)) as arrays:
        entries = names.canonicalise(arrays.shapes, subtree=subtree)
    shapes = {name: entry.shape for name, entry in entries.items()}
    if any(name.startswith("txt/") for name in shapes):
        return _gin_of_lit(path, shapes)
    known = sidecar.read(file)
    model, settings = describe(shapes)
    settings.update(_settings(known))
    bindings = [f"{k} = {v!r}" for k, v in settings.items()]
    bindings.append(f"load.from_npz.path = {path!r}")
    link = known.get("link")
    if fetch.is_published(file) and settings["NUM_CLASSES"] == 21_843:
        link = link or "sigmoid"  # arXiv 2010.11929, appendix B.1.
    if link == "sigmoid":
        bindings.append("experiment.Experiment.loss = @losses.sigmoid_xent")
    return [f"gin/models/{model}.gin", "gin/recipes/published.gin"], bindings


def _settings(known):
    """The {gin name: value} of what a sidecar knows and arrays do not."""
    settings = {}
    if size := known.get("image_size"):
        settings["IMAGE_SIZE"] = size[0] if size[0] == size[1] else tuple(size)
    for name, value, usual in zip(("low", "high"),
                                  known.get("value_range", (-1, 1)), (-1, 1)):
        if value != usual:
            settings[f"ops.value_range.{name}"] = value
    return settings


def _gin_of_lit(path, shapes):
    model, settings = describe_lit(shapes)
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


def describe_lit(shapes):
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
    if not (table and kernel and positions) or table[1] not in stems:
        raise ValueError(f"The arrays are those of {names.describe(shapes)}: "
                         "no LiT in gin/models.")
    tokens = positions[1] - ("img/cls" in shapes)
    size = math.isqrt(tokens) * kernel[0]
    heads = [shapes.get(f"{tower}/head/bias", [None])[0]
             for tower in ("img", "txt")]
    settings = {"lit.lit.out_dim": tuple(heads), "vit.vit.image_size": size,
                "ops.resize.size": size}
    if bert:
        settings["bert.bert.vocab_size"] = bert[0]
    else:
        length = shapes["txt/pos_embedding"][1]
        settings["text_tower.text_transformer.vocab_size"] = small[0]
        settings["text_tower.text_transformer.max_len"] = length
        settings["tokenizers.sentencepiece.max_len"] = length
    return stems[table[1]], settings


def describe(shapes):
    """Returns (stem of the gin file, {gin name: value}) for {name: shape}.

    Raises:
      ValueError: no architecture in gin/models has these shapes.
    """
    mixer = "MixerBlock_0/LayerNorm_0/scale" in shapes
    kernel = shapes.get("stem/kernel" if mixer else "embedding/kernel")
    letter = _WIDTHS.get(kernel[-1]) if kernel else None
    if letter is None:
        raise ValueError(f"The arrays are those of {names.describe(shapes)}: "
                         "no model in gin/models.")
    patch = kernel[0]
    classes = shapes["head/bias"][0] if "head/bias" in shapes else None
    settings = {"NUM_CLASSES": classes}
    if mixer:
        tokens = shapes["MixerBlock_0/token_mixing/Dense_0/kernel"][0]
        settings["IMAGE_SIZE"] = math.isqrt(tokens) * patch
        return f"mixer_{letter}{patch}", settings
    stages = _stages(shapes)
    reduction = patch * (4 * 2**max(len(stages) - 1, 0) if stages is not None
                         else 1)
    tokens = shapes[names.POS_EMBEDDING][1] - ("cls" in shapes)
    settings["IMAGE_SIZE"] = math.isqrt(tokens) * reduction
    if "cls" not in shapes:
        settings["vit.vit.classifier"] = "gap"
    if "pre_logits/kernel" in shapes and classes:
        settings["vit.vit.representation_size"] = shapes["pre_logits/kernel"][1]
    if stages is None:
        return f"{letter}{patch}", settings
    if not stages:
        return f"r_{letter}16", settings
    return f"{_NAMES.get(sum(stages))}_{letter}{reduction}", settings


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

"""Lists the models: size, cost, published accuracy, checkpoints.

    python -m tools.models              # all of them
    python -m tools.models mixer        # those with a word in their name
    python -m tools.models b16          # everything about one
    python -m tools.models --json

GMACs are billions of multiplications with an addition for one image at 224
pixels, which papers and timm call GFLOPs; --dry_run counts two for each. Memory
is what the dry run estimates for fine-tuning a batch of 32 at once in float32.
--measure traces models anew and writes what they cost into tools/models.json.
"""

import json
import os
import re

from absl import flags

from tfvit import launch

_JSON = flags.DEFINE_bool("json", False, "Print JSON, with everything in it.")
_MEASURE = flags.DEFINE_bool("measure", False, "See above; takes minutes.")

launch.start(__name__)

from tfvit.bindings import gin_file
from tfvit.reproduction import ledger
from tfvit.weights import catalogue

from . import listing
from . import tables

_COSTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models.json")
_COLUMNS = ("model", "is", "params", "GMACs", "memory", "ImageNet",
            "checkpoints")


def rows():
    """A dict for each file of gin/models; what nobody published is None."""
    with open(_COSTS, encoding="utf-8") as f:
        costs = json.load(f)
    checkpoints = {}
    for name in catalogue.names():
        checkpoints.setdefault(catalogue.model(name), []).append(name)
    runs = [file for file in gin_file.gin_files("gin")
            if "gin/data/imagenet2012.gin" in file.includes]
    found = []
    for file in gin_file.gin_files("gin/models"):
        title = file.about()
        accuracy, source = max(
            (*_published(file.name), *_expected(runs, file.path)),
            default=(None, None))
        found.append({
            "name": file.name,
            "is": re.split(r" \(|\.$|\. |: |, ", title)[0],
            "about": title,
            "file": file.path,
            "parameters": int(re.search(r"([\d,]+) parameters",
                                        title)[1].replace(",", "")),
            "cost": costs[file.name],
            "imagenet_accuracy": accuracy,
            "accuracy_source": source,
            "checkpoints": checkpoints.get(file.name, []),
        })
    return sorted(found, key=_order)


def _published(name):
    """(accuracy, where it is from) of the files that are of a model."""
    for row in ledger.published():
        if row.dataset == "imagenet2012" and row.stem == name:
            how = "zero-shot " * (row.task == "zero-shot")
            yield row.expected, (f"{how}at {row.image_size} px "
                                 f"({row.source}; {row.checkpoint})")


def _expected(runs, path):
    """The same from the comments of the runs on ImageNet-1k with a model."""
    for file in runs:
        number = file.expected()
        if (path in file.includes and number and not number.about and
                number.metric == "test/accuracy"):
            models = [other for other in file.includes
                      if other.startswith("gin/models/")]
            if models[0] == path:  # The others are what that one builds on.
                yield float(number.text), f"{file.path}: {number.source}"


def _order(row):
    """By family, then by size."""
    family = re.match(r"lit|mixer|r\d*_|", row["name"])[0]
    return (["", "r", "m", "l"].index(family[:1]), row["parameters"])


def table(found):
    """Lines of a table of rows."""
    texts = [[row["name"], row["is"], _millions(row["parameters"]),
              f"{row['cost']['224']['gmacs']:.4g}",
              _gib(row["cost"]["224"]["memory"]),
              f"{row['imagenet_accuracy'] or '-'}",
              " ".join(dict.fromkeys(name.split("/")[0] for name in
                                     row["checkpoints"])) or "-"]
             for row in found]
    yield from tables.aligned(_COLUMNS, texts, tables.width(), (0, 1, 6))
    yield ""
    yield ("GMACs of one image of 224 px, memory to train 32 of them at once "
           "(float32),")
    yield ("ImageNet: published top-1. Where each number is from, names of "
           "the checkpoints,")
    yield "384 px: tfvit models NAME. (Of LiT: zero-shot; its image tower.)"


def details(row):
    """Lines about one model."""
    yield row["about"]
    yield ""
    yield f"gin file     {row['file']}"
    yield f"parameters   {row['parameters']:,}"
    for size, cost in row["cost"].items():
        yield (f"{size + ' px':12} {cost['gmacs']:,.4g} GMACs an image, "
               f"{_gib(cost['memory'])} to train 32 at once in float32")
    if row["imagenet_accuracy"]:
        yield (f"ImageNet     {row['imagenet_accuracy']} "
               f"{row['accuracy_source']}")
    for name in row["checkpoints"]:
        yield f"checkpoint   {name}"
    if row["checkpoints"]:
        yield ""
        yield f"tfvit inspect_npz {row['checkpoints'][0]}"


def _collections(names):
    """Where names of checkpoints are from: imagenet21k +imagenet2012 sam."""
    found = dict.fromkeys(name.split("/")[0] for name in names)
    return " ".join(found).replace("imagenet21k+", "+") or "-"


def _millions(number):
    return f"{number / 1e6:,.{2 if number < 1e6 else 1}f} M"


def _gib(number):
    return f"{number / 2**30:.1f} GiB"


def main(words):
    if _MEASURE.value:
        from . import measured  # Imports TensorFlow.
        files = [{"name": file.name} for file in
                 gin_file.gin_files("gin/models")]
        measured.update([file["name"] for file in listing.choose(
            files, words, lambda file: file["name"])])
    listing.show(rows(), words, as_json=_JSON.value, table=table,
                 details=details, text=lambda row: row["name"])


if __name__ == "__main__":
    launch.run_words(main)

"""Lists the datasets that gin/data has, and the sources to write one with.

    python -m tools.data               # all of them
    python -m tools.data vtab photos   # those with both words in their line
    python -m tools.data cifar10       # everything about one

How to get it: `TFDS` downloads it at the first run, and says how much where
that is known; `by hand` needs files that you download; `yours` needs a path.
"""

import os
import re

from absl import flags

from tfvit import launch

_JSON = flags.DEFINE_bool("json", False, "Print JSON, with everything in it.")

launch.start(__name__)

from tfvit.bindings import gin_file

from . import listing
from . import signatures
from . import tables

_COLUMNS = ("data", "classes", "get it", "splits", "what it is")
_SOURCES = ("sources.", "captions.table", "combine.", "shapes.captioned",
            "shapes.labelled", "webdataset.", "parquet.table", "arrow.table",
            "class_tars.", "sampling.sampled", "prepared.images")


def rows():
    """A dict for each file of gin/data, then one for each kind of source."""
    files = [file for folder in ("gin/data", "gin/data/vtab")
             for file in gin_file.gin_files(folder)
             if "TFDS_NAME" in file.bindings or
             "%TFDS_NAME" not in file.bindings.values()]
    return [*map(_row, files), *_sources()]


def _row(file):
    # Without the macros that only the user can give.
    needed = sorted({macro for value in file.bindings.values()
                     for macro in re.findall(r"%([A-Z_]+)", value)} -
                    set(file.bindings))
    classes = file.bindings.get("NUM_CLASSES")
    return {
        "name": os.path.relpath(file.path, "gin/data").removesuffix(".gin"),
        "classes": classes and int(classes),
        "get": _get(file, needed),
        "needed": needed,
        "splits": {name.split("/")[0]: _resolved(value, file.bindings)
                   for name, value in file.bindings.items()
                   if name.endswith(".split")},
        "about": listing.sentence(file.about()),
        "comment": file.comment,
        "file": file.path,
    }


def _get(file, needed):
    text = " ".join(file.comment)
    if needed:
        return f"yours: {needed[0]}"
    if re.search(r"by hand|[Rr]egister", text):
        return "by hand"
    if "nothing to download" in text:
        return "at hand"
    size = re.search(r"downloads? ([\d.]+ [GM]B)", text)
    return f"TFDS, {size[1]}" if size else "TFDS"


def _resolved(value, bindings):
    """A value in place of its macro."""
    return bindings.get(value[1:], value).strip("'") if (
        value.startswith("%")) else value.strip("'")


def _sources():
    for function in signatures.callables():
        name, about = function["name"], function["about"]
        if name.startswith(_SOURCES) and name[:1].islower() and (
                not name.split(".")[1][0].isupper()):
            yield {"name": f"@{name}", "classes": None, "get": "a source",
                   "splits": {}, "about": about,
                   "parameters": function["parameters"]}


def table(found):
    """Lines of a table of rows."""
    texts = [[row["name"], f"{row['classes'] or '-'}", row["get"],
              " ".join(split.split("_")[-1] for split in row["splits"]),
              tables.brief(row["about"])]
             for row in found if row["splits"]]
    if texts:
        yield from tables.aligned(_COLUMNS, texts, tables.width(),
                                  (0, 2, 3, 4))
        yield ""
    texts = [[row["name"], row["about"]] for row in found if not row["splits"]]
    if texts:
        yield from tables.aligned(["source", "for a gin file of your own"],
                                  texts, tables.width(), (0, 1))
        yield ""
    yield "All about one: tfvit data NAME. Look at it: tfvit check_data --help"


def details(row):
    """Lines about a single one."""
    if row["name"].startswith("@"):
        yield f"{row['name']}: {row['about']}"
        for parameter in row["parameters"]:
            default = parameter["default"]
            yield (f"  {parameter['name']}"
                   f"{'' if default is None else f' = {default}'}: "
                   f"{parameter['about']}")
        return
    yield from row["comment"]
    yield ""
    for split, value in row["splits"].items():
        yield f"{split:10} {value}"
    if row["classes"]:
        yield f"classes    {row['classes']:,}"
    yield ""
    macros = "".join(f" \\\n    --gin_bindings=\"{name} = ...\""
                     for name in row["needed"])
    yield ("tfvit check_data "
           f"--gin_file={row['file']}{macros}")
    if "coco" in row["name"] or "captions" in row["name"]:
        return
    classes = "" if row["classes"] else (
        " \\\n    --gin_bindings=\"NUM_CLASSES = ...\"")
    yield ("tfvit train --gin_file=gin/recipes/augreg.gin "
           f"--gin_file={row['file']} \\\n    --workdir=runs/"
           f"{os.path.basename(row['name'])}"
           f" --gin_bindings=\"AUGREG = 'S_16'\"{macros}{classes}")


def main(words):
    listing.show(rows(), words, as_json=_JSON.value, table=table,
                 details=details,
                 text=lambda row: f"{row['name']} {row['get']} {row['about']}")


if __name__ == "__main__":
    launch.run_words(main)

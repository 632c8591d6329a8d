"""Lists the runs in gin/, with the number to expect, and their parts.

    python -m tools.recipes                 # all of them
    python -m tools.recipes sam cifar10     # those with both words
    python -m tools.recipes b16_cifar10     # everything about one

A run trains by `python -m tfvit.train --gin_file=gin/NAME.gin`; what begins
with recipes/ is a part, which a run includes or a second --gin_file adds, and
evaluators/ are for `tfvit.evaluate --gin_file`. The number is test/accuracy,
or what its word says; its source is in the file's comment.
"""

import re

from absl import flags

from tfvit import launch

_JSON = flags.DEFINE_bool("json", False, "Print JSON, with everything in it.")

launch.start(__name__)

from tfvit.bindings import gin_file

from . import listing
from . import tables

_COLUMNS = ("recipe", "expected", "what it does")


def rows():
    """A dict for each file of gin/ and gin/recipes."""
    runs = [file for file in gin_file.gin_files("gin") if file.name != "base"]
    return [_row(file, file.name) for file in runs] + [
        _row(file, f"{folder}/{file.name}")
        for folder in ("recipes", "evaluators")
        for file in gin_file.gin_files(f"gin/{folder}")]


def _row(file, name):
    text = "\n".join(file.comment)
    number = file.expected()
    command = re.search(r"^  (python(?:.*\\\n)*.*)$", text, re.MULTILINE)
    return {
        "name": name,
        "about": listing.sentence(file.about()),
        "command": re.sub(r"\\\n\s*", "", command[1]) if command else None,
        "expected": file.says("Expected") or None,
        "number": number and [number.metric.split("/")[0], number.text],
        "comment": file.comment,
        "file": file.path,
        "includes": file.includes,
    }


def _number(row):
    """What to expect, such as 0.9902, or val 0.4788: of val/accuracy."""
    if not row["number"]:
        return "-"
    evaluator, text = row["number"]
    return text if evaluator == "test" else f"{evaluator} {text}"


def table(found):
    """Lines of a table of rows."""
    texts = [[row["name"], _number(row), tables.brief(row["about"])]
             for row in found]
    yield from tables.aligned(_COLUMNS, texts, tables.width(), (0, 2))
    yield ""
    yield "Train: tfvit train --gin_file=gin/RECIPE.gin"
    yield "All about one: tfvit recipes RECIPE"


def details(row):
    """Lines about a single one."""
    yield from row["comment"]
    yield ""
    for path in dict.fromkeys(row["includes"]):
        yield f"includes {path}"


def main(words):
    listing.show(rows(), words, as_json=_JSON.value, table=table,
                 details=details,
                 text=lambda row: f"{row['name']} {row['about']}")


if __name__ == "__main__":
    launch.run_words(main)

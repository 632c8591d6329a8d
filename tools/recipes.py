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

from . import listing
from . import tables

_COLUMNS = ("recipe", "expected", "what it does")


def rows():
    """A dict for each file of gin/ and gin/recipes."""
    runs = [file for file in listing.gin_files("gin") if file.name != "base"]
    return [_row(file, file.name) for file in runs] + [
        _row(file, f"{folder}/{file.name}")
        for folder in ("recipes", "evaluators")
        for file in listing.gin_files(f"gin/{folder}")]


def _row(file, name):
    text = "\n".join(file.comment)
    command = re.search(r"^  (python(?:.*\\\n)*.*)$", text, re.MULTILINE)
    return {
        "name": name,
        "about": listing.sentence(file.about()),
        "command": re.sub(r"\\\n\s*", "", command[1]) if command else None,
        "expected": file.says("Expected") or None,
        "comment": file.comment,
        "file": file.path,
        "includes": file.includes,
    }


def _number(row):
    """What to expect, such as 0.9902, or val 0.4788: of val/accuracy."""
    found = re.match(r"(\w+)/\S+ (?:about )?([01]\.\d+)",
                     row["expected"] or "")
    if not found:
        return "-"
    return found[2] if found[1] == "test" else f"{found[1]} {found[2]}"


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

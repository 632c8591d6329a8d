"""Lists what gin files and --gin_bindings can set, with defaults.

    python -m tools.bindings                # all of it
    python -m tools.bindings sgd            # names with that in them
    python -m tools.bindings optim.sgd.lr   # a single one
    python -m tools.bindings --all          # what is not meant to be set, too

A name is module.function.parameter, read from the source and its docstrings;
one in capitals is a macro, which several parameters share. `needed` is what has
no default and no common value in gin/.
"""

import glob
import os
import re

from absl import flags

from tfvit import launch

_JSON = flags.DEFINE_bool("json", False, "Print JSON, with everything in it.")
_ALL = flags.DEFINE_bool(
    "all", False, "Every parameter of every public function and class.")

launch.start(__name__)

from tfvit.bindings import gin_file
from tfvit.bindings import settable

from . import listing
from . import signatures
from . import tables

# What whoever calls gives: whether a function is called that way, its module
# and the parameters.
_GIVEN = {
    "pipeline.train": "source batch_size seed start_step input_context",
    "schedules": "base total_steps",
    "objectives": "model loss mix",
    "losses": "own temperature bias weights",
    "classification": "name model strategy jit",
    "fewshot": "name model strategy jit",
    "multilabel": "name model strategy jit",
    "retrieval": "name model strategy jit",
    "sharpness": "name model strategy jit",
    "zeroshot": "name model strategy jit",
}
# Called by strategies.auto, but choices as well.
_CHOICES = ("strategies.",)
# Parts of the machinery that are handed over inside it.
_MACHINERY = ("actions.keep_best", "actions.evaluate", "adapt.", "load.check",
              "builders.")
_COLUMNS = ("name", "default", "what it is")


def rows(everything=False):
    """[{"name", "default", "about", "of"}]; "of" says it of the function.

    Args:
      everything: whether to list what is not meant to be set, too: without,
        these are the parameters that gin files bind, and those that go by name
        of functions that tfvit never calls but gin hands over.
    """
    files = _gin_files()
    bound = {name.split("/")[-1] for file in files for name in file.own}
    named = {name.rsplit(".", 1)[0] for name in bound if "." in name}
    named |= {name for file in files for value in file.own.values()
              for name in re.findall(r"@(?:\w+/)*(\w+\.\w+)", value)}
    called = _called()
    said = {f"{function['name']}.{parameter['name']}": parameter["about"]
            for function in signatures.callables()
            for parameter in function["parameters"]}
    found = []
    for function in signatures.callables():
        name = function["name"]
        choice = name in named or name.startswith(_CHOICES) or (
            name not in called and not name.startswith(_MACHINERY))
        given = " ".join(_GIVEN.get(key, "")
                         for key in (name, name.split(".")[0])).split()
        for parameter in function["parameters"]:
            full = f"{name}.{parameter['name']}"
            if everything or full in bound or (
                    choice and parameter["keyword"] and
                    parameter["name"] not in given):
                found.append({"name": full, "default": parameter["default"],
                              "about": _about(function, parameter, said),
                              "of": function["about"]})
    return [*_macros(files), *found]


def _about(function, parameter, said):
    """One line on a parameter, also where its own says: see another function.
    """
    text = parameter["about"]
    while other := re.fullmatch(r"see ([\w.]+?)\.?", text):
        module = function["name"].split(".")[0]
        text = said.get(f"{other[1]}.{parameter['name']}") or said.get(
            f"{module}.{other[1]}.{parameter['name']}", "")
    return text or function["about"]


def _gin_files():
    paths = glob.glob(os.path.join(gin_file.ROOT, "gin", "**", "*.gin"),
                      recursive=True)
    return [gin_file.GinFile(os.path.relpath(path, gin_file.ROOT))
            for path in sorted(paths)]


def _macros(files):
    """Rows of the macros of gin/."""
    values, gives = {}, {}
    for file in files:
        for name, value in file.own.items():
            if re.fullmatch(r"[A-Z_]+", name):
                values.setdefault(name, set()).add(value)
            for macro in re.findall(r"%([A-Z_]+)\b", value):
                gives.setdefault(macro, {})[name.split("/")[-1]] = None
    for name in sorted(values | gives):
        there = values.get(name, set())
        yield {
            "name": name,
            "default": "by file" if len(there) > 1 else min(there,
                                                            default=None),
            "about": f"Gives {', '.join(gives.get(name, ['the model']))}.",
            "of": "A macro of the gin files: one value for what it gives.",
        }


def _called():
    """{module.function} that tfvit's own code calls."""
    found = set()
    for path in glob.glob(os.path.join(settable.PACKAGE, "**", "*.py"),
                          recursive=True):
        module = os.path.basename(path)[:-3]
        if os.path.basename(os.path.dirname(path)) == "api":
            continue  # What users call, it calls for them.
        with open(path, encoding="utf-8") as f:
            text = f.read()
        found |= set(re.findall(r"(?<![@\w.])(\w+\.\w+)\(", text))
        found |= {f"{module}.{name}" for name in re.findall(
            r"(?<!def )(?<!class )(?<![\w.])(\w+)\(", text)}
        for name, alias in re.findall(r"import (\w+) as (\w+)", text):
            found |= {f"{name}.{function}" for function in re.findall(
                rf"\b{alias}\.(\w+)\(", text)}
    return found


def table(found):
    """Lines of a table of rows."""
    room = tables.width()
    texts = [[row["name"],
              tables.short("needed" if row["default"] is None else
                           row["default"], room and 16), row["about"]]
             for row in found]
    return tables.aligned(_COLUMNS, texts, room, (0, 1, 2))


def details(row):
    """Lines about a single one."""
    yield row["name"]
    yield f"  {row['about']}"
    yield ("  It has to be set." if row["default"] is None else
           f"  Default: {row['default']}")
    function = row["name"].rpartition(".")[0]
    yield f"Of {function}: {row['of']}" if function else row["of"]
    value = "..." if row["default"] in (None, "by file") else row["default"]
    yield ""
    yield f"--gin_bindings=\"{row['name']} = {value}\""


def main(words):
    listing.show(rows(_ALL.value), words, as_json=_JSON.value, table=table,
                 details=details, text=lambda row: row["name"])


if __name__ == "__main__":
    launch.run_words(main)

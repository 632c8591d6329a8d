"""The functions of tfvit that gin files can name, read without importing them.
"""

import ast
import functools
import re

from tfvit.bindings import settable

from . import listing


@functools.lru_cache(maxsize=None)
def callables():
    """All public functions and classes of these modules.

    Returns:
      [{"name": such as optim.sgd,
        "about": the first sentence of its docstring,
        "parameters": [{"name", "default": text, or None where it must be
                        given, "keyword": whether by name alone, "about"}]}]
    """
    found = []
    for module in sorted(settable.modules()):
        tree = settable.tree(settable.modules()[module])
        aliases = {alias.asname: alias.name for node in tree.body
                   if isinstance(node, ast.ImportFrom)
                   for alias in node.names if alias.asname}
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and (
                    not node.name.startswith("_")):
                found.append({
                    "name": f"{module}.{node.name}",
                    "about": _first(ast.get_docstring(node) or ""),
                    "parameters": [_plain(parameter, aliases)
                                   for parameter in _parameters(node)],
                })
    return found


def _plain(parameter, aliases):
    """A parameter whose default calls modules what gin files call them."""
    if parameter["default"]:
        parameter["default"] = re.sub(
            r"\b\w+(?=\.)", lambda found: aliases.get(found[0], found[0]),
            parameter["default"])
    return parameter


def _parameters(node):
    doc = ast.get_docstring(node) or ""
    if isinstance(node, ast.ClassDef):
        makers = [part for part in node.body if
                  isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        if not makers:
            return _fields(node, doc)
        node = makers[0]
        doc += "\n" + (ast.get_docstring(node) or "")
    arguments = node.args
    positional = arguments.posonlyargs + arguments.args
    defaults = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    named = list(zip(arguments.kwonlyargs, arguments.kw_defaults))
    return [_parameter(argument.arg, default, keyword, doc)
            for pairs, keyword in ((zip(positional, defaults), False),
                                   (named, True))
            for argument, default in pairs if argument.arg != "self"]


def _fields(node, doc):
    """Those of a dataclass or named tuple."""
    made = " ".join(ast.unparse(part) for part in
                    (*node.decorator_list, *node.bases))
    if not re.search(r"\b(dataclass|NamedTuple)\b", made):
        return []
    return [_parameter(part.target.id, part.value, "kw_only=True" in made, doc)
            for part in node.body if isinstance(part, ast.AnnAssign)]


def _parameter(name, default, keyword, doc):
    if default is not None:
        default = ast.unparse(default)
        if made := re.search(r"default_factory=(\w+)", default):
            default = f"{made[1]}()"
    return {"name": name, "default": default, "keyword": keyword,
            "about": _said(name, doc)}


def _said(name, doc):
    """What the Args or Attributes of a docstring say of one of them."""
    found = re.search(
        rf"^  (?:\w+,\s)*{name}(?:,\s\w+)*:\s+(.*(?:\n(?:    .*)?)*)", doc,
        re.MULTILINE)
    return _first(found[1]) if found else ""


def _first(text):
    """The first sentence of the first paragraph of a text."""
    return listing.sentence(" ".join(text.split("\n\n")[0].split()))

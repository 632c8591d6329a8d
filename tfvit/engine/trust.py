"""What a run's config.gin may name where nobody vouches for it.

A gin file is code: it imports modules and calls what is in them.
"""

import ast
import functools
import re

from tfvit.engine import former_names
from tfvit.engine import gin_text
from tfvit.engine import settable

_GIN = ("__gin__", "gin")  # What gin's own names begin with.


def check(text: str, path: str) -> None:
    """Raises ValueError where a config could run what is not tfvit's.

    It may import tfvit's modules that have something to be set, and call what
    they define, not what they import themselves.

    Args:
      text: of the gin file.
      path: of the file, for the message.
    """
    texts = gin_text.Texts()
    known = settable.modules()
    for line in gin_text.split(former_names.updated(text)):
        if line.startswith("include") or not gin_text.add(line, texts):
            _refuse(path, line)
    for name, imported in texts.imports.items():
        if not imported.startswith(_GIN) and (
                imported not in known.values()):
            _refuse(path, f"{imported} (imported as {name})")
    names = {*texts.references(), *(name.rpartition(".")[0] for name, _ in
                                    texts.statements if "." in name)}
    for name in names:
        parts = name.rsplit("/", 1)[-1].split(".")
        module = texts.imports.get(parts[0], known.get(parts[0], ""))
        if parts[0] != "gin" and not (
                len(parts) == 2 and module in known.values() and
                parts[1] in _defined(module)):
            _refuse(path, f"@{name}")


def _refuse(path, what):
    raise ValueError(
        f"{path} says {what}, which is not tfvit's own and may run anything. "
        "If you know whose it is and want that, add --trust.")


@functools.lru_cache(maxsize=None)
def _defined(module):
    """Names of functions and classes of a module's own."""
    tree = settable.tree(module)
    return {node.name for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))} | {
                target.id for node in tree.body if isinstance(node, ast.Assign)
                for target in node.targets if isinstance(target, ast.Name) and
                not re.match("_", target.id)}

"""What gin bindings may name: modules, their functions, their parameters.

Read from the source, without importing it, for what it imports takes seconds.
"""

import ast
import functools
import os
import re

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Where gin/ lies: inside an installed package, else beside it in a checkout.
# (Beside an installed package another gin lies: the library.)
ROOT = (PACKAGE if os.path.isdir(os.path.join(PACKAGE, "gin")) else
        os.path.dirname(PACKAGE))
PACKAGES = ("data", "distribute", "engine", "evaluators", "models", "optimize",
            "weights")


@functools.lru_cache(maxsize=None)
def modules():
    """{short name: import path} of what bindings may name without an import."""
    found = {"experiment": "tfvit.experiment"}
    for package in PACKAGES:
        for folder, _, files in os.walk(os.path.join(PACKAGE, package)):
            path = os.path.relpath(folder, os.path.dirname(PACKAGE))
            for file in files:
                stem, suffix = os.path.splitext(file)
                if suffix == ".py" and stem != "__init__":
                    found[stem] = f"{path.replace(os.sep, '.')}.{stem}"
    return found


@functools.lru_cache(maxsize=None)
def tree(module):
    """The syntax tree of a module of tfvit, by its import path."""
    path = os.path.join(os.path.dirname(PACKAGE), *module.split(".")) + ".py"
    with open(path, encoding="utf-8") as f:
        return ast.parse(f.read())


@functools.lru_cache(maxsize=None)
def functions(module):
    """{name: parameters} of what a module of `modules` defines.

    Parameters are {name: default as text, or None}; instead of them there is
    None where only running the module would tell.
    """
    found = {}
    for node in tree(modules()[module]).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = _parameters(node)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = _of_class(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = getattr(node, "targets", None) or [node.target]
            found.update((target.id, None) for target in targets
                         if isinstance(target, ast.Name))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((alias.asname or alias.name.split(".")[0], None)
                         for alias in node.names)
    return found


def _parameters(node, skip=0):
    names = [*node.args.posonlyargs, *node.args.args][skip:]
    if node.args.kwarg:
        return None
    defaults = [None] * (len(names) - len(node.args.defaults))
    defaults += node.args.defaults[-len(names) or len(node.args.defaults):]
    pairs = [*zip(names, defaults),
             *zip(node.args.kwonlyargs, node.args.kw_defaults)]
    return {name.arg: default and ast.unparse(default)
            for name, default in pairs}


def _of_class(node):
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return _parameters(part, skip=1)
    if any("dataclass" in ast.unparse(line) for line in node.decorator_list):
        return {part.target.id: part.value and ast.unparse(part.value)
                for part in node.body if isinstance(part, ast.AnnAssign)}
    return None


def named(parameter):
    """module.function.parameter of all parameters of a name.

    Those of the Experiment come first, then those of the training.
    """
    order = ("experiment", "optim", "schedules", "vit", "pipeline")
    first = lambda module: (order.index(module) if module in order else
                            len(order))
    return [f"{module}.{function}.{parameter}"
            for module in sorted(modules(), key=first)
            for function, parameters in functions(module).items()
            if not function.startswith("_") and parameter in (parameters or ())]


def quoted(value):
    """A value as gin wants it: what is neither a number nor so is text."""
    if re.match(r"[@%\[({'\"]", value) or is_literal(value):
        return value
    return repr(value)


def is_literal(value):
    """Whether Python, and so gin, takes a text for a value."""
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return False
    return True

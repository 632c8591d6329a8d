"""Gin texts in the names that tfvit has today, where they have earlier ones."""
import re

_MOVED = {  # Module of an earlier version -> today's.
    "distribute": "distribute.strategies", "gradients": "optimize.gradients",
    "losses": "optimize.losses", "objectives": "optimize.objectives",
    "optim": "optimize.optim", "schedules": "optimize.schedules",
    "models.text": "models.text_tower", "data.text": "data.tokenizers",
    **{f"data.{name}": f"data.datasets.{name}" for name in (
        "captions", "combine", "shapes", "sources", "targets")},
    **{f"data.{name}": f"data.images.{name}" for name in (
        "distort", "mixup", "ops", "randaug")},
}
_RENAMED = {"distribute": "strategies", "text": "tokenizers"}  # In bindings.
_IMPORT = re.compile(
    r"^from tfvit(?P<package>(?:\.\w+)*) import (?P<name>\w+)"
    r"(?: as (?P<alias>\w+))?[ \t]*$", re.MULTILINE)


def updated(text: str) -> str:
    """A gin file with what it imports from tfvit where that lies today."""
    renamed = {}

    def moved(found):
        package, name, alias = found["package"], found["name"], found["alias"]
        old = f"{package}.{name}".lstrip(".")
        if old not in _MOVED:
            return found[0]
        package, new = f"tfvit.{_MOVED[old]}".rsplit(".", 1)
        if alias is None and new != name:
            renamed[name] = new
        alias = f" as {alias}" * (alias not in (None, new))
        return f"from {package} import {new}{alias}"

    return _renamed(_IMPORT.sub(moved, text), renamed)


def updated_binding(text: str, known) -> str:
    """A binding of the command line; what is `known` keeps its name."""
    return _renamed(text, {old: new for old, new in _RENAMED.items()
                           if old not in known})


def _renamed(text, names):
    """A gin text with modules renamed, outside of what is quoted."""
    for old, new in names.items():
        text = re.sub(rf"('[^'\n]*'|\"[^\"\n]*\")|(?<![\w.]){old}\.(?=\w)",
                      lambda found, new=new: found[1] or f"{new}.", text)
    return text

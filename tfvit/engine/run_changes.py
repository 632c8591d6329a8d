"""What of a run's config may change once it has begun, from two gin texts.

Where things lie is no part of what a run is: an argument called path, root,
pattern or vocab, or ..._dir or ..._file, may change, and a macro that only such
arguments use. What data is read there is held against the run's by same_data;
of any other file it is the name that has to stay.
"""
import ast
from collections.abc import Callable, Mapping
import os
import re
import shlex

from tfvit.bindings import former_names

# Told to runs that stop there; and what changes no bit.
_ANYTIME = re.compile(
    r".*\.(skip_corrupt|service|threads|ram_budget)|"
    r"experiment\.Experiment\.(deterministic|steps_per_call)")
_LONGER = re.compile(  # What the steps so far do not depend on.
    r"experiment\.Experiment\.(total_steps|extended|\w+_every|"
    r"keep_checkpoints|actions|writers)|(.*/)?(actions|writers)\.\w+\.\w+")
_TOTAL = "experiment.Experiment.total_steps"
_WARMUP = re.compile(r"(.*/)?schedules\.\w+\.warmup_steps")  # Goes with it.
_PLACE = re.compile(r"(?:.*/)?(\w+)\.\w+\.(?:path|root|pattern|vocab|\w+_dir|"
                    r"\w+_file)")
_DATA = ("sources", "captions", "prepared")


def bindings(text: str) -> dict[str, str]:
    """{name: value} of a config as gin writes it, in today's names."""
    # What is indented goes on with the line before.
    joined = re.sub(r"\s*\\?\n[ \t]+", " ", former_names.updated(text))
    return dict(line.split(" = ", 1) for line in joined.splitlines()
                if " = " in line and not line.startswith("#"))


def value(text: str, name: str) -> str | None:
    """The text of a binding's value, of what a macro stands for; or None."""
    found = bindings(text)
    said = found.get(name)
    while said and said.startswith("%"):
        said = found.get(said[1:])
    return said


def literal(text: str, name: str):
    """The value of a binding that is a number, text or list; else None."""
    try:
        return ast.literal_eval(value(text, name) or "None")
    except (SyntaxError, ValueError):
        return None


def differ(text: str, other: str, *, besides: str) -> bool:
    """Whether two configs differ in more than one binding."""
    first, second = bindings(text), bindings(other)
    return any(first.get(name) != second.get(name)
               for name in {*first, *second} - {besides})


def places(text: str) -> dict[str, str]:
    """{name: value} of where the data lies."""
    found = bindings(text)
    return {name: said for name, said in found.items()
            if _all(name, found, _is_data) and said != "None" and
            not said.startswith("%")}


def check(saved: str, new: str, path: str, *, extends: bool = False) -> dict:
    """{name: (old, new)} of what has changed and may.

    Args:
      saved, new: the two configs.
      path: of the saved one.
      extends: whether the run is to become longer, or shorter.

    Raises:
      ValueError: something else has changed, says what.
    """
    old, now = bindings(saved), bindings(new)
    changes = {name: (old.get(name), now.get(name))
               for name in sorted({*old, *now})
               if old.get(name) != now.get(name)}
    refused = {name: pair for name, pair in changes.items()
               if not _may_change(name, pair, {**old, **now}, extends)}
    if not refused:
        return changes
    lines = [f"{sign}{name} = {said}" for name, pair in refused.items()
             for sign, said in zip("-+", pair) if said is not None]
    ways = ["take the change back" if len(refused) == 1 else
            "take the changes back"]
    if not extends and all(_may_change(name, pair, {**old, **now}, True)
                           for name, pair in refused.items()):
        ways.append("add --extend")
    folder = os.path.dirname(path)
    longer = "" if extends else _longer(refused, {**old, **now}, folder)
    raise ValueError(
        f"This run's config differs from the one in {path} (-):\n" +
        "\n".join(lines) + f"\nTo continue that run, {' or '.join(ways)}; to "
        "start another one, choose a new --workdir" + (
            ": with experiment.Experiment.init = @checkpoint.from_run and "
            f"checkpoint.from_run.path = {folder!r} it begins with these "
            "weights." if extends else ".") + longer)


def _longer(refused, found, folder):
    """How to make a run longer, if that is all that the changes mean."""
    before, after = (int(said) if said and re.fullmatch(r"[\d_]+", said) else 0
                     for said in refused.get(_TOTAL, (None, None)))
    if not before < after or not all(
            _WARMUP.fullmatch(name) or _may_change(name, pair, found, True)
            for name, pair in refused.items()):
        return ""
    config = shlex.quote(os.path.join(folder, "config.gin"))
    return (f"\nTo make it longer: python -m tfvit.train --gin_file={config} "
            f"--workdir={shlex.quote(folder)} --extend=stretch "
            f'--gin_bindings="{_TOTAL} = {after}"')


def _may_change(name, pair, found, extends):
    if _ANYTIME.fullmatch(name):
        return True
    if extends and _all(name, found, _LONGER.fullmatch):
        return True
    if _all(name, found, _is_data):
        return True
    stems = {os.path.basename(str(said).strip("'\"").rstrip("/"))
             for said in pair}
    return len(stems) == 1 and _all(name, found, _PLACE.fullmatch)


def _is_data(name):
    place = _PLACE.fullmatch(name)
    return place and place[1] in _DATA


def _all(name: str, found: Mapping, holds: Callable) -> bool:
    """Whether it holds of a binding, or of all that use a macro."""
    if "." in name:
        return bool(holds(name))
    users = [user for user, said in found.items()
             if re.search(rf"%{re.escape(name)}\b", said)]
    return bool(users) and all(_all(user, found, holds) for user in users)

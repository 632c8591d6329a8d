"""What runs leave in their directories, and tables of it."""

import json
import os
import re

from tfvit.evaluators import metrics
from tfvit.storage import files


def find(words):
    """Directories of runs: themselves, or one level below, in order.

    Raises:
      ValueError: there is none by one of the names.
    """
    runs = []
    for word in words:
        inside = [os.path.join(word, name)
                  for name in files.named(word, r"[^.].*")]
        found = [folder for folder in [word, *inside]
                 if os.path.exists(os.path.join(folder, "config.gin"))]
        if not found:
            raise ValueError(f"{word} is no run (there is no config.gin), nor "
                             "a folder of runs.")
        runs += found
    return list(dict.fromkeys(map(os.path.normpath, runs)))


def curves(run):
    """{metric: [(step, value)]} from metrics.jsonl; {} where there is none."""
    points = {}
    path = os.path.join(run, "metrics.jsonl")
    if not os.path.exists(path):
        return points
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                continue  # The run is just writing it, or died doing so.
            values = json.loads(line)
            step = values.pop("step")
            for name, value in values.items():
                points.setdefault(name, []).append((step, value))
    return points


def bindings(run):
    """{parameter: text of its value} of config.gin."""
    with open(os.path.join(run, "config.gin"), encoding="utf-8") as f:
        text = re.sub(r"\\\n\s*", "", f.read())
    return dict(re.findall(r"^([\w./]+) = (.*)$", text, re.MULTILINE))


def rows(runs, best):
    """A dict for each run: run, what differs in the configs, step, metrics."""
    configs = {run: bindings(run) for run in runs}
    names = dict.fromkeys(
        name for config in configs.values() for name in config)
    differing = [name for name in names
                 if len({config.get(name) for config in configs.values()}) > 1]
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(run))
                                 for run in runs])
    for run in runs:
        points = curves(run)
        row = {"run": os.path.relpath(run, folder)}
        row |= {_short(name, differing): configs[run].get(name)
                for name in differing}
        row["step"] = max((series[-1][0] for series in points.values()),
                          default=0)
        row |= {name: _pick(name, series, best) for name, series in
                points.items() if not name.startswith("train/")}
        yield row


def _short(name, names):
    """The last part of a binding's name, where that is unique."""
    last = name.split(".")[-1]
    same = [other for other in names if other.split(".")[-1] == last]
    return last if len(same) == 1 else name


def _pick(name, series, best):
    values = [value for _, value in series]
    if not best:
        return values[-1]
    return metrics.best(name, values)


def table(dicts):
    """(names of the columns, rows of texts)."""
    columns = list(dict.fromkeys(name for row in dicts for name in row))
    return columns, [[_text(row.get(name)) for name in columns]
                     for row in dicts]


def _text(value):
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def aligned(columns, texts):
    """Yields the lines of a table for the terminal."""
    widths = [max(map(len, column)) for column in zip(columns, *texts)]
    for line in [columns, *texts]:
        yield "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths)))

"""What runs leave in their directories, and tables of it."""

import fcntl
import json
import math
import os
import re

from tfvit.evaluators import metrics
from tfvit.storage import paths
from tfvit.storage import places

# Settings that change no result, or only where the same data lie.
_LITTLE = re.compile(
    r"(\b|\.)(seed|log_every|eval_every|checkpoint_every|keep_checkpoints|"
    r"steps_per_call|deterministic|writers|data_dir|manual_dir|root|DATA_DIR|MANUAL_DIR|"
    r"FOLDER|MANIFEST|CAPTIONS)$|\b(sources|captions)\.\w+\.path$")
_STATES = {"finished": "finished", "FloatingPointError": "diverged",
           "Diverged": "diverged", "Preempted": "stopped",
           "KeyboardInterrupt": "stopped"}


def find(words):
    """Directories of runs: themselves, or one level below, in order.

    Raises:
      ValueError: there is none by one of the names.
    """
    runs = []
    for word in words:
        inside = [os.path.join(word, name) for name in places.names(word)
                  if not name.startswith(".")]
        found = [folder for folder in [word, *inside]
                 if places.exists(os.path.join(folder, "config.gin"))]
        if not found:
            raise ValueError(f"{word} is no run (there is no config.gin), nor "
                             "a folder of runs.")
        runs += found
    return list(dict.fromkeys(
        os.path.normpath(run) if paths.is_local(run) else run.rstrip("/")
        for run in runs))


def curves(run):
    """{metric: [(step, value)]} from metrics.jsonl; {} where there is none.

    Raises:
      ValueError: a line of it is broken.
    """
    points = {}
    path = os.path.join(run, "metrics.jsonl")
    if not places.exists(path):
        return points
    with places.opened(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                continue  # The run is just writing it, or died doing so.
            try:
                values = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}, is no JSON: "
                                 f"{error}. Delete the line.") from error
            step = values.pop("step")
            for name, value in values.items():
                # null is what is not finite, and has no number in JSON.
                points.setdefault(name, []).append(
                    (step, math.nan if value is None else value))
    return points


def bindings(run):
    """{parameter: text of its value} of config.gin."""
    with places.opened(os.path.join(run, "config.gin")) as f:
        text = re.sub(r"\\\n\s*", "", f.read())
    return dict(re.findall(r"^([\w./]+) = (.*)$", text, re.MULTILINE))


def state(run):
    """(state, step, total steps or None, why) of a run.

    The state is finished, running, diverged, stopped (by a signal, and saved),
    failed, or unfinished, where nothing says why.
    """
    step = max((series[-1][0] for series in curves(run).values()), default=0)
    said = re.fullmatch(r"[\d_]+", bindings(run).get(
        "experiment.Experiment.total_steps", ""))
    total = int(said[0]) if said else None
    quiet = ("finished", step, total, "") if step == total else (
        "unfinished", step, total, "Nothing says why: killed?")
    path = os.path.join(run, ".lock")
    if not os.path.exists(path):  # Of an earlier version, or from a bucket.
        return quiet
    with open(path, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return "running", step, total, ""
        try:
            noted = json.load(file)
        except ValueError:
            noted = {}
    ended = noted.get("ended")
    if ended is None:
        return quiet
    return (_STATES.get(ended, "failed"), step, total,
            " ".join(noted.get("why", "").split()))


def rows(runs, best, also=()):
    """A dict for each run: run, metrics, step, what differs in the configs.

    And settings called `also`, by their names or the last parts of them.
    """
    configs = {run: bindings(run) for run in runs}
    names = dict.fromkeys(
        name for config in configs.values() for name in config)
    differing = [name for name in names
                 if len({config.get(name) for config in configs.values()}) > 1
                 or {name, name.split(".")[-1]} & set(also)]
    for run in runs:
        points = curves(run)
        row = {"run": places.relative(run, runs)}
        row |= {name: _pick(name, series, best) for name, series in
                points.items() if not name.startswith("train/")}
        row["step"] = max((series[-1][0] for series in points.values()),
                          default=0)
        row |= {_short(name, differing): configs[run].get(name)
                for name in differing}
        yield row


def little(runs):
    """Names of columns of `rows` that say little: seeds, folders, cadences."""
    names = dict.fromkeys(name for run in runs for name in bindings(run))
    return {_short(name, names) for name in names if _LITTLE.search(name)} | {
        name for name in names if _LITTLE.search(name)}


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
    return columns, [[text(row.get(name)) for name in columns]
                     for row in dicts]


def text(value):
    """A value in a table."""
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)

"""Compares runs in one table, with learning curves and a page of both:

    python -m tools.results runs/* --png=curves.png --html=results.html
    python -m tools.results runs --sort=val/accuracy --columns=val/accuracy,lr

A row is a run that finished: the last value of each evaluation metric (with
--best, its best so far), the step, and the settings in which the runs' configs
differ, but for seeds, folders and cadences. Runs that diverged, failed, were
stopped or still train follow with the step and the reason. * marks the best. An
argument is a run's directory or a folder of such.
"""

import base64
import html
import io
import json
import math
import os
import textwrap

from absl import app
from absl import flags

from tfvit import launch

_PNG = flags.DEFINE_string("png", None, "File to draw learning curves into.")
_HTML = flags.DEFINE_string("html", None, "Page to write: table and curves.")
_BEST = flags.DEFINE_bool("best", False, "Best values instead of the last.")
_COLUMNS = flags.DEFINE_list(
    "columns", None, "Columns in place of what differs: metrics or settings.")
_SORT = flags.DEFINE_string(
    "sort", None, "Column to sort by, best or smallest first; -COLUMN turns it "
    "round.")
_METRIC = flags.DEFINE_string(
    "metric", None, "Metric of the best run (default: that of "
    "Experiment.best_metric, else val/accuracy, else the first).")
_JSON = flags.DEFINE_bool("json", False, "Print all of it as JSON.")

launch.start(__name__)

from tfvit.evaluators import metrics
from tfvit.storage import places
from tfvit.storage import spelling

from . import runs as runs_lib
from . import tables

_SIDE_BY_SIDE = 2  # Curves.
_CELL = 24  # Characters of a setting; names of checkpoints are long.
_STYLE = """body { font: 14px sans-serif; margin: 2em }
table { border-collapse: collapse } th, td { padding: 4px 10px;
border-bottom: 1px solid #ccc; text-align: right }
th:first-child, td:first-child { text-align: left } img { max-width: 100% }"""


def draw(file, runs):
    """Draws every metric against the step, a line for each run, as PNG."""
    import matplotlib  # Slow to import, and only needed here.
    matplotlib.use("Agg")
    from matplotlib import pyplot
    points = {run: runs_lib.curves(run) for run in runs}
    names = sorted({
        name for series in points.values() for name, values in series.items()
        if len({value for _, value in values}) > 1})
    if not names:
        raise ValueError("No metric of these runs has two values to draw.")
    lines = math.ceil(len(names) / _SIDE_BY_SIDE)
    figure, axes = pyplot.subplots(lines, _SIDE_BY_SIDE, squeeze=False,
                                   figsize=(12, 3 * lines),
                                   layout="constrained")
    for axis in axes.flat[len(names):]:
        axis.axis("off")
    for axis, name in zip(axes.flat, names):
        for run in runs:  # All, so that colours and legend are the same.
            series = points[run].get(name, [])
            axis.plot([step for step, _ in series],
                      [value for _, value in series], marker=".",
                      label=os.path.basename(run))
        axis.set(title=name, xlabel="step")
        axis.grid(alpha=0.3)
    figure.legend(*axes.flat[0].get_legend_handles_labels(),
                  loc="outside upper center", ncols=4)
    figure.savefig(file, format="png", dpi=90)
    pyplot.close(figure)


def page(columns, texts, picture):
    """One HTML page with everything inside."""

    def cells(tag, line):
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line)

    body = "\n".join(f"<tr>{cells('td', line)}</tr>" for line in texts)
    image = base64.b64encode(picture).decode()
    return (f"<!doctype html><meta charset=utf-8><title>Runs</title>\n"
            f"<style>{_STYLE}</style>\n<h1>{len(texts)} runs</h1>\n<table>"
            f"<tr>{cells('th', columns)}</tr>\n{body}</table>\n<h2>Curves</h2>"
            f'\n<img alt="learning curves" src="data:image/png;base64,{image}">'
            "\n")


def deciding(runs, rows, wanted=None):
    """The metric by which a run is best: see --metric; None without any.

    Raises:
      ValueError: the runs have no such metric.
    """
    there = list(dict.fromkeys(name for row in rows for name in row
                               if "/" in name))
    if wanted:
        if wanted not in there:
            raise metrics.unknown("--metric", wanted, there)
        return wanted
    said = {runs_lib.bindings(run).get("experiment.Experiment.best_metric", "")
            .strip("'\"") for run in runs}
    wanted = [*(said if len(said) == 1 else ()), "val/accuracy"]
    wanted += [name for name in there if name.endswith("/accuracy")]
    return next((name for name in [*wanted, *there] if name in there), None)


def choose(rows, metric, little):
    """Names of the columns that tell the rows apart, `metric` first.

    Args:
      rows: of runs_lib.rows.
      metric: what decides, or None.
      little: names that say little.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    names.pop("run", None)
    chosen = [name for name in names if name not in little and (
        len(rows) == 1 or name in ("step", metric) or
        len({str(row.get(name)) for row in rows}) > 1)]
    return sorted(chosen, key=lambda name: name != metric)


def known(name, rows):
    """A column by its name, or the last part of it.

    Raises:
      ValueError: there is none, or there are several.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = [other for other in names if other == name] or [
        other for other in names if other.split(".")[-1] == name or
        other.split("/")[-1] == name]
    if len(found) == 1:
        return found[0]
    near = found or spelling.near(name, names)
    raise ValueError(f"{name!r} is not one of the columns: "
                     f"{', '.join(names)}." + (
                         f" Did you mean {' or '.join(near)}?" if near else ""))


def ordered(rows, column):
    """Rows sorted by a column: metrics best first, settings upwards.

    Those without a value come last. A minus before its name turns it round.
    """
    name = known(column.removeprefix("-"), rows)
    turn = column.startswith("-") != ("/" in name and
                                      not metrics.smaller_is_better(name))

    def number(row):
        try:
            return float(str(row.get(name)).replace("_", ""))
        except ValueError:
            return math.nan

    there = [row for row in rows if row.get(name) is not None]
    if any(math.isnan(number(row)) for row in there):
        there.sort(key=lambda row: str(row[name]), reverse=turn)
    else:
        there.sort(key=number, reverse=turn)
    return there + [row for row in rows if row.get(name) is None]


def fitted(columns, texts, room):
    """(columns, texts, names of those left out): what fits into a line.

    The first two columns, mark and run, and the third stay.
    """
    texts = [[*line[:2], *(tables.short(cell, _CELL) for cell in line[2:])]
             for line in texts]
    left = []

    def over():
        """Characters of the longest line beyond the room."""
        return sum(2 + max(len(line[i]) for line in [columns, *texts])
                   for i in range(len(columns))) - 2 - (room or math.inf)

    if over() > 0:  # The end of a run's name tells more than its start.
        most = max(max(len(line[1]) for line in texts) - over(), room // 4)
        texts = [[line[0], _end(line[1], most), *line[2:]] for line in texts]
    while over() > 0 and len(columns) > 3:
        left.insert(0, columns[-1])
        columns = columns[:-1]
        texts = [line[:-1] for line in texts]
    return columns, texts, left


def _end(text, most):
    """The end of a text, of at most so many characters."""
    return text if len(text) <= most else "…" + text[1 - most:]


def report(runs, rows, metric, *, columns=None, sort=None):
    """Yields the lines that are printed.

    Args:
      runs: directories.
      rows: of runs_lib.rows.
      metric: what decides, or None.
      columns: see --columns.
      sort: see --sort.
    """
    states = {row["run"]: runs_lib.state(run) for run, row in zip(runs, rows)}
    done = [row for row in rows if states[row["run"]][0] == "finished"]
    columns = ([known(name, rows) for name in columns] if columns else
               choose(done, metric, runs_lib.little(runs)))
    if sort:
        rows, done = (ordered(some, sort) if some else some
                      for some in (rows, done))
    room = tables.width()
    if done:
        top = metrics.best(metric, [row[metric] for row in done
                                    if row.get(metric) is not None])
        texts = [["*" if metric and top is not None and len(done) > 1 and
                  row.get(metric) == top else "", row["run"],
                  *(runs_lib.text(row.get(name)) for name in columns)]
                 for row in done]
        shown, texts, left = fitted(["", "run", *columns], texts, room)
        yield from tables.aligned(shown, texts, left=(0, 1))
        if len(done) > 1 and top is not None:
            equal = sum(row.get(metric) == top for row in done)
            yield (f"* best {metric} of {len(done)} finished runs" +
                   f" ({equal} equal)" * (equal > 1))
        if left:
            yield from textwrap.wrap(
                f"Left out, for the width of the terminal: {', '.join(left)} "
                f"(--columns={left[0]} shows it)", room)
    apart = [row for row in rows if states[row["run"]][0] != "finished"]
    if apart:
        yield from [""] * bool(done)
        yield from _unfinished(apart, states, metric, room)


def _unfinished(rows, states, metric, room):
    wide = room is None or room >= 80
    texts = []
    for row in rows:
        state, step, total, why = states[row["run"]]
        texts.append([
            row["run"] if room is None else _end(row["run"], room // 4), state,
            f"{step:,}/{total:,}" if total else f"{step:,}",
            *[runs_lib.text(row.get(metric))] * wide, why])
    columns = ["unfinished", "", "step", *[metric or ""] * wide, "why"]
    return tables.aligned(columns, texts, room, (0, 1, len(columns) - 1))


def main(words):
    if not words:
        raise app.UsageError("Say which runs: their directories.")
    runs = runs_lib.find(words)
    rows = list(runs_lib.rows(runs, _BEST.value, [
        *(_COLUMNS.value or ()), (_SORT.value or "").removeprefix("-")]))
    if _JSON.value:
        print(json.dumps([
            {**row, **dict(zip(("state", "at", "of", "why"),
                               runs_lib.state(run)))}
            for run, row in zip(runs, rows)], indent=1))
    else:
        metric = deciding(runs, rows, _METRIC.value)
        print("\n".join(report(runs, rows, metric, sort=_SORT.value,
                               columns=_COLUMNS.value)))
    if _PNG.value or _HTML.value:
        picture = io.BytesIO()
        draw(picture, runs)
    if _PNG.value:
        with places.opened(_PNG.value, "wb") as f:
            f.write(picture.getvalue())
    if _HTML.value:
        columns, texts = runs_lib.table(rows)
        with places.opened(_HTML.value, "w") as f:
            f.write(page(columns, texts, picture.getvalue()))


if __name__ == "__main__":
    launch.run_words(main)

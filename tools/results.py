"""One table of many runs, their learning curves, and a page with both:

    python -m tools.results runs/* --png=curves.png --html=results.html

A row is a run: the bindings in which the runs' configs differ, the step, and
the last value of each evaluation metric (with --best, its best so far). An
argument is a run's directory or a folder of such.
"""

import base64
import html
import io
import math
import os
import sys

from absl import app
from absl import flags

from tfvit import launch

_PNG = flags.DEFINE_string("png", None, "File to draw learning curves into.")
_HTML = flags.DEFINE_string("html", None, "Page to write: table and curves.")
_BEST = flags.DEFINE_bool("best", False, "Best values instead of the last.")

launch.start(__name__)

from . import runs as runs_lib

_COLUMNS = 2  # Of the curves.
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
    metrics = sorted({
        name for series in points.values() for name, values in series.items()
        if len({value for _, value in values}) > 1})
    if not metrics:
        raise ValueError("No metric of these runs has two values to draw.")
    lines = math.ceil(len(metrics) / _COLUMNS)
    figure, axes = pyplot.subplots(lines, _COLUMNS, squeeze=False,
                                   figsize=(12, 3 * lines),
                                   layout="constrained")
    for axis in axes.flat[len(metrics):]:
        axis.axis("off")
    for axis, name in zip(axes.flat, metrics):
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


def main(words):
    if not words:
        raise app.UsageError("Say which runs: their directories.")
    runs = runs_lib.find(words)
    columns, texts = runs_lib.table(list(runs_lib.rows(runs, _BEST.value)))
    print("\n".join(runs_lib.aligned(columns, texts)))
    if _PNG.value or _HTML.value:
        picture = io.BytesIO()
        draw(picture, runs)
    if _PNG.value:
        with open(_PNG.value, "wb") as f:
            f.write(picture.getvalue())
    if _HTML.value:
        with open(_HTML.value, "w", encoding="utf-8") as f:
            f.write(page(columns, texts, picture.getvalue()))


if __name__ == "__main__":
    launch.run_words(main)

"""The page of a report: HTML with everything inside."""

import base64
import html
import os

import numpy as np
import tensorflow as tf

from tfvit.inference import charts as charts_lib
from tfvit.inference import figures

_CLASSES = 1_000  # Rows of a table, at most.
_PAIRS = 30
_LABELS = {
    "accuracy": "accuracy", "top5_accuracy": "top-5 accuracy",
    "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1",
    "worst_class_recall": "worst recall", "ece": "calibration error",
    "loss": "loss", "examples": "examples", "corrupt": "do not decode"}
_STYLE = """
:root { color-scheme: light dark; --text: #1d1f22; --faint: #686d74;
  --back: #fff; --card: #f4f5f7; --line: #dcdfe3; --bar: #c9dcf0;
  --bad: #c0392b }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e6e9; --faint: #9aa0a8; --back: #16181b; --card: #212429;
    --line: #383c42; --bar: #27466a; --bad: #ff8a7a }
  img.chart { filter: invert(.91) hue-rotate(180deg) } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text);
  background: var(--back); max-width: 68rem; margin: 0 auto; padding: 1rem;
  overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: .5rem 0 } h2 { margin: 2.5rem 0 .5rem;
  padding-top: 1rem; border-top: 2px solid var(--line) }
h3 { margin: 2rem 0 .5rem }
p { margin: .5rem 0 } .faint, figcaption, th { color: var(--faint) }
.numbers, .tiles { display: grid; gap: .6rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)) }
.numbers div { background: var(--card); border-radius: .5rem;
  padding: .5rem .8rem }
.numbers b { display: block; font-size: 1.35rem }
.numbers span { font-size: .85rem; color: var(--faint) }
img { max-width: 100%; height: auto } img.chart { border-radius: .3rem }
.wide, .rows { overflow-x: auto } .rows { max-height: 34rem; overflow-y: auto }
.big img { max-width: none } .one .rows { max-width: 46rem }
.two { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)) }
.two > * { min-width: 0 }
table { border-collapse: collapse; width: 100% }
th { position: sticky; top: 0; background: var(--back); font-weight: 600 }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line) }
td.name, th.name { text-align: left; white-space: normal; min-width: 5rem }
td.share { background: linear-gradient(var(--bar) 0 0) no-repeat left;
  min-width: 4.6rem }
@media (max-width: 40rem) { table { font-size: .85rem }
  th, td { padding: .25rem .35rem } td.share { min-width: 3.6rem } }
figure { margin: 0; background: var(--card); border-radius: .5rem;
  padding: .5rem; font-size: .8rem; line-height: 1.35 }
figure div { aspect-ratio: 1; display: grid; place-items: center }
figure img { width: 100%; max-height: 100%; object-fit: contain }
img.small { image-rendering: pixelated }
.bad { color: var(--bad) }
"""


def page(title, step, splits, files):
    """Makes the page.

    Args:
      title: what to call the run.
      step: of its weights.
      splits: [judged.Split].
      files: {"NAME/file": bytes}, of which the charts are shown.
    """
    title = f"{text(title)}, step {step:,}"
    links = " · ".join(f'<a href="#split{i}">{text(split.name)}</a>'
                       for i, split in enumerate(splits))
    body = "\n".join(_section(f"split{i}", split, files)
                     for i, split in enumerate(splits))
    return document(title, (f"<p>{links}</p>\n" if len(splits) > 1 else "") +
                    body)


def document(title, body):
    """A whole page of HTML: title is HTML, too."""
    return (f'<!doctype html>\n<html lang="en"><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, '
            f'initial-scale=1">\n<title>{title}</title>\n'
            f"<style>{_STYLE}</style>\n<h1>{title}</h1>\n{body}\n</html>\n")


def _section(anchor, split, files):
    values = {**split.metrics, **split.averages}
    numbers = "".join(
        f"<div><b>{_number(name, values[name])}</b><span>{label}</span></div>"
        for name, label in _LABELS.items() if values.get(name) is not None)
    notes = "".join(f"<p>{text(note)}</p>" for note in split.notes)
    if split.skipped:
        notes += (f"<details><summary>Which</summary>"
                  f"<p>{'<br>'.join(map(text, split.skipped))}</p></details>")
    charts = {name: _image(files[f"{split.name}/{name}.png"], name,
                           kind="chart")
              for name in ("confusion", "reliability")}
    size = len(split.class_names)
    beside = "two" if size <= charts_lib.SMALL else "one"
    big = " big" * (charts_lib.SMALL < size <= charts_lib.MATRIX)
    return f"""
<h2 id="{anchor}">{text(split.name)}</h2>
<div class="numbers">{numbers}</div>
{notes}
<h3>What is taken for what</h3>
<div class="{beside}"><div class="wide{big}">{charts["confusion"]}</div>
<div>{_pairs(split)}</div></div>
<h3>Each class, the worst first</h3>
{_classes(split)}
<h3>Is it as often right as it is sure?</h3>
<div class="two"><div>{charts["reliability"]}</div>
<p class="faint">Examples are sorted into 15 bins by the probability of what is
predicted. Where a bar ends below the line, the model is surer than it is right;
above, it could be surer. The calibration error is the mean distance from the
line, each bin counting as often as it has examples.</p></div>
<h3>Mistakes of which it was most certain</h3>
{_mistakes(split)}
<p class="faint">Beside this page, in {text(split.name)}/: predictions.csv with
every example, per_class.csv, confusion.csv, and the charts.</p>"""


def _pairs(split):
    label, guess, count = split.confused()
    if not len(count):
        return "<p>No mistakes.</p>"
    rows = [[_name(split, i), _name(split, j), f"<td>{n:,}</td>",
             _share(n / split.figures["support"][i])]
            for i, j, n in list(zip(label, guess, count))[:_PAIRS]]
    more = len(count) - len(rows)
    note = (f"<p class=faint>and {more:,} more kinds of mistakes</p>" *
            (more > 0))
    return table(["true class", "taken for", "examples", "share"], rows,
                  names=2) + note


def _classes(split):
    order = split.worst_first()
    rows = [[_name(split, i), *(_share(split.figures[k][i]) for k in (
        "precision", "recall", "f1")),
             f"<td>{split.figures['support'][i]:,}</td>"]
            for i in order[:_CLASSES]]
    more = len(order) - len(rows)
    note = f"<p class=faint>and {more:,} better classes</p>" * (more > 0)
    return table(["class", "precision", "recall", "F1", "examples"],
                  rows) + note


def _mistakes(split):
    tiles = []
    for i, pixels in split.mistakes:
        label, guess = (_short(split.class_names[split.rows[key][i]])
                        for key in ("label", "predicted"))
        file = split.files[i]
        image = "" if pixels is None else _image(
            tf.io.encode_png(pixels).numpy(), os.path.basename(file),
            kind="small" if max(pixels.shape) < 64 else "photo")
        tiles.append(
            f'<figure title="{text(file)}"><div>{image}</div><figcaption>'
            f"{_short(os.path.basename(file))}<br>is <b>{label}</b><br>"
            f'<span class="bad">{100 * split.rows["score"][i]:.1f} % {guess}'
            "</span></figcaption></figure>")
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else (
        "<p>None.</p>")


def table(columns, rows, names=1):
    """A table that scrolls: rows are lists of cells, <td>...</td>."""
    head = "".join(f'<th{" class=name" * (i < names)}>{column}</th>'
                   for i, column in enumerate(columns))
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (f'<div class="rows"><table><tr>{head}</tr>\n{body}\n</table></div>')


def _name(split, i):
    return f'<td class="name">{text(split.class_names[i])}</td>'


def _share(value):
    if np.isnan(value):
        return "<td>–</td>"
    return (f'<td class="share" style="background-size: {100 * value:.0f}% '
            f'100%">{100 * value:.1f} %</td>')


def _number(name, value):
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if name in ("loss", "ece") else f"{100 * value:.2f} %"


def _image(content, name, kind):
    return (f'<img class="{kind}" alt="{text(name)}" src="data:image/png;'
            f'base64,{base64.b64encode(content).decode()}">')


def _short(name):
    return text(figures.shortened(name, 40))


def text(value):
    """A value as HTML."""
    return html.escape(str(value))

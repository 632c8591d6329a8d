"""What a run gets right and wrong: tables, charts, a page, in one folder.

    index.html              all of it, with nothing outside
    report.json             step, metrics, which files are of the report
    NAME/per_class.csv      class, precision, recall, f1, support
    NAME/confusion.csv      label, predicted, count: mistakes first
    NAME/predictions.csv    a line for each example
    NAME/confusion.png      the matrix, or of many classes the worst pairs
    NAME/reliability.png    accuracy against confidence
    NAME/mistakes.png       those of which the model was most certain

NAME is that of an evaluator.
"""

import csv
import difflib
import functools
import io
import json
import math
import os
import unicodedata

from absl import logging
import tensorflow as tf

from tfvit.data.images import decoding
from tfvit.distribute import cluster
from tfvit.inference import charts
from tfvit.inference import figures
from tfvit.inference import judged
from tfvit.inference import report_page
from tfvit.storage import errors
from tfvit.storage import files as files_lib

_SHOWN = 20  # Classes in the terminal.
_MARK = "report.json"


def check_splits(exp, names):
    """Raises ValueError unless there are evaluators of these names."""
    for split in names:
        if split not in exp.evaluators:
            near = difflib.get_close_matches(split, exp.evaluators, 1)
            raise ValueError(
                f"--split={split} is no evaluator of this run; there are: "
                f"{', '.join(exp.evaluators) or 'none'}." +
                "".join(f" Did you mean {name}?" for name in near))


def check(exp, directory, only):
    """Checks, before anything is read, that there can be a report.

    Makes the directory and leaves the mark of a report there.

    Args:
      exp: experiment.Experiment.
      directory: for the report.
      only: names of evaluators; none for all.

    Raises:
      ValueError: no evaluator judges single examples, the directory holds
        something else, or there are several processes.
      OSError: it cannot be written.
    """
    makers = {name: make for name, make in exp.evaluators.items()
              if not only or name in only}
    if not any(map(_judges, makers.values())):
        kinds = ", ".join(f"{name!r} is a {decoding.op_name(make)}"
                          for name, make in makers.items()) or "there is none"
        raise ValueError(
            "--report needs an evaluator that chooses one class for each "
            f"image, Classification or ZeroShot: {kinds}.")
    text = os.environ.get("TF_CONFIG")
    if text and cluster.tasks(text)[1]:
        raise ValueError("--report is written by one process: unset TF_CONFIG.")
    old = _old(directory)
    _write(directory, {_MARK: json.dumps({"files": old}).encode()})


def _judges(make):
    """Whether an evaluator can say what it makes of each example.

    A function may make anything: it is asked when it has.
    """
    make = getattr(make, "func", make)  # Of a functools.partial.
    return not isinstance(make, type) or hasattr(make, "rows")


def _old(directory):
    """The files of the report in a directory, [] where there is nothing.

    Raises:
      ValueError: there is something that is no report.
    """
    path = os.path.join(directory, _MARK)
    if tf.io.gfile.exists(path):
        try:
            with tf.io.gfile.GFile(path) as f:
                return [name for name in json.load(f)["files"]
                        if ".." not in name and not os.path.isabs(name)]
        except (ValueError, KeyError, TypeError):
            pass  # It is of something else.
    elif not tf.io.gfile.exists(directory) or (
            tf.io.gfile.isdir(directory) and
            not files_lib.named(directory, ".*")):
        return []
    raise ValueError(f"--report={directory} holds something else than an "
                     "earlier report, which is not overwritten: choose "
                     "another directory.")


def write(run, directory, *, title, step, only=()):
    """Evaluates a run and writes the report.

    Args:
      run: engine.build.Run with its weights.
      directory: where `check` was.
      title: what to call the run.
      step: of the weights.
      only: names of evaluators; none for all. Those that judge no single
        examples are not in the report.

    Returns:
      ({"evaluator/metric": value}, text for the terminal)
    """
    values, splits = {}, []
    for name, evaluator in run.evaluators.items():
        if only and name not in only:
            continue
        if hasattr(evaluator, "rows"):
            splits.append(judged.measure(name, evaluator))
            found = splits[-1].metrics
        else:
            logging.info("%r is not in the report: it chooses no class.", name)
            found = evaluator.run()
        values |= {f"{name}/{metric}": value for metric, value in found.items()}
    parts = {}
    for each in splits:
        parts |= {f"{each.name}/{file}": content
                  for file, content in _files(each).items()}
    parts["index.html"] = report_page.page(title, step, splits, parts).encode()
    old = _old(directory)
    mark = {"run": title, "step": step, "metrics": {
        **values, **{f"{each.name}/{k}": v for each in splits
                     for k, v in each.averages.items()}},
            "files": [*parts]}
    for file in parts:
        path = os.path.join(directory, file)
        if file not in old and tf.io.gfile.exists(path):
            raise ValueError(f"{path} is of no earlier report and is not "
                             "overwritten: choose another --report.")
    with errors.writing(directory):
        for file in old:
            if tf.io.gfile.exists(os.path.join(directory, file)):
                tf.io.gfile.remove(os.path.join(directory, file))
    _write(directory, {_MARK: json.dumps(mark, indent=1).encode(), **parts})
    lines = [line for each in splits for line in _text(each)]
    lines.append(f"Report: {os.path.join(directory, 'index.html')}")
    return values, "\n".join(lines)


def _write(directory, contents):
    for name, content in contents.items():
        with files_lib.replacing(os.path.join(directory, name)) as f:
            f.write(content)


def _files(split):
    """{name: bytes} of a split."""
    found = {
        "per_class.csv": _csv(
            ["class", "precision", "recall", "f1", "support"],
            ([split.class_names[i], *_figures(split, i),
              split.figures["support"][i]]
             for i in range(len(split.class_names)))),
        "confusion.csv": _csv(
            ["label", "predicted", "count"],
            ([split.class_names[i], split.class_names[j], count]
             for i, j, count in zip(*split.pairs))),
        "predictions.csv": _csv(*_predictions(split)),
        "confusion.png": charts.confusion(split.pairs, split.class_names,
                                          split.figures["support"]),
        "reliability.png": charts.reliability(split.bins),
    }
    if split.mistakes:
        found["mistakes.png"] = _sheet(split)
    return found


def _figures(split, i, digits="{:.6g}".format):
    """Precision, recall and F1 of a class as texts, "" where there is none."""
    values = (split.figures[k][i] for k in ("precision", "recall", "f1"))
    return ["" if math.isnan(value) else digits(value) for value in values]


def _predictions(split):
    """(columns, lines) of what the model makes of each example."""
    columns = ["file", "label", "predicted", "score", "correct", "label_score"]
    rows = split.rows
    top5 = rows.get("top5_accuracy")  # None with five classes or fewer.
    if top5 is not None:
        columns.append("in_top5")

    def lines():
        for i, file in enumerate(split.files):
            yield [file, split.class_names[rows["label"][i]],
                   split.class_names[rows["predicted"][i]],
                   f"{rows['score'][i]:.6g}", int(rows["accuracy"][i]),
                   f"{rows['label_score'][i]:.6g}",
                   *([] if top5 is None else [int(top5[i])])]

    return columns, lines()


def _csv(columns, lines):
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return file.getvalue().encode()


def _sheet(split):
    captions = []
    for i, _ in split.mistakes:
        label, guess = (split.class_names[split.rows[k][i]]
                        for k in ("label", "predicted"))
        captions.append("\n".join([
            figures.shortened(os.path.basename(split.files[i]), 30),
            f"is {figures.shortened(label, 27)}",
            f"{100 * split.rows['score'][i]:.1f} % "
            f"{figures.shortened(guess, 22)}"]))
    file = io.BytesIO()
    figures.sheet(file, [tile for _, tile in split.mistakes], captions)
    return file.getvalue()


def _text(split):
    """Yields lines for the terminal."""
    known = {**split.metrics, **split.averages}
    yield f"{split.name}: " + ", ".join(
        f"{name} {known[name]:.5g}" for name in (
            "accuracy", "top5_accuracy", *split.averages, "examples")
        if name in known)
    yield from split.notes
    order = split.worst_first()
    three = functools.partial(_figures, split, digits="{:.3f}".format)
    lines = [["class", "precision", "recall", "f1", "support"], *(
        [figures.shortened(split.class_names[i], 40),
         *(text or "-" for text in three(i)),
         str(split.figures["support"][i])] for i in order[:_SHOWN])]
    widths = [max(map(_width, column)) for column in zip(*lines)]
    for first, *rest in lines:
        yield "  ".join([first + " " * (widths[0] - _width(first)),
                         *(text.rjust(width) for text, width in zip(
                             rest, widths[1:]))])
    if len(order) > _SHOWN:
        yield (f"... and {len(order) - _SHOWN} more in {split.name}/"
               "per_class.csv")
    label, guess, count = split.confused()
    if len(count):
        yield "Most frequent mistakes:"
    for i, j, n in list(zip(label, guess, count))[:5]:
        yield (f"  {n} of {split.figures['support'][i]}  "
               f"{split.class_names[i]} -> {split.class_names[j]}")


def _width(text):
    """Columns of a terminal that a text takes."""
    return sum(0 if unicodedata.combining(sign) else
               1 + (unicodedata.east_asian_width(sign) in "WF")
               for sign in text)

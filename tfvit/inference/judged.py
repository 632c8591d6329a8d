"""What a run makes of every example of a split, and what follows from it."""

import dataclasses
from typing import Any

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source as source_lib
from tfvit.data.images import ops
from tfvit.evaluators import calibration
from tfvit.evaluators import per_class
from tfvit.inference import figures
from tfvit.storage import errors
from tfvit.storage import paths

_MISTAKES = 24  # Shown.
_TILE = 192  # Largest side of an image shown, in pixels.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """One evaluation, example by example.

    Attributes:
      name: of the evaluator.
      class_names: C names, each another.
      files: names of the N examples, or what the source calls them.
      rows: {column: [N]}, see Classification.rows.
      metrics: {name: value}: those of the evaluator.
      averages: {name: value}: per_class.SUMMARIES.
      figures: of each class, see per_class.figures.
      pairs: see per_class.pairs.
      bins: calibration.Bins.
      mistakes: [(number among the N, uint8 [h, w, c] or None)], those of which
        the model was most certain.
      skipped: names of the examples that do not decode, if they are known.
      notes: sentences on what is not among the N.
    """
    name: str
    class_names: list
    files: list
    rows: dict
    metrics: dict
    averages: dict
    figures: dict
    pairs: tuple
    bins: Any
    mistakes: list
    skipped: list
    notes: list

    def worst_first(self):
        """Numbers of the classes by F1, then by number of examples."""
        f1 = np.nan_to_num(self.figures["f1"], nan=np.inf)  # Never there.
        return np.lexsort([-self.figures["support"], f1])

    def confused(self):
        """(label, predicted, count) of mistakes alone, see per_class.pairs."""
        wrong = self.pairs[0] != self.pairs[1]
        return tuple(values[wrong] for values in self.pairs)


def measure(name, evaluator, poll=lambda: None):
    """Evaluates a split.

    Args:
      name: of the evaluator.
      evaluator: one that has `rows`, `measure`, `source` and `class_names`, as
        classification.Classification.
      poll: see there.

    Returns:
      A Split.
    """
    rows = evaluator.rows(poll)
    values = evaluator.measure(rows)
    corrupt = rows.pop("corrupt", 0)
    every = source_lib.names(evaluator.source)
    missing = np.setdiff1d(np.arange(len(every)), rows["number"])
    labels = rows["label"], rows["predicted"], len(evaluator.class_names)
    found = per_class.figures(*labels)
    bins = calibration.bins(rows["score"], rows["accuracy"])
    notes = [f"Left out: {count} {why}." for count, why in (
        (corrupt, "that cannot be decoded"),
        (len(missing) - corrupt, "without a label")) if count]
    return Split(
        name=name, class_names=per_class.names(evaluator.class_names),
        files=[paths.shown(every[i]) for i in rows["number"]], rows=rows,
        metrics=values,
        averages={**per_class.summary(found), "ece": bins.ece()},
        figures=found, pairs=per_class.pairs(*labels), bins=bins,
        mistakes=_mistakes(rows, evaluator.source),
        skipped=[paths.shown(every[i]) for i in missing] if (
            len(missing) == corrupt) else [],
        notes=notes)


def _mistakes(rows, source):
    """See Split.mistakes."""
    order = np.argsort(-rows["score"], kind="stable")
    chosen = order[rows["accuracy"][order] == 0][:_MISTAKES]
    numbers = np.sort(rows["number"][chosen])
    tiles = {}
    try:
        for number, record in zip(numbers, source_lib.pick(source, numbers)):
            tiles[number] = figures.thumbnail(
                _pixels(record["image"]), _TILE)
    except tf.errors.OpError as error:  # The numbers are worth more.
        logging.warning("Some of the mistakes cannot be shown: %s",
                        errors.reason(error))
    return [(int(i), tiles.get(rows["number"][i])) for i in chosen]


def _pixels(image):
    """An image as people look at it."""
    if image.dtype == tf.string:
        return ops.decode(image, upright=True)
    return image

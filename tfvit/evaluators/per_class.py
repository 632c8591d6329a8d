"""Precision, recall and F1 of each class; which classes are taken for which."""

import collections

import numpy as np

FIGURES = ("precision", "recall", "f1")
SUMMARIES = ("balanced_accuracy", "macro_f1", "worst_class_recall", "ece")


def figures(labels, predicted, num_classes):
    """How well each of C classes is found.

    Args:
      labels, predicted: class numbers of the examples, int [N].
      num_classes: C.

    Returns:
      {"precision": [C], "recall": [C], "f1": [C], "support": examples of the
      class, int [C]}. NaN where there is nothing to divide by: the precision
      of a class that is never predicted, the recall of one without examples,
      the F1 of one that is neither.
    """
    support, guesses, hits = (
        np.bincount(numbers, minlength=num_classes)
        for numbers in (labels, predicted, labels[labels == predicted]))
    return {"precision": _share(hits, guesses), "recall": _share(hits, support),
            "f1": _share(2 * hits, support + guesses), "support": support}


def summary(found):
    """What `figures` found, as scikit-learn's averages.

    Returns:
      {"balanced_accuracy": mean recall of the classes that have examples,
      "macro_f1": mean F1 of those that have or are predicted,
      "worst_class_recall": the smallest recall}
    """
    return {"balanced_accuracy": float(np.nanmean(found["recall"])),
            "macro_f1": float(np.nanmean(found["f1"])),
            "worst_class_recall": float(np.nanmin(found["recall"]))}


def pairs(labels, predicted, num_classes):
    """The confusion matrix, without its zeros.

    Args:
      labels, predicted, num_classes: see figures.

    Returns:
      (label [P], predicted [P], count [P]) of the P pairs that occur, the
      mistakes first and among these the most frequent.
    """
    codes, counts = np.unique(labels.astype(np.int64) * num_classes + predicted,
                              return_counts=True)
    label, guess = np.divmod(codes, num_classes)
    order = np.lexsort([codes, -counts, label == guess])
    return label[order], guess[order], counts[order]


def names(class_names):
    """The names, with the class's number where several have the same."""
    count = collections.Counter(class_names)
    return [name if count[name] == 1 else f"{name} ({i})"
            for i, name in enumerate(class_names)]


def metric_names(class_names, wanted):
    """Names of the metrics of each class, such as "recall/rose".

    Args:
      class_names: C names.
      wanted: some of FIGURES.

    Raises:
      ValueError: one of `wanted` is none of them.
    """
    if isinstance(wanted, str) or not hasattr(wanted, "__iter__") or (
            not set(wanted) <= set(FIGURES)):
        raise ValueError(
            f"classification.Classification.per_class={wanted!r} must be a "
            f"list of some of {list(FIGURES)}, [] for their averages alone, or "
            "None.")
    return [f"{figure}/{name}" for figure in wanted
            for name in names(class_names)]


def _share(part, whole):
    return np.divide(part, whole, out=np.full(len(whole), np.nan),
                     where=whole > 0)

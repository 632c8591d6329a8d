"""Charts of what a classifier gets right and wrong, as PNG."""

import io
import re

from absl import logging
import numpy as np

from tfvit.inference import figures

MATRIX = 40  # Classes, at most, of a matrix that can be read.
WORST = 30  # Pairs of classes, of more.
SMALL = 14  # Classes of a matrix that leaves place beside it.
_NAME = 26  # Signs of a class's name, at most.


def confusion(pairs, class_names, support):
    """Draws which class is taken for which.

    The whole matrix of up to MATRIX classes, else the WORST pairs.

    Args:
      pairs: what per_class.pairs returned.
      class_names: C names.
      support: examples of each class, [C].

    Returns:
      The bytes of a PNG.
    """
    names = _drawable(class_names)
    if len(names) <= MATRIX:
        return _matrix(pairs, names, support)
    return _worst(pairs, names, support)


def reliability(bins):
    """Draws how often predictions are right against how sure they are.

    Args:
      bins: calibration.Bins.

    Returns:
      The bytes of a PNG.
    """
    file, count = io.BytesIO(), len(bins.count)
    left = np.arange(count) / count
    shape = {"width": 1 / count, "align": "edge"}
    with figures.picture(file, 5, 5.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True,
                                       height_ratios=(4, 1))
        accuracy, confidence = map(np.nan_to_num,
                                   (bins.accuracy, bins.confidence))
        upper.bar(left, accuracy, color="#8db8e0", edgecolor="white",
                  label="accuracy", **shape)
        upper.bar(left, confidence - accuracy, bottom=accuracy, color="none",
                  edgecolor="#c9302c", hatch="////", linewidth=0.8,
                  label="gap to the confidence", **shape)
        upper.plot([0, 1], [0, 1], "--", color="black", linewidth=1,
                   label="as sure as right")
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right",
                  title=f"Expected calibration error {bins.ece():.3f}")
        upper.legend(loc="upper left", fontsize=8)
        lower.bar(left, bins.count / bins.count.sum(), color="#888888",
                  edgecolor="white", **shape)
        lower.set(xlabel="confidence: probability of what is predicted",
                  ylabel="share of\nexamples")
    return file.getvalue()


def _drawable(class_names):
    """Short names; of those whose signs no font here has, their numbers."""
    good = figures.drawable(class_names)
    if not all(good):
        logging.info("Charts show %d of %d classes by their numbers, from 0: "
                     "no font here has all signs of their names.",
                     len(good) - sum(good), len(good))
    # A WordNet number says nothing to people.
    return [figures.shortened(re.sub(r"^n\d{8} ", "", name), _NAME) if has
            else f"class {i}"
            for i, (name, has) in enumerate(zip(class_names, good))]


def _matrix(pairs, names, support):
    size = len(names)
    label, guess, count = pairs
    counts = np.zeros([size, size], np.int64)
    counts[label, guess] = count
    share = counts / np.maximum(support, 1)[:, np.newaxis]
    right = np.eye(size, dtype=bool)
    # The worst of the mistakes is the reddest, however rare they are.
    worst = share[~right].max() or 1
    longest = max(map(len, names))
    file, side = io.BytesIO(), max(0.36 * size, 2.4)
    margin = 0.6 + 0.075 * longest
    with figures.picture(file, side + margin, side + margin,
                         texts=names) as figure:
        axis = figure.subplots()
        for values, colours, most in ((np.where(right, share, np.nan), "Blues",
                                       1), (np.where(right | (counts == 0),
                                                     np.nan, share), "Reds",
                                            worst)):
            axis.imshow(values, cmap=colours, vmin=0, vmax=1.3 * most)
        for i, j in np.argwhere(counts):
            dark = share[i, j] / (1 if i == j else worst) > 0.75
            axis.text(j, i, str(counts[i, j]), ha="center", va="center",
                      fontsize=8 if counts[i, j] < 1_000 else 6,
                      color="white" if dark else "black")
        flat = longest <= 2
        axis.set_xticks(range(size), names, rotation=0 if flat else 90)
        axis.set_yticks(range(size), names)
        axis.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axis.grid(which="minor", color="#dddddd", linewidth=0.5)
        axis.tick_params(which="both", length=0)
        axis.set(xlabel="predicted", ylabel="true class")
    return file.getvalue()


def _worst(pairs, names, support):
    label, guess, count = pairs
    wrong = label != guess
    label, guess, count = (values[wrong] for values in pairs)
    kinds = len(count)
    label, guess, count = (values[:WORST] for values in (label, guess, count))
    texts = [f"{names[i]}  →  {names[j]}" for i, j in zip(label, guess)]
    file = io.BytesIO()
    with figures.picture(file, 8, 1 + 0.24 * max(len(texts), 1),
                         texts=texts) as figure:
        axis = figure.subplots()
        axis.barh(range(len(texts)), count, color="#d9534f")
        axis.set_yticks(range(len(texts)), texts)
        axis.invert_yaxis()
        axis.margins(x=0.18, y=0.01)
        for place, (i, n) in enumerate(zip(label, count)):
            axis.text(n, place, f" {n} of {support[i]}", va="center",
                      fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set(xlabel="examples of the first class that are taken for the "
                 "second")
        title = (f"The {len(texts)} most frequent of {kinds:,} kinds of "
                 "mistakes" if kinds > len(texts) else "All mistakes")
        axis.set_title(title if kinds else "No mistakes", fontsize=10)
    return file.getvalue()

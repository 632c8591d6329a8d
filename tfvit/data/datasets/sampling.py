"""Sources that give some examples more often than others, or several times.

The order stays a pure function of (seed, position): an epoch's draws are one
list that the seed alone makes, of which a worker takes its part and a resumed
run the rest.
"""
from collections.abc import Callable, Mapping
import csv

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.data.datasets import named_labels
from tfvit.data.datasets import orders
from tfvit.data.datasets import source as source_lib
from tfvit.storage import paths

# An example's weight is that of its class, times the class's number of
# examples to the power of this less one.
_POWERS = {"uniform": 1.0, "balanced": 0.0, "sqrt": 0.5}


class Sampled(source_lib.Indexed):
    """Another source's examples, drawn by weights; see source.py.

    An epoch is as many draws as that source has examples, each `repeats` times,
    one after the other.

    Attributes:
      base: the other source.
      means: float64 [N], how often each of its examples is drawn in an epoch on
        average, before it is repeated.
    """

    def __init__(self, base: source_lib.Indexed, weights: np.ndarray,
                 groups: np.ndarray, *, repeats: int, replacement: bool):
        """Draws in proportion to weights [N], and of groups [N] evenly.

        What is in one group has one weight.
        """
        super().__init__(num_examples=base.num_examples * repeats,
                         class_names=base.class_names, fetch=None,
                         notes=base.notes)
        self.base, self._repeats = base, repeats
        self._replacement = replacement
        self.means = weights * (base.num_examples / weights.sum())
        self._equal = not replacement and np.ptp(weights) == 0
        by_group = np.argsort(groups, kind="stable")
        sizes = np.bincount(groups)
        ends = np.cumsum(self.means[by_group])
        ends[-1] = np.inf  # However its last digit was rounded.
        with tf.device("CPU:0"):
            self._ends = tf.constant(ends)
            self._by_group = tf.constant(by_group, tf.int64)
            self._group = tf.constant(groups[by_group], tf.int64)
            self._first = tf.constant(np.cumsum(sizes) - sizes, tf.int64)
            self._size = tf.constant(sizes, tf.int64)

    def order(self, places, seeds):
        """Draws; see source.Indexed.order."""
        count = self.base.num_examples
        places = places // self._repeats
        if self._equal:
            return self.base.order(places, seeds)
        if seeds is None:  # The draws of an epoch, sorted.
            return tf.gather(self._by_group, self._at(
                tf.cast(places, tf.float64) + 0.5))
        if self._replacement:
            return tf.gather(self._by_group, self._at(
                count * orders.uniform(places, seeds, 1)))
        # Systematic sampling: one draw in each stretch of length 1, the groups
        # one after the other and each in a new order. Whoever is due 2.3 draws
        # gets two or three, 2.3 on average, and so does a whole group.
        stretch = source_lib.permuted(places, orders.other_seeds(seeds, 2), count)
        slot = self._at(tf.cast(stretch, tf.float64) + orders.uniform(
            tf.zeros_like(places), seeds, 3))
        group = tf.gather(self._group, slot)
        first = tf.gather(self._first, group)
        within = source_lib.permuted(
            slot - first, orders.other_seeds(seeds, 4 + group),
            tf.gather(self._size, group))
        return tf.gather(self._by_group, first + within)

    def fetched(self, indices, key=None) -> tf.data.Dataset:
        return self.base.fetched(indices, key)

    def _at(self, points):
        """The places whose stretches of [0, N) have these points."""
        return tf.searchsorted(self._ends, points, side="right",
                               out_type=tf.int64)


def sampled(*,
            base: Callable,
            sampler: str = "uniform",
            class_weights: Mapping[str, float] | None = None,
            class_weights_file: str | None = None,
            repeats: int = 1,
            replacement: bool = False) -> Sampled:
    """Draws a source's examples by the weights of their classes.

    An epoch is as many draws as the source has examples, times `repeats`. Each
    example is drawn as often as its weight says, rounded up or down at random,
    and so is each class: of equal weights each is drawn once, as without this.

    Args:
      base: function that makes the source, such as @train/sources.folder, whose
        examples can be read in any order.
      sampler: "uniform": all examples have the same chance; "balanced": all
        classes have; "sqrt": classes have that of the square root of their
        number of examples.
      class_weights: {class: factor} of the chance of its examples, such as
        {'rose': 2.0}; 1 for what is not named, 0 to leave a class out.
      class_weights_file: the same as a table: a class, a comma and its factor
        in every line.
      repeats: how often an example follows itself, each time augmented anew:
        "repeated augmentation" (arXiv 1901.09335; DeiT has 3). Of a batch that
        `repeats` divides, every image is there so often.
      replacement: draw independently of each other, as PyTorch's
        WeightedRandomSampler does: then an example may be drawn more or less
        often than its weight says, or never.

    Raises:
      ValueError: a knob has a wrong value, the source has no classes to weigh
        or cannot be read in any order.
    """
    made = base()
    if sampler not in _POWERS:
        raise ValueError(f"sampling.sampled.sampler = {sampler!r} is none of "
                         f"{', '.join(map(repr, _POWERS))}.")
    if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
        raise ValueError(f"sampling.sampled.repeats = {repeats!r} must be a "
                         "whole number, at least 1.")
    if not isinstance(made, source_lib.Indexed):
        raise ValueError(
            "sampling.sampled.base must be a source whose examples can be read "
            "in any order, and this one reads them one after the other. Copy "
            "it by tfvit prepare, or keep it in memory by "
            "@combine.in_memory.")
    factors = _factors(class_weights, class_weights_file, made.class_names)
    groups = np.zeros(made.num_examples, np.int64)
    weights = np.ones(made.num_examples)
    if sampler != "uniform" or factors is not None:
        groups = _labels(made)
        counts = np.bincount(groups, minlength=len(made.class_names))
        factors = np.ones(len(counts)) if factors is None else factors
        # An empty class has no example to give its weight to.
        each = factors * np.maximum(counts, 1.0)**(_POWERS[sampler] - 1)
        weights = each[groups]
        if not weights.any():
            raise ValueError("sampling.sampled.class_weights leave no example.")
    found = Sampled(made, weights, groups, repeats=repeats,
                    replacement=replacement)
    _log(found, sampler, groups, repeats)
    return found


def unsampled(source):
    """The source that is sampled, or the source itself: what there is."""
    return source.base if isinstance(source, Sampled) else source


def _factors(by_name, file, class_names):
    """float64 [C] of the classes' factors, or None."""
    if by_name is None and file is None:
        return None
    if by_name is not None and file is not None:
        raise ValueError("Set one of sampling.sampled.class_weights and "
                         "class_weights_file, not both.")
    knob = "sampling.sampled.class_weights"
    if file is not None:
        knob, by_name = f"{knob}_file = {file!r}", {}
        with tf.io.gfile.GFile(paths.home(file)) as f:
            for number, row in enumerate(csv.reader(f), 1):
                if len(row) != 2:
                    raise ValueError(f"{knob}, line {number}: {row} is not a "
                                     "class, a comma and its factor.")
                by_name[row[0].strip()] = row[1].strip()
    factors = np.ones(len(class_names))
    place = {name: i for i, name in enumerate(class_names)}
    for name, value in by_name.items():
        if str(name) not in place:
            raise named_labels.unknown(knob, str(name), class_names)
        try:
            factors[place[str(name)]] = float(value)
        except (TypeError, ValueError):
            factors[place[str(name)]] = np.nan
        if not 0 <= factors[place[str(name)]] < np.inf:
            raise ValueError(f"{knob} gives {name!r} {value!r}, which must be "
                             "a number, 0 or more.")
    return factors


def _labels(made):
    """Class numbers [N] of a source's examples."""
    if not made.class_names:
        raise ValueError("sampling.sampled weighs classes, and the source has "
                         "captions: only sampling.sampled.repeats is for it.")
    if made.labels is not None:
        return np.asarray(made.labels, np.int64)
    if made.examples().element_spec["label"].shape.rank:
        raise ValueError("sampling.sampled weighs classes, and an image of "
                         "this source may have several.")
    logging.info("Reading the labels of %s examples once ...",
                 f"{made.num_examples:,}")
    numbers = tf.data.Dataset.range(made.num_examples)
    return np.fromiter(made.fetched(numbers, "label").as_numpy_iterator(),
                       np.int64, made.num_examples)


def _log(found, sampler, groups, repeats):
    """Says what an epoch is, and how often the rarest and commonest come."""
    means = np.bincount(groups, found.means)
    counts = np.bincount(groups)
    rate = np.where(counts > 0, means / np.maximum(counts, 1), np.nan)
    text = ""
    if np.nanmax(rate) > np.nanmin(rate):
        low, high = int(np.nanargmin(rate)), int(np.nanargmax(rate))
        text = (f"; an image of {found.class_names[low]!r} is drawn "
                f"{rate[low]:.3g} times on average, one of "
                f"{found.class_names[high]!r} {rate[high]:.3g} times")
    logging.info(
        "Sampling (%s): an epoch is %s draws%s%s.", sampler,
        f"{found.base.num_examples:,}",
        f", each repeated {repeats} times: {found.num_examples:,} examples"
        if repeats > 1 else "", text)

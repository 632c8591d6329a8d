"""Whether a model is right as often as it is sure (arXiv 1706.04599)."""

from typing import NamedTuple

import numpy as np


class Bins(NamedTuple):
    """Examples by how sure the model is: M bins of equal width over [0, 1].

    Attributes:
      count: examples in each bin, int [M].
      confidence: their mean score, [M]; NaN of an empty bin.
      accuracy: the share of them that is right, [M]; NaN of an empty bin.
    """
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    def ece(self):
        """The expected calibration error: mean |accuracy - confidence|."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float(np.sum(self.count * gaps) / np.sum(self.count))


def bins(scores, correct, num_bins=15):
    """Sorts examples into bins; a score at a bound belongs to the lower bin.

    Args:
      scores: of what was predicted, [N] in [0, 1].
      correct: whether it is right, [N].
      num_bins: M.
    """
    bounds = np.linspace(0, 1, num_bins + 1)[1:-1]
    numbers = np.searchsorted(bounds, scores.astype(np.float64))
    count, confidence, accuracy = (
        np.bincount(numbers, weights, minlength=num_bins)
        for weights in (None, scores, correct))
    with np.errstate(invalid="ignore"):
        return Bins(count, confidence / count, accuracy / count)

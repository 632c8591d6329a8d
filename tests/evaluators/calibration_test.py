"""The calibration error, against its paper's code and scikit-learn."""

from numpy import testing
import numpy as np
import pytest
from sklearn import calibration as sklearn

from tfvit.evaluators import calibration

RANDOM = np.random.default_rng(0)


def of_the_paper(scores, correct, num_bins=15):
    """ECE as Guo et al. published it (temperature_scaling.py), in numpy."""
    bounds = np.linspace(0, 1, num_bins + 1)
    total = 0.0
    for lower, upper in zip(bounds[:-1], bounds[1:]):
        inside = (scores > lower) & (scores <= upper)
        if inside.any():
            total += inside.mean() * abs(
                scores[inside].mean() - correct[inside].mean())
    return total


@pytest.mark.parametrize("decimals", [1, 2, 9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_that_of_the_paper(decimals, dtype):
    for count in (1, 10, 500):
        scores = np.round(RANDOM.uniform(0.1, 1, count), decimals).astype(dtype)
        correct = (RANDOM.random(count) < scores**2).astype(np.float64)
        assert calibration.bins(scores, correct).ece() == pytest.approx(
            of_the_paper(scores.astype(np.float64), correct), abs=1e-12)


@pytest.mark.parametrize("num_bins", [5, 15])
def test_bins_are_sklearns_calibration_curve(num_bins):
    scores = RANDOM.uniform(0.1, 1, 300)
    correct = RANDOM.random(300) < scores
    found = calibration.bins(scores, correct, num_bins)
    accuracy, confidence = sklearn.calibration_curve(correct, scores,
                                                     n_bins=num_bins)
    full = found.count > 0
    testing.assert_allclose(found.accuracy[full], accuracy)
    testing.assert_allclose(found.confidence[full], confidence)
    assert found.count.sum() == 300 and np.isnan(found.accuracy[~full]).all()


def test_by_hand():
    # Two in the bin up to 1/5, one right; two at 0.9, both right.
    found = calibration.bins(np.array([0.2, 0.1, 0.9, 0.9]),
                             np.array([0, 1, 1, 1]), 5)
    assert found.count.tolist() == [2, 0, 0, 0, 2]
    assert found.ece() == pytest.approx((2 * 0.35 + 2 * 0.1) / 4)
    assert calibration.bins(np.zeros(1), np.zeros(1)).ece() == 0

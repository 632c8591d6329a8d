"""What charts show."""

import io

import numpy as np
from PIL import Image
import pytest

from tfvit.evaluators import calibration
from tfvit.evaluators import per_class
from tfvit.inference import charts
from tfvit.inference import figures


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def colours(png):
    """(pixels that are clearly blue, pixels that are clearly red)."""
    red, _, blue = np.moveaxis(pixels(png), -1, 0)
    return (blue - red > 40).sum(), (red - blue > 40).sum()


def confusion(labels, predicted, names):
    labels, predicted = np.array(labels), np.array(predicted)
    return charts.confusion(
        per_class.pairs(labels, predicted, len(names)), names,
        np.bincount(labels, minlength=len(names)))


def test_what_is_right_is_blue_and_mistakes_are_red():
    names = ["rose", "tulip", "daisy"]
    blue, red = colours(confusion([0, 1, 2], [0, 1, 2], names))
    assert blue > 1_000 and red == 0
    blue, red = colours(confusion([0, 1, 2], [1, 2, 0], names))
    assert blue == 0 and red > 1_000


def test_of_many_classes_the_worst_pairs_have_the_longest_bars():
    names = [f"class {i}" for i in range(charts.MATRIX + 1)]
    labels = [0] * 8 + [1] * 4 + [2]
    drawn = pixels(confusion(labels, np.array(labels) + 1, names))
    red = (drawn[..., 0] - drawn[..., 2] > 40)
    lengths = [row.sum() for row in red if row.any()]
    steps = [n for i, n in enumerate(lengths) if i == 0 or n != lengths[i - 1]]
    assert len(steps) == 3
    assert [n / steps[0] for n in steps] == pytest.approx([1, 1 / 2, 1 / 8],
                                                          abs=0.02)


def test_a_model_as_sure_as_right_has_no_gap():
    scores = np.repeat([0.2, 0.9], 10)  # Right are 2 of 10, and 9 of 10.
    correct = np.r_[np.arange(10) < 2, np.arange(10) < 9]
    assert colours(charts.reliability(calibration.bins(scores, correct)))[1] < (
        colours(charts.reliability(calibration.bins(scores, ~correct)))[1] / 3)


def test_classes_whose_names_cannot_be_drawn_are_numbered(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(figures, "drawable", lambda texts: [
        text.isascii() for text in texts])
    named, numbered = (confusion([0, 1], [0, 1], ["rose", name])
                       for name in ("class 1", "\u685c"))
    assert (pixels(named) == pixels(numbered)).all()
    assert "1 of 2 classes by their numbers" in caplog.text

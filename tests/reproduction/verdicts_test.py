"""Intervals against published values, and what follows from them."""

import types

import pytest
from scipy import stats

from tfvit.reproduction import verdicts


@pytest.mark.parametrize("hits, count", [(15, 20), (0, 10), (10, 10),
                                         (42_500, 50_000)])
def test_the_interval_is_scipys(hits, count):
    known = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert verdicts.wilson(hits / count, count) == pytest.approx(
        (known.low, known.high), abs=1e-6)


def row(**changes):
    return types.SimpleNamespace(**{
        "task": "classification", "expected": 0.8, "tolerance": 0.002,
        "examples": 1000, "caveat": "", "slack": 0.0, **changes})


DOUBT = {"caveat": "Who knows.", "slack": 0.01}


@pytest.mark.parametrize("changes, share, count, images, verdict", [
    ({}, 0.802, 1000, None, "reproduced"),
    ({}, 0.803, 1000, None, "differs"),
    ({}, 0.797, 1000, None, "differs"),
    ({"examples": None}, 0.8, 77, None, "reproduced"),
    ({}, 0.8, 999, None, "not comparable"),
    (DOUBT, 0.803, 1000, None, "not comparable"),
    (DOUBT, 0.811, 1000, None, "differs"),
    (DOUBT, 0.801, 1000, None, "reproduced"),
    # 16 of 20: 58 to 92 %; 60 of 100: 50 to 69 %.
    ({}, 0.75, 20, 20, "agrees so far"),
    ({}, 0.6, 100, 100, "differs"),
    ({"task": "retrieval"}, 0.8, 20, 20, "not comparable"),
])
def test_a_measurement_has_a_verdict(changes, share, count, images, verdict):
    found, why = verdicts.of(row(**changes), share, count, images)
    assert found == verdict
    assert bool(why) == (verdict in ("not comparable", "agrees so far") or
                         verdict == "differs" and changes == DOUBT)


@pytest.mark.parametrize("examples, verdict, why", [
    (1000, "reproduced", ""),
    # A recall of fewer images is another number, whichever way one searches.
    (40, "not comparable",
     "The split has 40 examples, that of the number 1,000.")])
def test_captions_are_counted_and_images_compared(examples, verdict, why):
    found = row(task="retrieval")
    for count in 5003, examples:
        assert verdicts.of(found, 0.801, count, None, examples) == (
            verdict, why)
    assert verdicts.of(found, 0.9, 200, 40, 40)[1] == (
        "Searched among 40 images instead of 1,000: that is easier.")

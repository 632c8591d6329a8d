"""How many steps a call trains: as many as take about a second."""

import dataclasses

import numpy as np
import pytest

from tests import toy
from tfvit.engine import pace


def _steps(seconds_per_step, calls, wanted="auto"):
    """The steps of each call of a run at this speed."""
    run, rate, found = pace.Pace(wanted), 0.0, []
    for _ in range(calls):
        found.append(run.next(rate))
        rate = 1 / seconds_per_step
    return found


def test_a_fast_model_trains_a_second_at_a_time():
    assert _steps(0.01, 9) == [1, 2, 4, 8, 16, 32, 64, 100, 100]


def test_a_slow_model_trains_single_steps():
    assert _steps(0.7, 5) == [1] * 5


def test_a_number_is_taken_as_it_is():
    assert _steps(0.01, 4, wanted=7) == [7] * 4


def test_a_run_that_becomes_slow_is_answered_as_soon():
    run = pace.Pace("auto")
    for _ in range(10):
        run.next(200.0)
    assert run.next(200.0) == 200 and run.next(2.0) == 2


def test_workers_train_equally_many_steps_whatever_each_measures():
    speeds = np.random.default_rng(0).uniform(10, 300, [40, 3])
    asked = [0]

    def agreed(call):

        def agree(own):
            assert own in speeds[call]
            asked[0] += 1
            return speeds[call].mean()

        return agree

    runs = [pace.Pace("auto", agree=lambda own: own) for _ in range(3)]
    for call in range(40):
        for run in runs:
            run._agree = agreed(call)  # pylint: disable=protected-access
        assert len({run.next(speeds[call][i])
                    for i, run in enumerate(runs)}) == 1
    assert asked == [3 * 6]  # At the calls 1, 2, 4, 8, 16 and 32.
    assert runs[0].steps > 16


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "fast"])
def test_what_it_may_be_is_said(value):
    with pytest.raises(ValueError, match="steps_per_call=.*at least 1, or "
                       "'auto'"):
        dataclasses.replace(toy.EXPERIMENT, steps_per_call=value)

"""Learning rates against the original's, to the last bit."""

import numpy as np
import pytest

from tfvit.optimize import schedules


@pytest.mark.parametrize("decay", ["cosine", "linear"])
@pytest.mark.parametrize("warmup", [0, 10])
def test_equals_the_original_bit_for_bit(golden, decay, warmup):
    expected = golden("schedules")[f"{decay}_warmup{warmup}"]
    schedule = getattr(schedules, decay)
    ours = [
        schedule(step, base=0.03, total_steps=50, warmup_steps=warmup).numpy()
        for step in range(len(expected))
    ]
    np.testing.assert_array_equal(ours, expected)


def test_the_warm_up_must_be_shorter_than_the_run():
    with pytest.raises(ValueError, match="warmup_steps=50 .*total_steps=50"):
        schedules.cosine(0, base=1.0, total_steps=50, warmup_steps=50)


def test_rsqrt_warms_up_decays_and_cools_down():
    ours = [
        schedules.rsqrt(step, base=0.5, total_steps=100, warmup_steps=10,
                        timescale=20, shift=5, cooldown_steps=30).numpy()
        for step in range(101)
    ]
    expected = [
        0.5 / np.sqrt(1 + (5 + max(step - 10, 0)) / 20) * min(1, step / 10) *
        min(1, (100 - step) / 30) for step in range(101)
    ]
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_rsqrt_before_the_cool_down_does_not_depend_on_the_end():
    short, long = (
        schedules.rsqrt(60, base=1.0, total_steps=total, warmup_steps=10,
                        cooldown_steps=30).numpy() for total in (100, 1_000))
    assert short == long


def test_stair_goes_down_at_each_boundary():
    ours = [
        schedules.stair(step, base=2.0, total_steps=20, boundaries=(5, 10),
                        multipliers=(0.1, 0.01)).numpy()
        for step in (0, 4, 5, 9, 10, 19)
    ]
    np.testing.assert_allclose(ours, [2, 2, 0.2, 0.2, 0.02, 0.02], rtol=1e-6)
    assert schedules.stair(7, base=2.0, total_steps=20).numpy() == 2.0


@pytest.mark.parametrize("boundaries", [(5,), (10, 5)])
def test_stair_wants_a_multiplier_for_each_increasing_boundary(boundaries):
    with pytest.raises(ValueError, match="schedules.stair.boundaries"):
        schedules.stair(0, base=1.0, total_steps=20, boundaries=boundaries,
                        multipliers=(0.1, 0.01))


@pytest.mark.parametrize("schedule", [schedules.rsqrt, schedules.stair])
def test_warm_up_and_cool_down_must_fit_into_the_run(schedule):
    with pytest.raises(ValueError, match="cooldown_steps=15 .*total_steps=20"):
        schedule(0, base=1.0, total_steps=20, warmup_steps=5, cooldown_steps=15)

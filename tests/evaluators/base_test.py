"""The loop over the batches of an evaluation."""

import pytest

from tfvit.evaluators import base


class Result:
    """A number that notes when it is waited for."""

    def __init__(self, events, i, value):
        self._events, self._i, self._value = events, i, value

    def __float__(self):
        self._events.append(f"read {self._i}")
        return self._value


@pytest.fixture(name="events")
def fixture_events():
    return []


def _sums(events, values, poll=lambda: None):

    def batch_sums(i):
        events.append(f"begin {i}")
        return {"loss": Result(events, i, values[i])}

    return base.sums(
        name="val", batches=base.Batches(range(len(values)), len(values), None,
                                         1), batch_sums=batch_sums, poll=poll)


def test_the_device_has_the_next_batch_while_a_result_is_read(events):
    _sums(events, [1.0, 2.0, 3.0])
    assert events == ["begin 0", "begin 1", "read 0", "begin 2", "read 1",
                      "read 2"]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_all_are_added_up_once_in_their_order(events, count):
    values = [1e16, 1.0, -1e16, 0.1, 0.2][:count]
    found = _sums(events, values)
    assert found == ({"loss": sum(values)} if count else {})


def test_a_signal_ends_it_after_any_batch(events):
    polls = []

    def poll():
        polls.append(None)
        if len(polls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _sums(events, [1.0] * 5, poll)
    assert "begin 2" not in events

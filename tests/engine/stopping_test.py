"""Signals: how often workers ask each other, and that all of them hear."""

import signal

import pytest

from tfvit.engine import stopping


class Workers:
    """Some that poll in turns, on a clock that only poll() moves."""

    def __init__(self, monkeypatch, count):
        self.now, self.asked = 0.0, [0] * count
        monkeypatch.setattr(stopping.time, "monotonic", lambda: self.now)
        self.stops = [stopping.Stop(lambda numbers, i=i: self._mean(i, numbers))
                      for i in range(count)]

    def _mean(self, i, numbers):
        flag, rate = numbers  # The rate is the same for all.
        assert flag == self.stops[i].asked
        self.asked[i] += 1
        return sum(s.asked for s in self.stops) / len(self.stops), rate

    def poll(self, seconds):
        """All poll after so many seconds; returns who was stopped."""
        self.now += seconds
        stopped = []
        for i, stop in enumerate(self.stops):
            try:
                stop.poll()
            except stopping.Preempted:
                stopped.append(i)
        assert len(set(self.asked)) == 1  # Together, or they would hang.
        return stopped


def test_workers_ask_once_a_second_however_many_batches(monkeypatch):
    workers = Workers(monkeypatch, 2)
    for _ in range(1000):
        assert workers.poll(0.01) == []
    # In 10 s, of which the first few, while the pace is found, have more.
    assert 10 <= workers.asked[0] <= 20


def test_all_hear_soon_when_batches_become_slow(monkeypatch):
    workers = Workers(monkeypatch, 3)
    for _ in range(500):
        workers.poll(0.1)
    workers.stops[1]._note(signal.SIGTERM, None)
    since = workers.now
    while not (stopped := workers.poll(1.0)):
        pass
    assert stopped == [0, 1, 2] and workers.now - since <= 11
    for _ in range(5):  # Slow ones are asked about each.
        workers.poll(1.0)
    before = workers.asked[0]
    workers.poll(1.0)
    assert workers.asked[0] == before + 1


def test_one_alone_hears_at_once():
    stop = stopping.Stop()
    stop.poll()
    stop._note(signal.SIGINT, None)
    with pytest.raises(stopping.Preempted, match="Stopped by SIGINT"):
        stop.poll()

"""Signals that ask a run to stop, which it does after saving."""

import contextlib
import signal
import threading
import time

from absl import logging

_SECONDS = 1.0  # Between two times that workers ask each other.


class Preempted(Exception):
    """A signal asked the run to stop; its state is saved."""


class Stop:
    """Turns SIGTERM and Ctrl-C, on any worker, into Preempted at a poll().

    A second Ctrl-C does not wait for one. Several workers have to poll equally
    often, and ask each other at about one poll a second: each time they agree
    on how many polls that is, from how fast these came. So an evaluation of
    many small batches does not wait for the others after each of them.

    Args:
      agree: numbers -> their means over all workers, see strategies.mean; None
        for one.

    Attributes:
      asked: whether a signal has come to this worker.
    """

    def __init__(self, agree=None):
        self._agree = agree
        self._signal = None
        self._every = 1  # Polls from one time of asking to the next ...
        self._left = 1  # ... of which so many are to come ...
        self._since = time.monotonic()  # ... since the last one.

    @contextlib.contextmanager
    def listening(self):
        if threading.current_thread() is not threading.main_thread():
            yield  # Python hears signals in the main thread alone.
            return
        previous = {number: signal.signal(number, self._note)
                    for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, number, frame):
        del frame
        if self._signal == "SIGINT" == signal.Signals(number).name:
            raise KeyboardInterrupt(
                "Ended at once by a second Ctrl-C. The same command continues "
                "from the last checkpoint.")
        self._signal = signal.Signals(number).name
        logging.info("%s: saving after this step.", self._signal)

    @property
    def asked(self):
        return self._signal is not None

    def poll(self, anyone=None):
        """Raises Preempted if a signal has come to any worker.

        Args:
          anyone: whether one has, where all know it.
        """
        if self._heard() if anyone is None else anyone:
            raise Preempted(f"Stopped by {self._signal or 'another worker'}.")

    def _heard(self):
        """Whether a signal has come to any worker, as far as is known."""
        if self._agree is None:
            return self.asked
        self._left -= 1
        if self._left:
            return False
        now = time.monotonic()
        rate = self._every / max(now - self._since, 1e-6)
        told, rate = self._agree([float(self.asked), rate])
        # Twice at most: what was measured of a single one may be anything.
        self._every = max(1, min(2 * self._every, int(_SECONDS * rate)))
        self._left, self._since = self._every, now
        return told > 0

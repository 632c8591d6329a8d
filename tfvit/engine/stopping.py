"""Signals that ask a run to stop, which it does after saving."""

import contextlib
import signal
import threading

from absl import logging


class Preempted(Exception):
    """A signal asked the run to stop; its state is saved."""


class Stop:
    """Turns SIGTERM and Ctrl-C, on any worker, into Preempted at a poll().

    A second Ctrl-C does not wait for one.

    Attributes:
      asked: whether a signal has come to this worker.
    """

    def __init__(self, any_worker):
        self._any_worker = any_worker
        self._signal = None

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
          anyone: whether one has, where all know it; None: ask, as all then
            have to.
        """
        if self._any_worker(self.asked) if anyone is None else anyone:
            raise Preempted(f"Stopped by {self._signal or 'another worker'}.")

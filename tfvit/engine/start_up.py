"""How long a run takes until its first step is done, and with what."""

import os
import time

from absl import logging

from tfvit.distribute import strategies
from tfvit.engine import compile_cache

_is_first = True  # Of this process: only that run began with it.


def _age():
    """Seconds since this process began; None where the system does not say."""
    try:
        with open("/proc/self/stat", encoding="ascii") as f:
            # Fields after the name, which is in brackets; the 22nd of all.
            began = int(f.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf(
            "SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


class StartUp:
    """Seconds of what comes before the second step.

    Attributes:
      seconds: {what: seconds}, in order.
    """

    def __init__(self, counts_imports=False):
        """`counts_imports`: what the process did so far, if this is the first.
        """
        global _is_first
        self.seconds = {}
        self._since = time.monotonic()
        age = _age() if counts_imports and _is_first else None
        if age:
            self.seconds["imports"] = age
        _is_first = False
        compile_cache.set_up()
        self._kept = compile_cache.entries()

    def lap(self, what):
        """Notes what took the time since the last call."""
        now = time.monotonic()
        self.seconds[what] = self.seconds.get(what, 0.0) + now - self._since
        self._since = now

    def cache(self):
        """Whether XLA's programs were "warm" in its cache, "cold", or "off"."""
        if self._kept is None:
            return "off"
        return "warm" if 0 < self._kept == compile_cache.entries() else "cold"

    def step_done(self, training):
        """Tells of the first step of a loop.Training what it took."""
        if "first step" in self.seconds:
            return
        training.window.settle()  # Till then a device may be at it.
        self.lap("first step")
        jit = strategies.use_jit(training.run.exp.jit, training.run.strategy)
        cache = f" (XLA's cache: {self.cache()})" * bool(jit)
        logging.info("First step after %.1f s: %s%s.", sum(
            self.seconds.values()), ", ".join(
                f"{what} {value:.1f}" for what, value in self.seconds.items()),
            cache)

"""How many steps one call from Python to TensorFlow trains."""

# A signal is answered between calls, of which one more is in flight: clouds
# give a machine 30 s before they take it away.
_SECONDS = 1.0


class Pace:
    """Experiment.steps_per_call, "auto" of which follows the speed.

    As many steps as take a second or so: of a slow model one, of a fast one so
    many that Python's part does not count.

    Args:
      wanted: a number, or "auto".
      agree: number -> what all workers take instead, where there are several:
        each has to train as many steps as the others.

    Attributes:
      steps: of the last call, at most.
    """

    def __init__(self, wanted, agree=None):
        self._is_fixed = wanted != "auto"
        self._agree = agree
        self._calls = 0
        self.steps = wanted if self._is_fixed else 1

    def next(self, steps_per_second):
        """The most steps of the next call.

        Args:
          steps_per_second: so far; 0 before it is known.
        """
        if self._is_fixed:
            return self.steps
        self._calls += 1
        # Asking costs all workers a wait: ever more rarely.
        if self._agree is None or self._calls & (self._calls - 1) == 0:
            if self._agree:
                steps_per_second = self._agree(steps_per_second)
            # Twice at most: what was measured of a single step may be anything.
            self.steps = max(1, min(2 * self.steps,
                                    int(_SECONDS * steps_per_second)))
        return self.steps

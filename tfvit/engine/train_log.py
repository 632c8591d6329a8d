"""What training logs: sums since the last line, speed, learning rate."""

import time

from absl import logging
import numpy as np


class Throughput:
    """Examples per second of training alone, and the time that is left."""

    def __init__(self):
        self._began = time.monotonic()
        self._all = 0  # Examples, those of no known time too.
        self._since = None
        self._examples = 0
        self._seconds = 0.0

    def begin(self):
        """Starts the clock of the whole, which no pause stops."""
        self._began, self._all = time.monotonic(), 0

    def pause(self):
        """Stops the clock, for evaluation and saving."""
        if self._since is not None:
            self._seconds += time.monotonic() - self._since
            self._since = None

    def count(self, examples):
        """Counts finished examples; the first call only starts the clock.

        So the first step, which compiles, and the one after a pause, whose
        start is not known, are not part of the rate.
        """
        now = time.monotonic()
        self._all += examples
        if self._since is not None:
            self._seconds += now - self._since
            self._examples += examples
        self._since = now

    def rate(self):
        """Examples per second so far; 0.0 before there is a measurement."""
        return self._examples / self._seconds if self._seconds else 0.0

    def left(self, examples):
        """Seconds that so many more take, with all that is done between."""
        return (time.monotonic() - self._began) * examples / max(self._all, 1)


_COUNTS = ("skipped", "skipped_updates")


class Diverged(FloatingPointError):
    """A training metric is not finite, or the loss is above its limit.

    Attributes:
      step: number of updates, the offending one included.
    """

    def __init__(self, name, value, step):
        super().__init__(f"{name} is {value} at step {step}")
        self.step = int(step)


class Window:
    """Sums of the training metrics since the last log line.

    The sums are float64 in the checkpoint's memory, and added one step at a
    time, so that a resumed run logs the same bits. One call of the train
    function stays in flight, so that Python does not wait for the device.

    Args:
      memory: where the sums are kept.
      max_loss: limit of the loss, or None.

    Attributes:
      stop: whether a worker has been asked to stop, as all know by the steps
        that have been settled; None where steps do not tell.
    """

    def __init__(self, memory, max_loss=None):
        self.stop = None
        self._memory = memory
        self._limits = {} if max_loss is None else {"loss": max_loss}
        self._memory.setdefault("window", {})
        self._flying = None

    def add(self, step, values):
        """Takes the metrics {name: [n]} of the steps after `step`."""
        self.settle()
        self._flying = step, values

    def settle(self):
        """Waits for the call in flight and adds its metrics.

        Raises:
          Diverged: a metric is not finite or above its limit.
        """
        if self._flying is None:
            return
        (step, values), self._flying = self._flying, None
        values = {k: np.asarray(v, np.float64) for k, v in values.items()}
        if "stop" in values:
            self.stop = bool(values.pop("stop").any())
        # What loss scaling skipped is not finite, and no update.
        updates = 1.0 - values.get("skipped_updates", 0.0)
        # The loss first: it is the better known name of a problem.
        for name in sorted(values, key=lambda name: (name != "loss", name)):
            column = values[name]
            counts = np.broadcast_to(
                True if name in _COUNTS else updates > 0, column.shape)
            good = np.isfinite(column) & (column <= self._limits.get(
                name, np.inf))
            bad = np.flatnonzero(counts & ~good)
            if bad.size:
                raise Diverged(name, column[bad[0]], step + bad[0] + 1)
            sums = self._memory["window"].setdefault(name, [0.0, 0])
            for value in column[counts]:
                sums[0] += float(value)
                sums[1] += 1

    def forget(self):
        """Drops the call in flight: the run has gone back."""
        self._flying = None

    def take(self):
        """Returns {name: value} and starts a new window.

        Values are means over the updates of the window, but for "skipped",
        which counts examples, and "skipped_updates".
        """
        self.settle()
        values = {
            name: total if name in _COUNTS else total / n
            for name, (total, n) in self._memory["window"].items() if n
        }
        self._memory["window"] = {}
        return values


def line(step, total_steps, values, rate, seconds):
    """One line for people: step, percent, metrics, img/s, seconds left."""
    parts = [f"step {step}/{total_steps} {100 * step / total_steps:.1f}%"]
    parts += [f"{k.split('/')[-1]} {v:.4g}" for k, v in values.items()]
    if rate:
        seconds = int(seconds)
        parts.append(f"{rate:.1f} img/s")
        parts.append(f"ETA {seconds // 3600}:{seconds // 60 % 60:02}:"
                     f"{seconds % 60:02}")
    return "  ".join(parts)


def parameters(params):
    """A table of {name: variable}: shapes, sizes, mean and spread."""
    width = max(map(len, params))
    rows = [f"{'parameter':{width}}  {'shape':20}{'size':>12}"
            f"{'mean':>11}{'std':>11}"]
    for name, variable in params.items():
        value = variable.numpy()
        rows.append(f"{name:{width}}  {str(value.shape):20}{value.size:>12,}"
                    f"{value.mean():>11.2e}{value.std():>11.2e}")
    total = sum(int(np.prod(v.shape)) for v in params.values())
    rows.append(f"{'total':{width}}  {'':20}{total:>12,}")
    return "\n".join(rows)


def log(training, memory):
    """Reports the training metrics since the last time, and the speed."""
    del memory
    run = training.run
    values = {f"train/{k}": v for k, v in training.window.take().items()}
    values["train/lr"] = float(run.optimizer.lr(training.step - 1))
    if "rollbacks" in training.memory:
        values["train/rollbacks"] = len(training.memory["rollbacks"])
    rate = training.clock.rate()
    left = (training.total_steps - training.step) * run.exp.batch_size
    logging.info(line(training.step, training.total_steps, values, rate,
                      training.clock.left(left)))
    if rate:
        values["train/img_per_s"] = rate
    training.report(values)

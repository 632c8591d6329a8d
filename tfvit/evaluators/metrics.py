"""Names of metrics: which there are, and whether a value is better."""

import difflib
import functools
import math
import re

from tfvit.evaluators import per_class

# Words of a metric's name. A sharp minimum, one of a large eigenvalue, is what
# SAM avoids (arXiv 2010.01412); what is corrupt or skipped is lost.
_SMALLER_IS_BETTER = {
    "loss", "losses", "xent", "xentropy", "entropy", "crossentropy", "nll",
    "perplexity", "error", "errors", "err", "mse", "rmse", "mae", "ece",
    "brier", "eigenvalue", "corrupt", "skipped", "rollbacks"
}
_OF_CLASS = re.compile(rf"[^/]+/({'|'.join(per_class.FIGURES)})/")


def of_class(metric):
    """Whether it is of one class, "evaluator/recall/rose": see per_class."""
    return bool(_OF_CLASS.match(metric))


def smaller_is_better(metric):
    """Whether a metric, by the words of its name, is a loss or an error.

    Of "evaluator/metric" the evaluator does not matter: it may have any name.
    Nor does that of a class, see of_class.
    """
    if of_class(metric):
        return False
    words = re.split(r"[^a-z]+", metric.rpartition("/")[2].lower())
    return not _SMALLER_IS_BETTER.isdisjoint(words)


def is_better(metric, value, best, by=0.0):
    """Whether a metric's value is better than the best one, None at first.

    A value that is not finite is never better.
    """
    if not math.isfinite(value) or best is None or not math.isfinite(best):
        return math.isfinite(value)
    gain = best - value if smaller_is_better(metric) else value - best
    return gain > by


def best(metric, values):
    """The best of a metric's values, the first of equals; None of no finite."""
    return functools.reduce(
        lambda best, value: value if is_better(metric, value, best) else best,
        values, None)


def check_name(knob, metric, evaluators):
    """Checks, before anything is evaluated, that a metric will be reported.

    Args:
      knob: that names the metric.
      metric: "evaluator/metric".
      evaluators: {name: evaluator}; `metric_names` are what run() returns. One
        without that attribute may report anything.

    Raises:
      ValueError: there is no such evaluator, or it reports no such metric.
    """
    name, _, rest = metric.partition("/")
    if name in evaluators and rest in getattr(
            evaluators[name], "metric_names", [rest]):
        return
    raise unknown(knob, metric, [
        f"{name}/{rest}" for name, evaluator in evaluators.items()
        for rest in getattr(evaluator, "metric_names", ["..."])])


def unknown(knob, metric, known):
    """A ValueError for a metric that is not among the known ones."""
    near = difflib.get_close_matches(metric, known, 1)
    return ValueError(
        f"{knob}={metric!r} is not among the metrics: "
        f"{', '.join(known) or 'none'}." +
        "".join(f" Did you mean {name!r}?" for name in near))

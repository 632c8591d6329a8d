"""What a run does between updates: log, evaluate, keep the best, ...

An action is called with the loop.Training and a dict of its own, which is saved
with each checkpoint; loop.Every says how often. `Experiment.actions` adds some:
pairs of a number of steps and a function that makes an action, such as
`early_stopping` here. One that goes by a metric may say so by an attribute
`watches`, {knob: "evaluator/metric"}: that name is checked before training.
"""

import functools

from absl import logging

from tfvit.data.images import decoding
from tfvit.engine import loop
from tfvit.engine import train_log
from tfvit.evaluators import metrics

_LOGGED = ("lr", "img_per_s", "rollbacks")  # Beside what the train step gives.


def of(exp):
    """The actions of an experiment, [loop.Every], in the order of their turns.
    """
    cadences = {}  # Steps -> evaluators.
    for name in exp.evaluators:
        cadences.setdefault(exp.cadence(name), []).append(name)
    found = [loop.Every(exp.log_every, train_log.log, "log")]
    for steps, only in cadences.items():
        name = "evaluate" if len(cadences) == 1 else f"evaluate {steps}"
        found.append(loop.Every(
            steps, functools.partial(evaluate, only=only), name))
    if exp.best_metric:
        best = functools.partial(keep_best, metric=exp.best_metric)
        best.watches = {"Experiment.best_metric": exp.best_metric}
        found.append(loop.Every(exp.cadence(exp.best_metric.split("/")[0]),
                                best, "keep_best"))
    for i, (steps, make) in enumerate(exp.actions):
        found.append(loop.Every(steps, _unclocked(make()),
                                f"{i} {decoding.op_name(make)}"))
    return found


def _unclocked(action):
    """An action whose time is not part of the training speed."""

    @functools.wraps(action)
    def unclocked(training, memory):
        training.clock.pause()
        action(training, memory)

    return unclocked


def check(todo, run):
    """Checks that the metrics which actions go by will be reported.

    Args:
      todo: what `of` returned.
      run: the engine.build.Run; once its train step is traced, the names of
        training metrics are checked, too.

    Raises:
      ValueError: there is no such metric, says which are meant.
    """
    # An action of one's own may report metrics under any name.
    strangers = any(every.name[0].isdigit() and
                    not hasattr(every.action, "watches") for every in todo)
    for every in todo:
        for knob, metric in getattr(every.action, "watches", {}).items():
            evaluator = metric.split("/")[0]
            if evaluator in run.evaluators or not (
                    evaluator == "train" or strangers):
                metrics.check_name(knob, metric, run.evaluators)
            elif evaluator == "train":
                traced = run.train_step.names
                training = [f"train/{name}" for name in (*traced, *_LOGGED)]
                if traced and metric not in training:
                    raise metrics.unknown(knob, metric, training)


def evaluate(training, memory, *, only):
    """Reports what the evaluators named in `only` find."""
    del memory
    training.clock.pause()
    with training.run.state.averaged():
        values = training.run.evaluate(training.poll, only)
    logging.info("step %d  %s", training.step, "  ".join(
        f"{k} {v:.5g}" for k, v in values.items() if not metrics.of_class(k)))
    for name, value in values.items():
        before = training.values.get(name, value)
        if name.endswith("/examples") and before != value:
            logging.warning("%s is %d, and was %d in this run's evaluation "
                            "before: it is of other data.", name, value, before)
    training.report(values)
    training.memory["last"].update(values)


def keep_best(training, memory, *, metric):
    """Saves best/ckpt-STEP if the metric is better than ever before.

    Or as good with a smaller loss: of few images many are right early.
    """
    value = _new(training, metric, "Experiment.best_metric", training.step - 1)
    if value is None:
        return
    name = f"{metric.split('/')[0]}/loss"
    loss = (training.values[name] if training.measured.get(name) ==
            training.measured[metric] else None)
    if metrics.is_better(metric, value, memory.get("value")) or (
            value == memory.get("value") and None not in (
                loss, memory.get("loss")) and
            metrics.is_better(name, loss, memory["loss"])):
        memory.update(value=value, loss=loss, step=training.step)
        training.checkpoints.save_best()
        logging.info("Best %s so far: %.5g at step %d.", metric, value,
                     training.step)


def early_stopping(*, metric, patience, min_delta=0.0):
    """Ends the run when a metric no longer becomes better.

    Args:
      metric: "evaluator/metric"; of a loss or an error the smaller value is the
        better one, else the larger.
      patience: evaluations in a row without a better value than the best.
      min_delta: by how much a better value must differ from it.

    Raises:
      ValueError: patience or min_delta make no sense.
    """
    if not isinstance(patience, int) or patience < 1:
        raise ValueError(f"actions.early_stopping.patience={patience!r} must "
                         "be a whole number of at least 1.")
    if min_delta < 0:
        raise ValueError(f"actions.early_stopping.min_delta={min_delta!r} must "
                         "not be below 0.")

    def action(training, memory):
        value = _new(training, metric, "actions.early_stopping.metric",
                     memory.get("seen", 0))
        if value is None:
            return
        memory["seen"] = training.measured[metric]
        if metrics.is_better(metric, value, memory.get("best"), min_delta):
            memory.update(best=value, step=memory["seen"], since=0)
            return
        memory["since"] = memory.get("since", 0) + 1
        if memory["since"] >= patience:
            best = ("" if "best" not in memory else
                    f" than {memory['best']:.5g} at step {memory['step']}")
            training.stop(f"{metric} has not been better{best} for "
                          f"{memory['since']} evaluations.")

    action.watches = {"actions.early_stopping.metric": metric}
    return action


def _new(training, metric, knob, since):
    """The metric's value if it was measured after step `since`, else None.

    Raises:
      ValueError: its evaluator ran, and gave no such metric.
    """
    evaluator = metric.split("/")[0] + "/"
    new = [name for name, step in training.measured.items()
           if name.startswith(evaluator) and step > since]
    if new and metric not in training.values:
        raise metrics.unknown(knob, metric, new)
    return training.values[metric] if metric in new else None

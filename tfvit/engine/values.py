"""Checks of what an Experiment is given: numbers, functions, lists."""

import numbers

_NUMBERS = ("total_steps", "batch_size", "log_every", "eval_every",
            "checkpoint_every", "keep_checkpoints", "accum_steps",
            "steps_per_call", "max_rollbacks")
_FUNCTIONS = ("model", "train_data", "loss", "optimizer", "objective",
              "gradients", "strategy")
_OR_NONE = ("init", "mix", "train_source")
_LISTS = ("actions", "device_ops", "extended", "lr_multipliers", "writers")
_ABOVE_0 = ("clip_norm", "ema_decay", "max_loss", "loss_scale")  # Or None.
_MOST = 2**31 - 1  # What TensorFlow's counters and seeds hold.


def check(exp):
    """Raises ValueError, naming an Experiment's attribute and its value."""
    for name in _NUMBERS:
        value = getattr(exp, name)
        # bool is an int: True would pass as 1.
        if not isinstance(value, int) or value < 1 or value is True:
            raise ValueError(f"Experiment.{name}={value!r} must be a whole "
                             "number of at least 1.")
        if value > _MOST:
            raise ValueError(f"Experiment.{name}={value!r} must be at most "
                             f"{_MOST}.")
    for name in (*_FUNCTIONS, *_OR_NONE):
        value = getattr(exp, name)
        if not callable(value) and (value is not None or name in _FUNCTIONS):
            raise ValueError(f"Experiment.{name}={value!r} must be a function, "
                             f"@ and its name{_example(name)}.")
    for name in _LISTS:
        value = getattr(exp, name)
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"Experiment.{name}={value!r} must be a list: "
                             "[...].")
    for name in _ABOVE_0:
        value = getattr(exp, name)
        if not (value is None and name != "loss_scale") and not (
                isinstance(value, numbers.Real) and value > 0):
            raise ValueError(f"Experiment.{name}={value!r} must be a number "
                             "above 0.")
    if not hasattr(exp.evaluators, "items"):
        raise ValueError(f"Experiment.evaluators={exp.evaluators!r} must be "
                         "{'name': @function, ...}.")
    for name, value in exp.evaluators.items():
        if not callable(value):
            raise ValueError(f"Experiment.evaluators[{name!r}]={value!r} must "
                             "be a function, such as "
                             "@classification.Classification.")


def _example(name):
    examples = {"model": "@vit.vit", "optimizer": "@optim.adamw",
                "loss": "@losses.softmax_xent", "init": "@load.from_npz",
                "mix": "@mixup.mixup", "gradients": "@gradients.plain",
                "strategy": "@strategies.auto"}
    return f", such as {examples[name]}" if name in examples else ""

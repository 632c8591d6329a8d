"""Checks of what an Experiment is given: numbers, functions, lists."""

import numbers
import re

from tfvit.data.images import batchwise
from tfvit.data.images import decoding
from tfvit.engine import extension

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

_NUMBERS = ("total_steps", "batch_size", "log_every", "eval_every",
            "checkpoint_every", "keep_checkpoints", "accum_steps",
            "max_rollbacks")
_FUNCTIONS = ("model", "train_data", "loss", "optimizer", "objective",
              "gradients", "strategy")
_OR_NONE = ("init", "mix", "train_source")
_LISTS = ("actions", "device_ops", "extended", "lr_multipliers", "writers")
_ABOVE_0 = ("clip_norm", "ema_decay", "max_loss", "loss_scale")  # Or None.
_MOST = 2**31 - 1  # What TensorFlow's counters and seeds hold.


def check(exp):
    """Raises ValueError, naming an Experiment's attribute and its value."""
    counted = ["steps_per_call"] * (exp.steps_per_call != "auto")
    for name in (*_NUMBERS, *counted):
        value = getattr(exp, name)
        # bool is an int: True would pass as 1.
        if not isinstance(value, int) or value < 1 or value is True:
            auto = ", or 'auto'" * (name in counted)
            raise ValueError(f"Experiment.{name}={value!r} must be a whole "
                             f"number of at least 1{auto}.")
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
    _check_together(exp)


def _check_together(exp):
    """Checks what goes with what, and what may be one of a few."""
    if exp.eval_every % exp.log_every:
        raise ValueError(
            f"Experiment.eval_every={exp.eval_every} must be a multiple "
            f"of Experiment.log_every={exp.log_every}.")
    _check_extended(exp)
    _check_actions(exp)
    if exp.batch_size % exp.accum_steps:
        raise ValueError(
            f"Experiment.batch_size={exp.batch_size} must be a multiple "
            f"of Experiment.accum_steps={exp.accum_steps}.")
    if exp.precision not in PRECISIONS:
        raise ValueError(f"Experiment.precision={exp.precision!r} is not "
                         f"one of {', '.join(PRECISIONS)}.")
    if exp.on_nan not in ("stop", "rollback"):
        raise ValueError(f"Experiment.on_nan={exp.on_nan!r} is neither "
                         "'stop' nor 'rollback'.")
    if exp.max_loss is not None and not exp.max_loss > 0:
        raise ValueError(f"Experiment.max_loss={exp.max_loss!r} must be "
                         "above 0, or None.")
    _check_parts(exp)
    random = [decoding.op_name(op) for op in exp.device_ops
              if decoding.is_random(op) and not batchwise.takes_batches(op)]
    if random:
        raise ValueError(f"Experiment.device_ops: move {', '.join(random)} "
                         "to pipeline.train.ops: it takes no batches.")
    if not 1 <= exp.loss_scale < 2.0**127:
        raise ValueError(f"Experiment.loss_scale={exp.loss_scale!r} must "
                         "be at least 1, and finite.")
    if exp.reduce_dtype not in ("float32", "bfloat16"):
        raise ValueError(f"Experiment.reduce_dtype={exp.reduce_dtype!r} is "
                         "neither 'float32' nor 'bfloat16'.")
    for name in ("tf32", "skip_corrupt", "shard_optimizer"):
        value = getattr(exp, name)
        if not isinstance(value, bool):
            raise ValueError(f"Experiment.{name}={value!r} must be True or "
                             "False.")
    for name in ("jit", "deterministic"):
        value = getattr(exp, name)
        if not isinstance(value, bool) and value != "auto":
            raise ValueError(f"Experiment.{name}={value!r} must be True, False "
                             "or 'auto'.")
    if not isinstance(exp.seed, int) or not -2**31 <= exp.seed < 2**31:
        raise ValueError(f"Experiment.seed={exp.seed!r} must be a 32-bit "
                         "integer.")
    names = ", ".join(exp.evaluators) or "none"
    if (exp.best_metric and
            exp.best_metric.split("/")[0] not in exp.evaluators):
        raise ValueError(
            f"Experiment.best_metric={exp.best_metric!r} must start with "
            f"the name of an evaluator; there are: {names}.")


def _check_extended(exp):
    last = 0
    for part in exp.extended:
        if not isinstance(part, (tuple, list)) or len(part) != 3 or not (
                all(isinstance(n, int) for n in part[:2]) and
                last <= part[0] <= min(part[1], exp.total_steps) and
                part[2] in extension.CHOICES):
            raise ValueError(
                f"Experiment.extended: {part!r} must be a step, the "
                "total_steps until then and one of "
                f"{', '.join(extension.CHOICES)}, as --extend writes it.")
        last = part[0]


def _check_actions(exp):
    """Checks what is done between updates."""
    for name, steps in exp.evaluator_every.items():
        if name not in exp.evaluators:
            raise ValueError(
                f"Experiment.evaluator_every: {name!r} is no evaluator; "
                f"there are: {', '.join(exp.evaluators) or 'none'}.")
        if not isinstance(steps, int) or steps < 1 or (
                steps % exp.log_every):
            raise ValueError(
                f"Experiment.evaluator_every[{name!r}]={steps!r} must be a "
                "whole number of steps, and a multiple of "
                f"Experiment.log_every={exp.log_every}.")
    for pair in exp.actions:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not (
                isinstance(pair[0], int) and pair[0] > 0 and
                callable(pair[1])):
            raise ValueError(
                f"Experiment.actions: {pair!r} must be a pair of a number "
                "of steps and a function that makes an action, such as "
                "(100, @actions.early_stopping).")
    for writer in exp.writers:
        if not callable(writer):
            raise ValueError(f"Experiment.writers: {writer!r} must be a "
                             "class of engine.writers, such as "
                             "@writers.Jsonl.")


def _check_parts(exp):
    """Checks what concerns parameters by name, before there are any."""
    if exp.ema_decay is not None and not 0 < exp.ema_decay < 1:
        raise ValueError(f"Experiment.ema_decay={exp.ema_decay!r} must be "
                         "between 0 and 1, or None.")
    if not isinstance(exp.ema_warmup, bool) or (
            exp.ema_warmup and exp.ema_decay is None):
        raise ValueError(f"Experiment.ema_warmup={exp.ema_warmup!r} must "
                         "be True or False, and goes with an "
                         f"Experiment.ema_decay, now {exp.ema_decay!r}.")
    if exp.layer_decay is not None and not (
            isinstance(exp.layer_decay, (int, float)) and
            0 < exp.layer_decay <= 1 and exp.layer_decay is not True):
        raise ValueError(f"Experiment.layer_decay={exp.layer_decay!r} "
                         "must be a number above 0 and at most 1, such as "
                         "0.65, or None.")
    for pair in exp.lr_multipliers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not (
                isinstance(pair[1], (int, float)) and pair[1] > 0):
            raise ValueError(
                f"Experiment.lr_multipliers: {pair!r} must be a pair of a "
                "regular expression and a factor above 0; use "
                "Experiment.frozen for what should not change.")
    patterns = [exp.frozen] * (exp.frozen is not None)
    for pattern in [*patterns, *(p for p, _ in exp.lr_multipliers)]:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(f"Experiment: {pattern!r} is no regular "
                             f"expression: {error}") from error


def _example(name):
    examples = {"model": "@vit.vit", "optimizer": "@optim.adamw",
                "loss": "@losses.softmax_xent", "init": "@load.from_npz",
                "mix": "@mixup.mixup", "gradients": "@gradients.plain",
                "strategy": "@strategies.auto"}
    return f", such as {examples[name]}" if name in examples else ""

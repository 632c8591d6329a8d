"""Experiment: everything that defines a run, and the only gin entry point."""

import copy
import dataclasses
import functools
import re
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union

import gin

from tfvit import distribute as distribute_lib
from tfvit import gradients as gradients_lib
from tfvit import objectives
from tfvit.data import decoding

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run. Callables are called late, inside the strategy's scope.

    Attributes:
      model: () -> tf_keras.Model.
      train_source: () -> source of training images (tfvit.data.sources).
      train_data: builds the training tf.data pipeline from that source.
      evaluators: {name: callable from (model=, strategy=, jit=) to an object
        whose run() returns {metric: value}}.
      loss: one of tfvit.losses, which goes with the objective.
      objective: one of tfvit.objectives: Supervised for labels, Contrastive for
        captions.
      optimizer: total_steps -> optim.Optimizer.
      total_steps: updates in the run.
      batch_size: global batch B, examples per update.
      log_every: steps between lines of training metrics.
      eval_every: steps between evaluations; the last step evaluates too.
      checkpoint_every: steps between checkpoints; the last step saves too.
      keep_checkpoints: how many of the newest checkpoints stay on disk.
      best_metric: "evaluator/metric" whose largest value decides which
        checkpoint is kept in checkpoints/best, or None.
      init: model -> None; loads pretrained weights. None: train from scratch.
      device_ops: of tfvit.data.ops, none of them random: what the images of a
        batch go through on the device, after train_data. [@ops.value_range]
        there, instead of at the end of pipeline.train.ops, lets uint8 travel
        to the device, a quarter of the bytes.
      mix: (batch, seed) -> batch, one of tfvit.data.mixup: mixes the images
        of a replica's batch and their labels. Or None.
      gradients: one of tfvit.gradients.
      accum_steps: micro-batches per replica and update.
      clip_norm: largest global gradient norm; None for no limit.
      frozen: regular expression; parameters whose whole published name matches
        are not trained: no gradient, no optimizer state, no update. Or None.
      lr_multipliers: pairs (regular expression, factor); the first that matches
        a parameter's whole name multiplies its learning rate (and, with it,
        its weight decay).
      ema_decay: decay per update, such as 0.9999, of a moving average of the
        weights, which is then what is evaluated, exported and predicts. Or
        None.
      strategy: () -> tf.distribute.Strategy.
      on_nan: what to do when the loss or the gradient is not finite: "stop", or
        "rollback" to the last checkpoint and leave out the batches from there
        to the one that did it.
      max_loss: a training loss above it, a spike, counts as one that is not
        finite. Or None.
      max_rollbacks: how many times in a run, before it stops after all.
      precision: "float32", "mixed_bfloat16" or "mixed_float16" (variables
        stay float32).
      tf32: on GPUs of the Ampere generation and later, round the factors of
        float32 products to 10 bits, which is TensorFlow's default and several
        times as fast. False for all 23 bits.
      loss_scale: the first one of "mixed_float16", which adapts it: updates
        whose gradients overflow are skipped, and counted in
        train/skipped_updates. They count as steps: of the schedule, the data
        and total_steps.
      jit: compile with XLA: True, False, or "auto" (accelerators only).
      steps_per_call: updates per call from Python to TensorFlow.
      seed: of initializers, data order, augmentation and dropout.

    Raises:
      ValueError: naming the attribute, its value and what it may be.
    """
    model: Callable[[], Any]
    train_source: Callable[[], Any]
    train_data: Callable[..., Any]
    evaluators: Mapping[str, Callable[..., Any]]
    loss: Callable[..., Any]
    optimizer: Callable[[int], Any]
    total_steps: int
    batch_size: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    keep_checkpoints: int = 3
    best_metric: Optional[str] = None
    init: Optional[Callable[..., None]] = None
    objective: Callable[..., Any] = objectives.Supervised
    device_ops: Sequence[Callable[..., Any]] = ()
    mix: Optional[Callable[..., Any]] = None
    gradients: Callable[..., Any] = gradients_lib.plain
    accum_steps: int = 1
    clip_norm: Optional[float] = None
    frozen: Optional[str] = None
    lr_multipliers: Sequence[Tuple[str, float]] = ()
    ema_decay: Optional[float] = None
    strategy: Callable[[], Any] = distribute_lib.auto
    on_nan: str = "stop"
    max_loss: Optional[float] = None
    max_rollbacks: int = 3
    precision: str = "float32"
    tf32: bool = True
    loss_scale: float = 2.0**15
    jit: Union[bool, str] = "auto"
    steps_per_call: int = 1
    seed: int = 0

    def __post_init__(self):
        for name in ("total_steps", "batch_size", "log_every", "eval_every",
                     "checkpoint_every", "keep_checkpoints", "accum_steps",
                     "steps_per_call", "max_rollbacks"):
            value = getattr(self, name)
            # bool is an int: True would pass as 1.
            if not isinstance(value, int) or value < 1 or value is True:
                raise ValueError(f"Experiment.{name}={value!r} must be a whole "
                                 "number of at least 1.")
        if self.eval_every % self.log_every:
            raise ValueError(
                f"Experiment.eval_every={self.eval_every} must be a multiple "
                f"of Experiment.log_every={self.log_every}.")
        if self.batch_size % self.accum_steps:
            raise ValueError(
                f"Experiment.batch_size={self.batch_size} must be a multiple "
                f"of Experiment.accum_steps={self.accum_steps}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"Experiment.precision={self.precision!r} is not "
                             f"one of {', '.join(PRECISIONS)}.")
        if self.on_nan not in ("stop", "rollback"):
            raise ValueError(f"Experiment.on_nan={self.on_nan!r} is neither "
                             "'stop' nor 'rollback'.")
        if self.max_loss is not None and not self.max_loss > 0:
            raise ValueError(f"Experiment.max_loss={self.max_loss!r} must be "
                             "above 0, or None.")
        self._check_parts()
        random = [decoding.op_name(op) for op in self.device_ops
                  if decoding.is_random(op)]
        if random:
            raise ValueError(f"Experiment.device_ops must not be random: move "
                             f"{', '.join(random)} to pipeline.train.ops.")
        if not 1 <= self.loss_scale < 2.0**127:
            raise ValueError(f"Experiment.loss_scale={self.loss_scale!r} must "
                             "be at least 1, and finite.")
        if not isinstance(self.tf32, bool):
            raise ValueError(f"Experiment.tf32={self.tf32!r} must be True or "
                             "False.")
        if self.jit not in (True, False, "auto"):
            raise ValueError(f"Experiment.jit={self.jit!r} must be True, False "
                             "or 'auto'.")
        if not isinstance(self.seed, int) or not -2**31 <= self.seed < 2**31:
            raise ValueError(f"Experiment.seed={self.seed!r} must be a 32-bit "
                             "integer.")
        names = ", ".join(self.evaluators) or "none"
        if (self.best_metric and
                self.best_metric.split("/")[0] not in self.evaluators):
            raise ValueError(
                f"Experiment.best_metric={self.best_metric!r} must start with "
                f"the name of an evaluator; there are: {names}.")

    def _check_parts(self):
        """Checks what concerns parameters by name, before there are any."""
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"Experiment.ema_decay={self.ema_decay!r} must be "
                             "between 0 and 1, or None.")
        for pair in self.lr_multipliers:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not (
                    isinstance(pair[1], (int, float)) and pair[1] > 0):
                raise ValueError(
                    f"Experiment.lr_multipliers: {pair!r} must be a pair of a "
                    "regular expression and a factor above 0; use "
                    "Experiment.frozen for what should not change.")
        patterns = [self.frozen] * (self.frozen is not None)
        for pattern in [*patterns, *(p for p, _ in self.lr_multipliers)]:
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                raise ValueError(f"Experiment: {pattern!r} is no regular "
                                 f"expression: {error}") from error


def sources():
    """{split: () -> source} of all data that the gin config reads.

    That of training is called "train", an evaluator's has the name of its
    scope, as the files in gin/data set it.
    """
    found = {}
    bound = gin.config._CONFIG  # pylint: disable=protected-access
    for (scope, selector), arguments in bound.items():
        owner = selector.split(".")[-1]
        for argument, value in arguments.items():
            if argument == "source" or argument.endswith("_source"):
                parts = [] if owner == "Experiment" else [scope or owner]
                parts += [argument.removesuffix("source").rstrip("_")]
                # A copy resolves Gin's references and macros.
                found["/".join(filter(None, parts))] = copy.deepcopy(value)
    if not found:
        raise ValueError("The gin config names no source of images.")
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "train"))


def settings(function):
    """The {parameter: value} that gin, or functools.partial, gives it."""
    if isinstance(function, functools.partial):
        return function.keywords
    try:
        return gin.get_bindings(function)
    except ValueError:  # Gin does not know it.
        return {}


def check_bindings_used():
    """Raises ValueError for gin bindings that nothing has read so far.

    A binding counts as read once its function has run, so this is called when
    everything is built and the train step is traced.
    """
    # Gin has no public way to ask.
    bound = gin.config._CONFIG  # pylint: disable=protected-access
    read = gin.config._OPERATIVE_CONFIG  # pylint: disable=protected-access
    dead = []
    for (scope, selector), arguments in bound.items():
        used = set()
        for (other, same), values in read.items():
            if same == selector and (other == scope or
                                     other.startswith(scope + "/") or
                                     not scope):
                used |= set(values)
        dead += [
            f"{scope}/{selector}.{a}".lstrip("/")
            for a in arguments
            if a not in used
        ]
    if dead:
        raise ValueError(
            "Gin bindings that nothing reads (delete them, or mend the name "
            "or scope):\n  " + "\n  ".join(sorted(dead)))

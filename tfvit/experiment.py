"""Experiment: everything that defines a run, and the only gin entry point."""

import dataclasses
import re
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union

from tfvit import config
from tfvit.bindings import gin_text
from tfvit.bindings import trust as trust_lib
from tfvit.data.images import batchwise
from tfvit.data.images import decoding
from tfvit.distribute import strategies as distribute_lib
from tfvit.engine import extension
from tfvit.engine import run_config
from tfvit.engine import values
from tfvit.engine import writers as writers_lib
from tfvit.optimize import gradients as gradients_lib
from tfvit.optimize import objectives

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run. Callables are called late, inside the strategy's scope.

    Attributes:
      model: () -> tf_keras.Model.
      train_source: () -> source of training images (datasets.sources), or None
        where nothing trains.
      train_data: builds the training tf.data pipeline from that source.
      evaluators: {name: callable from (model=, strategy=, jit=) to an object
        whose run() returns {metric: value}}.
      loss: one of optimize.losses, which goes with the objective.
      objective: one of optimize.objectives: Supervised for labels, Contrastive for
        captions.
      optimizer: total_steps -> optim.Optimizer.
      total_steps: updates in the run.
      extended: (step, total_steps until then, "stretch" or "restart") of each
        time that the run was made longer or shorter: `train --extend` writes
        it, and engine.extension says what it means.
      batch_size: global batch B, examples per update.
      log_every: steps between lines of training metrics.
      eval_every: steps between evaluations; the last step evaluates too.
      evaluator_every: {evaluator: steps}, for those with a cadence of their
        own.
      checkpoint_every: steps between checkpoints; the last step saves too.
      keep_checkpoints: how many of the newest checkpoints stay on disk.
      best_metric: "evaluator/metric" whose best value decides which checkpoint
        stays in checkpoints/best, or None. Of a loss or an error the smallest is
        best, else the largest; of equals that of the smaller "evaluator/loss".
      actions: pairs (steps, () -> action) of what else is to be done at the
        multiples of these steps and at the last one; see engine.actions. Their
        turn is after the evaluation and before the checkpoint.
      writers: classes of engine.writers, which are where metrics go.
      init: model -> None; loads pretrained weights. None: train from scratch.
      device_ops: of images.ops: what the images of a batch go through on the
        device, after train_data, which may end in uint8: a quarter of the bytes
        to copy. Random ones may be ops.flip_lr, randaug.randaugment and
        distort.color_jitter.
      skip_corrupt: skip and count images that do not decode, in training and
        in all evaluators, instead of stopping. Where one of these has a
        skip_corrupt of its own, such as pipeline.train.skip_corrupt, that one
        decides.
      mix: (batch, seed) -> batch, one of images.mixup: mixes the images
        of a replica's batch and their labels. Or None.
      gradients: one of optimize.gradients.
      accum_steps: micro-batches per replica and update.
      clip_norm: largest global gradient norm; None for no limit.
      frozen: regular expression; parameters whose whole published name matches
        are not trained: no gradient, no optimizer state, no update. Or None.
      lr_multipliers: pairs (regular expression, factor); the first that matches
        a parameter's whole name multiplies its learning rate (and, with it,
        its weight decay).
      layer_decay: factor in (0, 1], such as 0.65, from each block's learning
        rate to that of the block before it, so that embeddings (of a hybrid
        the ResNet) learn slowest and the head as fast as ever; see
        optimize.layer_decay. Multiplies lr_multipliers. Or None.
      ema_decay: decay per update, such as 0.9999, of a moving average of the
        weights, which is then what is evaluated, exported and predicts: one
        over the last 1 / (1 - ema_decay) updates or so. Or None.
      ema_warmup: lets the n-th update decay the average by no more than
        (1 + n) / (10 + n), as tf.train.ExponentialMovingAverage does with
        num_updates, so that it forgets where the run started; what loss scaling
        skipped is no update. For runs that are not much longer than what
        ema_decay averages over.
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
    extended: Sequence[Tuple[int, int, str]] = ()
    evaluator_every: Mapping[str, int] = dataclasses.field(
        default_factory=dict)
    keep_checkpoints: int = 3
    best_metric: Optional[str] = None
    actions: Sequence[Tuple[int, Callable[[], Any]]] = ()
    writers: Sequence[Callable[[str], Any]] = (writers_lib.Jsonl,
                                               writers_lib.TensorBoard)
    init: Optional[Callable[..., None]] = None
    objective: Callable[..., Any] = objectives.Supervised
    device_ops: Sequence[Callable[..., Any]] = ()
    skip_corrupt: bool = False
    mix: Optional[Callable[..., Any]] = None
    gradients: Callable[..., Any] = gradients_lib.plain
    accum_steps: int = 1
    clip_norm: Optional[float] = None
    frozen: Optional[str] = None
    lr_multipliers: Sequence[Tuple[str, float]] = ()
    layer_decay: Optional[float] = None
    ema_decay: Optional[float] = None
    ema_warmup: bool = False
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
        values.check(self)
        if self.eval_every % self.log_every:
            raise ValueError(
                f"Experiment.eval_every={self.eval_every} must be a multiple "
                f"of Experiment.log_every={self.log_every}.")
        self._check_extended()
        self._check_actions()
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
                  if decoding.is_random(op) and not
                  batchwise.takes_batches(op)]
        if random:
            raise ValueError(f"Experiment.device_ops: move {', '.join(random)} "
                             "to pipeline.train.ops: it takes no batches.")
        if not 1 <= self.loss_scale < 2.0**127:
            raise ValueError(f"Experiment.loss_scale={self.loss_scale!r} must "
                             "be at least 1, and finite.")
        for name in ("tf32", "skip_corrupt"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(f"Experiment.{name}={value!r} must be True or "
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

    def cadence(self, evaluator):
        """The steps between the evaluations of an evaluator."""
        return self.evaluator_every.get(evaluator, self.eval_every)

    def _check_extended(self):
        last = 0
        for part in self.extended:
            if not isinstance(part, (tuple, list)) or len(part) != 3 or not (
                    all(isinstance(n, int) for n in part[:2]) and
                    last <= part[0] <= min(part[1], self.total_steps) and
                    part[2] in extension.CHOICES):
                raise ValueError(
                    f"Experiment.extended: {part!r} must be a step, the "
                    "total_steps until then and one of "
                    f"{', '.join(extension.CHOICES)}, as --extend writes it.")
            last = part[0]

    def _check_actions(self):
        """Checks what is done between updates."""
        for name, steps in self.evaluator_every.items():
            if name not in self.evaluators:
                raise ValueError(
                    f"Experiment.evaluator_every: {name!r} is no evaluator; "
                    f"there are: {', '.join(self.evaluators) or 'none'}.")
            if not isinstance(steps, int) or steps < 1 or (
                    steps % self.log_every):
                raise ValueError(
                    f"Experiment.evaluator_every[{name!r}]={steps!r} must be a "
                    "whole number of steps, and a multiple of "
                    f"Experiment.log_every={self.log_every}.")
        for pair in self.actions:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not (
                    isinstance(pair[0], int) and pair[0] > 0 and
                    callable(pair[1])):
                raise ValueError(
                    f"Experiment.actions: {pair!r} must be a pair of a number "
                    "of steps and a function that makes an action, such as "
                    "(100, @actions.early_stopping).")
        for writer in self.writers:
            if not callable(writer):
                raise ValueError(f"Experiment.writers: {writer!r} must be a "
                                 "class of engine.writers, such as "
                                 "@writers.Jsonl.")

    def _check_parts(self):
        """Checks what concerns parameters by name, before there are any."""
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"Experiment.ema_decay={self.ema_decay!r} must be "
                             "between 0 and 1, or None.")
        if not isinstance(self.ema_warmup, bool) or (
                self.ema_warmup and self.ema_decay is None):
            raise ValueError(f"Experiment.ema_warmup={self.ema_warmup!r} must "
                             "be True or False, and goes with an "
                             f"Experiment.ema_decay, now {self.ema_decay!r}.")
        if self.layer_decay is not None and not (
                isinstance(self.layer_decay, (int, float)) and
                0 < self.layer_decay <= 1 and self.layer_decay is not True):
            raise ValueError(f"Experiment.layer_decay={self.layer_decay!r} "
                             "must be a number above 0 and at most 1, such as "
                             "0.65, or None.")
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


def from_config(files, bindings=()):
    """(Experiment, its config as text) of gin files and bindings."""
    text = config.parse(files, bindings)
    return config.make(Experiment), text


def of_run(workdir, overrides=((), ()), *, trust=False):
    """As from_config, of the run in a directory.

    Args:
      workdir: that of the run.
      overrides: (gin files, bindings) that change its config.
      trust: whether its config may name what is not tfvit's own.

    Raises:
      ValueError: it does so and may not, see bindings.trust; or is damaged.
    """
    path, (files, bindings) = config.of(workdir), overrides
    text = run_config.saved(workdir)
    if not trust:
        trust_lib.check(text, path)
    gin_text.check_whole(text, path)
    return from_config([path, *files], bindings)

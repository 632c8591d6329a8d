"""Experiment: everything that defines a run, and the only gin entry point."""

import dataclasses
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union

from tfvit import config
from tfvit.bindings import gin_text
from tfvit.bindings import trust as trust_lib
from tfvit.distribute import strategies as distribute_lib
from tfvit.engine import run_config
from tfvit.engine import values
from tfvit.engine import writers as writers_lib
from tfvit.optimize import gradients as gradients_lib
from tfvit.optimize import objectives


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
      shard_optimizer: each replica keeps only its share of the optimizer's
        state and of the averages, and updates only its share of the weights
        (ZeRO-1; see distribute.sharding): less memory, and one more message
        between replicas at each step.
      reduce_dtype: "float32", or "bfloat16" to add gradients up over replicas
        at half the traffic, rounded to 8 bits.
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
      deterministic: whether what is computed once more comes out equal to the
        last bit, so that a run that was stopped ends as it would have: True,
        False, or "auto", which is True on CPUs and TPUs, where it costs
        nothing, and False on GPUs; see engine.determinism.
      steps_per_call: updates per call from Python to TensorFlow: a number, or
        "auto" for what takes a second. Changes no result; a signal is
        answered between calls.
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
    shard_optimizer: bool = False
    reduce_dtype: str = "float32"
    on_nan: str = "stop"
    max_loss: Optional[float] = None
    max_rollbacks: int = 3
    precision: str = "float32"
    tf32: bool = True
    loss_scale: float = 2.0**15
    jit: Union[bool, str] = "auto"
    deterministic: Union[bool, str] = "auto"
    steps_per_call: Union[int, str] = "auto"
    seed: int = 0

    def __post_init__(self):
        values.check(self)

    def cadence(self, evaluator):
        """The steps between the evaluations of an evaluator."""
        return self.evaluator_every.get(evaluator, self.eval_every)


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

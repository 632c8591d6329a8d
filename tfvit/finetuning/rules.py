"""The papers' settings for so many images; plain arithmetic.

Fine-tuning: vision_transformer's configs/augreg.py and the grid of AugReg
(arXiv 2106.10270): batch 512, learning rate 0.03, and 500 updates for datasets
such as Pets and VTAB, 2,500 for CIFAR-100 and RESISC45, 20,000 for ImageNet. The
sizes between these are those of BiT's HyperRule (arXiv 1912.11370, section 3.3).
"""

import math
from typing import NamedTuple

BATCH = 512  # Of the papers; where it is smaller, so is the learning rate.
_LR = 0.03
LARGE = 500_000  # Images: such as ImageNet.
_STEPS = ((20_000, 500), (LARGE, 2_500), (math.inf, 20_000))
_WARMUP = 500
# SimCLR's linear evaluation (arXiv 2002.05709, B.6): 0.1 for a batch of 256.
_PROBE_LR = 0.1 * BATCH / 256
# From scratch: AdamW's of AugReg and of "Better plain ViT baselines" (arXiv
# 2205.01580), whose shortest schedule is 90 epochs; and as long as gin/digits.gin.
_SCRATCH_LR = 1e-3
_SCRATCH_EPOCHS, _SCRATCH_STEPS = 90, 1_500
_SCRATCH_WARMUP = 10_000
# Among those of the ViT paper's pre-training (arXiv 2010.11929, table 3).
_SCRATCH_GRID = (3e-4, 1e-3, 3e-3)
# A few images want small batches: an epoch is at least so many updates.
_UPDATES, _SMALLEST = 10, 8
_LARGEST = 8 * BATCH  # That may hold images more than once; memory ends, too.
_LOGS = (50, 25, 20, 10, 5, 2, 1)  # Updates between lines.


class Settings(NamedTuple):
    """How long, in which batches and how fast a model trains.

    Attributes:
      batch_size: B, a multiple of the replicas.
      total_steps: updates in all.
      warmup_steps: of them.
      lr: of the optimizer.
      why: {"batch_size", "total_steps", "lr": where it is from}.
    """
    batch_size: int
    total_steps: int
    warmup_steps: int
    lr: float
    why: dict


def settings(num_train, *, scratch=False, linear_probe=False, epochs=None,
             batch_size=None, lr=None, replicas=1):
    """Settings for `num_train` training examples.

    Args:
      num_train: how many.
      scratch: whether there are no pre-trained weights.
      linear_probe: whether only the head trains.
      epochs, batch_size, lr: what the user says of it, or None.
      replicas: what the batch must be a multiple of.

    Raises:
      ValueError: one of these is not above 0, or the batch not a multiple, or
        far more than there are images.
    """
    for flag, value in {"epochs": epochs, "batch_size": batch_size,
                        "lr": lr}.items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{flag}={value} must be above 0.")
    why = {}
    if batch_size is None:
        batch_size, why["batch_size"] = _batch_size(num_train, replicas)
    elif batch_size % replicas:
        raise ValueError(f"--batch_size={batch_size} must be a multiple of "
                         f"the {replicas} replicas.")
    elif batch_size > max(num_train, _LARGEST):
        raise ValueError(f"--batch_size={batch_size} is more than the "
                         f"{num_train} images to train on.")
    else:
        why["batch_size"] = "--batch_size"
    if epochs:
        steps = max(round(epochs * num_train / batch_size), 1)
        why["total_steps"] = f"--epochs={epochs:g}"
    elif scratch:
        steps = max(round(_SCRATCH_EPOCHS * num_train / batch_size),
                    _SCRATCH_STEPS)
        why["total_steps"] = (f"{_SCRATCH_EPOCHS} epochs, at least "
                              f"{_SCRATCH_STEPS:,} updates")
    else:
        limit, steps = next(pair for pair in _STEPS if num_train < pair[0])
        size = (f"fewer than {limit:,}" if limit < math.inf else
                f"{LARGE:,} or more")
        why["total_steps"] = f"AugReg's for {size} images"
    warmup = min(_SCRATCH_WARMUP, steps // 10) if scratch else min(_WARMUP,
                                                                   steps // 5)
    if lr is not None:
        why["lr"] = "--lr"
    elif scratch:
        lr, why["lr"] = _SCRATCH_LR, "AugReg's from scratch"
    else:
        base = _PROBE_LR if linear_probe else _LR
        lr = base * batch_size / BATCH
        why["lr"] = "SimCLR's linear probe" if linear_probe else "AugReg's"
        why["lr"] += f", {base:g} * {batch_size} / {BATCH}"
    return Settings(batch_size, steps, warmup, float(f"{lr:.3g}"), why)


def _batch_size(num_train, replicas):
    """(B, why): the papers', or a power of two with ten updates an epoch."""
    size = 2**int(math.log2(max(num_train / _UPDATES, 1)))
    size = min(max(size, _SMALLEST), BATCH)
    why = ("the papers'" if size == BATCH else
           f"smaller than the papers' {BATCH}: the images are few")
    return -(-size // replicas) * replicas, why


def grid(chosen, paper, *, scratch=False, linear_probe=False):
    """The learning rates to try.

    Args:
      chosen: Settings.
      paper: rates of fine-tuning in batches of BATCH, which are scaled as the
        rate of `settings` is.
      scratch, linear_probe: see settings.
    """
    if scratch:
        return list(_SCRATCH_GRID)
    scale = chosen.batch_size / BATCH * (_PROBE_LR / _LR if linear_probe else 1)
    return [float(f"{rate * scale:.3g}") for rate in paper]


def cadences(total_steps, epoch):
    """(log_every, eval_every): ten evaluations or so, at most one an epoch.

    The second is a multiple of the first, which is 50 at most.

    Args:
      total_steps: updates in all.
      epoch: updates that see each image once, not always a whole number.
    """
    evaluate = _round(total_steps / 10)
    if evaluate >= epoch:
        log = next(n for n in _LOGS if n == 1 or (
            2 * n <= evaluate and evaluate % n == 0))
        return log, evaluate
    # An epoch and no more than a fifth of it.
    log = next(n for n in _LOGS if n == 1 or 5 * n <= epoch)
    return log, math.ceil(epoch / log) * log


def _round(number):
    """The largest of 1, 2, 5, 10, 20, 50, ... that is not above it."""
    power = 10**int(math.log10(max(number, 1)))
    return max((n * power for n in (1, 2, 5) if n * power <= number), default=1)

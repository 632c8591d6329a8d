"""What the user of `tfvit finetune` decides; the rest is chosen."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
    """The flags: what the user decides; None where that is left open.

    Attributes:
      data: see dataset.read.
      model, weights: see start.choose.
      epochs, batch_size, lr: see rules.settings.
      val_share: see dataset.read.
      sampler: see data.datasets.sampling.sampled.
      image_size: pixels.
      seed: of everything random.
      linear_probe: whether only the head trains.
      layer_decay, precision: see experiment.Experiment.
      out: directory of the run.
      overrides: (gin files, bindings) that have the last word.
    """
    data: str
    model: str | None = None
    weights: str | None = None
    epochs: float | None = None
    batch_size: int | None = None
    lr: float | None = None
    val_share: float | None = None
    sampler: str | None = None
    image_size: int | None = None
    seed: int | None = None
    linear_probe: bool = False
    layer_decay: float | None = None
    precision: str | None = None
    out: str | None = None
    overrides: tuple = ((), ())

    def __post_init__(self):
        if self.linear_probe and self.weights == "none":
            raise ValueError("--linear_probe with --from=none would train a "
                             "head on features that nothing has learned.")
        if self.linear_probe and self.layer_decay is not None:
            raise ValueError("--linear_probe trains no layer but the head: "
                             "leave --layer_decay out.")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"--image_size={self.image_size} must be above 0.")

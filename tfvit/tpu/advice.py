"""What to change so that a run fits into a device's memory."""

from tfvit import config

_REMAT = {"vit": "vit.vit.remat", "mixer": "mixer.mixer.remat",
          "lit": "vit.vit.remat"}


def of(exp, place, slots, arguments):
    """Sentences, what costs least first.

    Args:
      exp: an experiment.Experiment.
      place: the chips.Slice.
      slots: bytes of the optimizer's on each device.
      arguments: bytes of weights, slots and batch there.
    """
    limit = place.chip.gib * 2**30
    said = []
    if arguments < 0.9 * limit:  # Else it is not what the step computes.
        said += _of_activations(exp, place.replicas)
    # Where slots are a small part, nothing is won by them.
    if slots > 0.1 * limit:
        said += _of_slots(exp, slots)
        if place.replicas > 1 and not exp.shard_optimizer:
            said.append("experiment.Experiment.shard_optimizer = True: each "
                        f"device keeps 1/{place.replicas} of the slots")
    if exp.ema_decay is not None and arguments > 0.5 * limit:
        said.append("experiment.Experiment.ema_decay = None: the averages are "
                    "one more copy of the weights")
    return said + ["a slice of more chips, or of chips with more memory"]


def _of_activations(exp, replicas):
    model = getattr(exp.model, "func", exp.model)
    module = getattr(model, "__name__", "")
    name = _REMAT.get(module)
    if name and not config.settings(exp.model).get("remat"):
        yield (f"{name} = True: the backward pass computes the blocks again, a "
               "third more arithmetic")
    if exp.precision == "float32":
        yield ("experiment.Experiment.precision = 'mixed_bfloat16': half of "
               "the activations")
    parts = exp.accum_steps * 2
    while parts * replicas < exp.batch_size and (
            exp.batch_size % (parts * replicas)):
        parts += 1
    if parts * replicas <= exp.batch_size:
        yield (f"experiment.Experiment.accum_steps = {parts}, now "
               f"{exp.accum_steps}: the batch in parts")


def _of_slots(exp, slot_bytes):
    gib = f"{slot_bytes / 2**30:.1f} GiB of slots"
    optimizer = getattr(exp.optimizer, "func", exp.optimizer).__name__
    settings = config.settings(exp.optimizer)
    if optimizer == "adamw":
        if settings.get("first_moment", "float32") == "float32":
            yield (f"optim.adamw.first_moment = 'bfloat16': a quarter of {gib}")
        yield ("experiment.Experiment.optimizer = @optim.adafactor: a quarter "
               f"of {gib}")
    elif settings.get("accumulator") == "float32":
        yield (f"optim.sgd.accumulator = 'bfloat16': half of {gib}")

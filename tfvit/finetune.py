"""Trains on your own images: python -m tfvit.finetune /data/flowers.

DATA is a folder, {class}/* or {split}/{class}/*; a table, CSV or JSONL, with
the columns image and label; a folder that tfvit prepare wrote; or the name of a
dataset of TFDS. Everything else is chosen, said and written to OUT/config.gin:

  python -m tfvit.finetune /data/flowers --model=B_16 --epochs=20 --out=runs/b16
  python -m tfvit.finetune /data/flowers --model=tiny --from=none  # No download.
  python -m tfvit.finetune cifar10 --linear_probe --dry_run

The same command goes on where it was stopped.
"""

import os
import shlex
import sys

from absl import flags

from tfvit import launch

_MODEL = flags.DEFINE_string(
    "model", None, "Such as Ti_16, S_16 (the default), B_16, R26_S_32, "
    "mixer_b16, tiny, or a published checkpoint's name: tfvit models.")
_FROM = flags.DEFINE_string(
    "from", None, "Weights to start from: an .npz file or its URL, a published "
    "checkpoint's name, another run's directory, or none. Default: the "
    "recommended ones for the model, which are downloaded once.")
_EPOCHS = flags.DEFINE_float(
    "epochs", None, "How often each image is seen. Default: as the papers, by "
    "the number of images.")
_LR = flags.DEFINE_float("lr", None, "Learning rate. Default: the papers', by "
                         "the size of the batch.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Images per update.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Pixels. Default: those of the weights.")
_OUT = flags.DEFINE_string("out", None, "Directory of the run. Default: "
                           "runs/<name of DATA>.")
_SEED = flags.DEFINE_integer("seed", None, "Of everything random.")
_VAL_SHARE = flags.DEFINE_float(
    "val_share", None, "Share of the images of each class that is for "
    "validation, where there is no split for that. Default: 0.1.")
_SAMPLER = flags.DEFINE_enum(
    "sampler", None, ["balanced", "sqrt"], "Draw images by class: all classes "
    "equally often, or by the square roots of their sizes. Default: each image "
    "once an epoch.")
_LINEAR_PROBE = flags.DEFINE_bool("linear_probe", False,
                                  "Train the head alone.")
_LAYER_DECAY = flags.DEFINE_float(
    "layer_decay", None, "Factor of the learning rate from each layer to the "
    "one below, such as 0.65.")
_PRECISION = flags.DEFINE_string(
    "precision", None, "float32, mixed_bfloat16 or mixed_float16.")
_SWEEP_LR = flags.DEFINE_bool(
    "sweep_lr", False, "Try the papers' learning rates, one run after the "
    "other, in folders of OUT, and say which validates best.")
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Say what would be done and what it costs, and stop. "
    "Downloads no weights and writes nothing.")


launch.start(__name__, "chosen run", clock=True, words=(
    "Say what to train on, such as /data/flowers: one word, and no flag."))

from tfvit import trainer
from tfvit.engine import dry_run
from tfvit.finetuning import plan as plan_lib
from tfvit.finetuning import wishes


def main(words):
    (data,) = words
    if _SWEEP_LR.value and _LR.value is not None:
        raise ValueError("--sweep_lr tries several learning rates: leave --lr "
                         "out.")
    plan = plan_lib.Plan(
        wishes.Wishes(
            data=data, model=_MODEL.value, weights=_FROM.value,
            epochs=_EPOCHS.value, batch_size=_BATCH_SIZE.value, lr=_LR.value,
            val_share=_VAL_SHARE.value, sampler=_SAMPLER.value,
            image_size=_IMAGE_SIZE.value, seed=_SEED.value, linear_probe=_LINEAR_PROBE.value,
            layer_decay=_LAYER_DECAY.value, precision=_PRECISION.value,
            out=_OUT.value, overrides=launch.overrides()),
        fetches=not _DRY_RUN.value)
    print("\n".join(plan.summary()), flush=True)
    if _SWEEP_LR.value:
        print(f"{'tries':10}  {plan.grid()}", flush=True)
    if _DRY_RUN.value:
        print(dry_run.table(plan.report or
                            dry_run.report(plan.exp, plan.out)))
    elif _SWEEP_LR.value:
        _sweep(plan_lib.write(plan), plan)
    else:
        try:
            trainer.claim(plan.config, plan.out)
        except ValueError as error:  # As this command calls it.
            raise ValueError(
                str(error).replace("a new --workdir", "a new --out").replace(
                    " or add --extend;", ";")) from error
        plan_lib.write(plan)
        trainer.train(plan.exp, plan.out)
        print(_next(plan.out))


def _next(out):
    """What one does with a finished run."""
    name = os.path.basename(os.path.normpath(out))
    return "\n".join(["What comes next:"] + [
        f"  {shlex.join(['python', '-m', *words])}" for words in (
            ("tfvit.evaluate", f"--workdir={out}"),
            ("tfvit.predict", "photo.jpg", f"--model={out}"),
            ("tfvit.export", f"--workdir={out}", f"--out=exports/{name}"))])


def _sweep(file, plan):
    """Becomes tools.sweep, which is a program of its own."""
    files, bindings = launch.overrides()
    words = [sys.executable, "-m", "tfvit", "sweep", f"--dir={plan.out}",
             f"--grid={plan.grid()}", f"--metric={plan.exp.best_metric}",
             *(f"--gin_file={name}" for name in (file, *files)),
             *(f"--gin_bindings={binding}" for binding in bindings)]
    sys.stderr.flush()
    os.execv(sys.executable, words)


if __name__ == "__main__":
    launch.run_words(main, trains=True)

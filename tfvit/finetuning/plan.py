"""Puts the choices of `tfvit finetune` together, as a gin file and as words."""

import os
import re
import shlex

from absl import logging
import tensorflow as tf

from tfvit import config
from tfvit import experiment
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.engine import dry_run
from tfvit.finetuning import dataset as dataset_lib
from tfvit.finetuning import kinds
from tfvit.finetuning import memory
from tfvit.finetuning import rules
from tfvit.finetuning import start as start_lib
from tfvit.storage import quiet

_ALL_BUT_HEAD = "(?!head/).*"
_EVAL_BATCH = 512  # The papers'.
_GRIDS = ("gin/sweeps/vit_paper.txt", "gin/sweeps/vit_paper_imagenet2012.txt")


class Plan:
    """What was chosen, and why.

    Attributes:
      wishes: a wishes.Wishes.
      out: directory of the run.
      gin: the text of a gin file that says it.
      config: the whole config, as config.parse returns it.
      exp: its experiment.Experiment.
      report: of the dry run that estimated the memory, or None.
    """

    def __init__(self, wishes, *, fetches=True):
        """Chooses; downloads weights where `fetches` says so.

        Raises:
          ValueError, OSError: it cannot work; says why and what to do.
        """
        self.wishes = wishes
        # What needs the network comes first, what takes long comes last.
        far = kinds.of(wishes.data) == "tfds"
        if far:
            self._choose_start(fetches)
        self.data = dataset_lib.read(wishes.data, val_share=wishes.val_share,
                                     overrides=wishes.overrides)
        if not far:
            self._choose_start(fetches)
        self.out = os.path.expanduser(
            wishes.out or os.path.join("runs", self.data.name))
        self.report, self._memory, self._parts = None, "", 1
        self._choose_settings(replicas=1)
        self._write()
        self._replicas = build.devices(self.exp).num_replicas_in_sync
        if self.settings.batch_size % self._replicas:
            self._choose_settings(self._replicas)
            self._write()
        self._fit()

    def _choose_start(self, fetches):
        self.start = start_lib.choose(self.wishes.model, self.wishes.weights,
                                      fetches=fetches)

    def _choose_settings(self, replicas):
        wishes = self.wishes
        self.settings = rules.settings(
            self.data.sizes["train"], scratch=self.start.scratch,
            linear_probe=wishes.linear_probe, epochs=wishes.epochs,
            batch_size=wishes.batch_size, lr=wishes.lr, replicas=replicas)

    def _write(self):
        self.gin = self._header() + dataset_lib.text(
            (*self.start.includes, *self.data.includes), list(self._lines()))
        self.config = dataset_lib.parse(self.gin, self.wishes.overrides)
        self.exp = config.make(experiment.Experiment)

    def _fit(self):
        """Divides the batch into parts that fit into the memory."""
        if began := _accumulation_of(self.out):
            self._parts, self._memory = began, "as the run began"
        elif any("accum_steps" in b for b in self.wishes.overrides[1]):
            self._parts, self._memory = self.exp.accum_steps, "as you say"
        else:
            logging.info("Estimating the memory of a step ...")
            with quiet.quietly():  # Training says it again.
                self.report = report = dry_run.report(self.exp, self.out)
            limit = memory.available(build.devices(self.exp))
            gradients = report["memory of gradients"]
            activations = report["memory of activations"]
            self._parts, needed = memory.accumulation(
                self.exp.batch_size, self._replicas, limit=limit,
                activations=activations, gradients=gradients,
                fixed=report["memory in all"] - activations - gradients)
            report |= {"memory of activations": activations // self._parts,
                       "memory in all": needed}  # In so many parts.
            self._memory = f"about {_gib(needed)}"
            self._memory += f" of {_gib(limit)}" if limit else ""
            if limit and needed > limit:
                logging.warning(
                    "A step needs about %s, and there are %s: try a smaller "
                    "--model or --image_size, or --precision=mixed_bfloat16.",
                    _gib(needed), _gib(limit))
        self._write()

    def _header(self):
        """How the file came about, and how to use it alone."""
        files, bindings = self.wishes.overrides
        words = ["python", "-m", "tfvit.train",
                 f"--gin_file={os.path.join(self.out, 'finetune.gin')}",
                 *(f"--gin_file={file}" for file in files),
                 *(f"--gin_bindings={binding}" for binding in bindings),
                 f"--workdir={self.out}"]
        return (f"# Chosen by tfvit finetune {shlex.quote(self.wishes.data)}. "
                f"It is the same as\n#   {shlex.join(words)}\n")

    def _lines(self):
        """The lines of the gin file, after what it includes."""
        wishes, chosen = self.wishes, self.settings
        train = self.data.sizes["train"]
        log_every, eval_every = rules.cadences(chosen.total_steps,
                                               train / chosen.batch_size)
        yield "# The data."
        yield from self.data.lines
        if wishes.sampler:
            yield "sampling.sampled.base = @" + self.data.train
            yield f"sampling.sampled.sampler = {wishes.sampler!r}"
            yield ("experiment.Experiment.train_source = "
                   "@sampling.sampled")
        yield f"NUM_CLASSES = {len(self.data.class_names)}"
        yield "\n# The model, and what it starts from."
        yield from self.start.lines
        if self.start.class_names:
            other = self.start.class_names != self.data.class_names
            yield f"checkpoint.from_run.reset_head = {other}"
        yield f"IMAGE_SIZE = {self._image_size()!r}"
        if wishes.linear_probe:
            yield f"experiment.Experiment.frozen = {_ALL_BUT_HEAD!r}"
        yield f"\n# Length: {chosen.why['total_steps']}."
        epochs = _number(chosen.total_steps * chosen.batch_size / train)
        yield (f"experiment.Experiment.total_steps = {chosen.total_steps}  # "
               f"{epochs} epochs of {train:,} images.")
        yield f"schedules.cosine.warmup_steps = {chosen.warmup_steps}"
        yield f"# Learning rate: {chosen.why['lr']}."
        yield f"optim.{self._optimizer()}.lr = {chosen.lr!r}"
        if wishes.layer_decay is not None:
            yield (f"experiment.Experiment.layer_decay = "
                   f"{wishes.layer_decay!r}")
        yield f"# Batch: {chosen.why['batch_size']}."
        yield f"experiment.Experiment.batch_size = {chosen.batch_size}"
        yield f"experiment.Experiment.accum_steps = {self._parts}"
        part = chosen.batch_size // self._parts
        yield ("classification.Classification.batch_size = "
               f"{4 * part if 4 * part <= _EVAL_BATCH else part}")
        for name, value in {"precision": wishes.precision,
                            "seed": wishes.seed}.items():
            if value is not None:
                yield f"experiment.Experiment.{name} = {value!r}"
        yield ("\n# Ten evaluations or so, at most one an epoch; the best "
               "checkpoint is kept.")
        yield f"experiment.Experiment.log_every = {log_every}"
        yield f"experiment.Experiment.eval_every = {eval_every}"
        yield f"experiment.Experiment.checkpoint_every = {eval_every}"
        yield ("experiment.Experiment.best_metric = "
               f"'{self.data.evaluators['val']}/accuracy'")
        if test := self.data.evaluators.get("test"):
            yield "# Not looked at before the last step."
            last = -(-chosen.total_steps // log_every) * log_every
            yield (f"experiment.Experiment.evaluator_every = "
                   f"{{{test!r}: {last}}}")

    def _optimizer(self):
        return "adamw" if self.start.scratch else "sgd"

    def _image_size(self):
        return self.wishes.image_size or self.start.image_size

    def summary(self):
        """Lines that say what was chosen, and why."""
        wishes, chosen, exp = self.wishes, self.settings, self.exp
        sizes, names = self.data.sizes, self.data.class_names
        shown = [*names[:3], "..."] if len(names) > 4 else names
        val = (f"{sizes['val']:,} to validate" if self.data.share is None else
               f"{sizes['val']:,} ({self.data.share:.0%} of each class) to "
               "validate")
        test = (f", {sizes['test']:,} to test at the end" if "test" in sizes
                else "")
        model = self.start.name
        if self.report:
            trained = self.report["trained parameters"]
            model += f", {self.report['parameters']:,} parameters"
            if wishes.linear_probe:
                model += f", of which the head's {trained:,} are trained"
        size = config.bound("IMAGE_SIZE/gin.macro.value")
        lr = config.bound(f"optim.{self._optimizer()}.lr")
        optimizer = "AdamW" if self.start.scratch else "SGD with momentum"
        optimizer += f", learning rate {lr:g}" if lr else ", replaced"
        decay = ("" if wishes.layer_decay is None else
                 f", times {wishes.layer_decay:g} for each layer down")
        parts = (f" in {exp.accum_steps} parts" if exp.accum_steps > 1 else "")
        epochs = _number(exp.total_steps * exp.batch_size / sizes["train"])
        rows = {
            "data": self.data.where,
            "classes": f"{len(names):,}: {', '.join(shown)}",
            "images": f"{sizes['train']:,} to train, {val}{test}",
            "model": model,
            "weights": self.start.what,
            "image size": f"{size} pixels, " + _why(
                size == self._image_size(),
                "--image_size" if wishes.image_size else
                "the usual for the model" if self.start.scratch else
                "as the weights are for"),
            "batch": f"{exp.batch_size}{parts}, " + _why(
                exp.batch_size == chosen.batch_size,
                chosen.why["batch_size"]) + f"; memory: {self._memory}",
            "length": f"{exp.total_steps:,} updates, {epochs} epochs: " + _why(
                exp.total_steps == chosen.total_steps,
                chosen.why["total_steps"]),
            "optimizer": f"{optimizer}: " + _why(
                lr == chosen.lr, chosen.why["lr"]) + decay,
            "evaluated": f"every {exp.eval_every:,} updates; the best by "
                         f"{exp.best_metric} is kept",
            "written to": f"{self.out}; config.gin there says all of it",
        }
        width = max(map(len, rows))
        return [f"{name:{width}}  {value}" for name, value in rows.items()]

    def grid(self):
        """The learning rates to try as tools.sweep takes them."""
        large = self.data.sizes["train"] >= rules.LARGE
        with open(os.path.join(config.ROOT, _GRIDS[large]),
                  encoding="utf-8") as f:
            values = re.search(r"^optim\.sgd\.lr = (.*)$", f.read(), re.M)[1]
        rates = rules.grid(self.settings, map(float, values.split("|")),
                           scratch=self.start.scratch,
                           linear_probe=self.wishes.linear_probe)
        return f"optim.{self._optimizer()}.lr = {' | '.join(map(repr, rates))}"


def write(plan):
    """Writes OUT/finetune.gin; returns its path."""
    path = os.path.join(plan.out, "finetune.gin")
    tf.io.gfile.makedirs(plan.out)
    with tf.io.gfile.GFile(path, "w") as f:
        f.write(plan.gin)
    return path


def _accumulation_of(run):
    """accum_steps of a run that has begun, or None.

    The memory that is free may be another one by now, and is no reason to call
    it a different run.
    """
    if not checkpoint.steps(run):
        return None
    with tf.io.gfile.GFile(config.of(run)) as f:
        found = re.search(r"(?m)^experiment\.Experiment\.accum_steps = (\d+)",
                          f.read())
    return int(found[1]) if found else 1


def _why(as_chosen, why):
    return why if as_chosen else "as your gin files or bindings say"


def _number(epochs):
    return f"{epochs:,.0f}" if epochs >= 10 else f"{epochs:.2g}"


def _gib(size):
    return f"{size / 2**30:.1f} GiB"

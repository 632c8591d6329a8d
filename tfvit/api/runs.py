"""Runs for Python programs: choose, look, train, continue, look again."""

import dataclasses
import json
import math
import numbers
import os

import numpy as np

from tfvit import config
from tfvit import experiment
from tfvit import trainer
from tfvit.api import models
from tfvit.api import words
from tfvit.data import class_names
from tfvit.data.images import decoding
from tfvit.engine import build
from tfvit.engine import checkpoint as checkpoint_lib
from tfvit.engine import dry_run
from tfvit.finetuning import plan as plan_lib
from tfvit.finetuning import start
from tfvit.finetuning import wishes as wishes_lib
from tfvit.weights import catalogue


class Recipe:
    """What a run will be: made by recipe or plan, changed by nothing.

    Attributes:
      experiment: experiment.Experiment. Its callables read their settings from
        the recipe's config: call them inside `with recipe.active():`.
      config: the gin config, as text.
      summary: lines that say what `plan` chose, and why; "" of recipe.
      workdir: where `train` trains unless told otherwise.
    """

    def __init__(self, own, exp, text, workdir, summary=""):
        self._own = own
        self.experiment = exp
        self.config = text
        self.workdir = workdir
        self.summary = summary

    def __repr__(self):
        return f"<tfvit.Recipe of {self.workdir}>"

    def active(self):
        """A context in which the experiment's callables have their settings."""
        return config.isolated(self._own)

    @words.of_python()
    def model(self):
        """The tf_keras.Model as the run starts, with its first weights."""
        with self.active():
            run = build.build(self.experiment)
            if self.experiment.init:
                self.experiment.init(run.model)
            return run.model

    @words.of_python()
    def batch(self, step=0):
        """The batch that update `step` + 1 sees, {name: array}.

        "images" float32 [B, H, W, 3], augmented, scaled to what the model
        takes; "labels" int64 [B], or what else the data have.
        """
        if not isinstance(step, numbers.Integral) or step < 0:
            raise ValueError(f"step={step!r} must be a whole number of at "
                             "least 0.")
        with self.active():
            run = build.build(self.experiment)
            found = next(run.batches(step))
            values = run.strategy.experimental_local_results
            found = {name: np.concatenate([part.numpy() for part in values(
                value)]) for name, value in found.items()}
            found["images"] = np.asarray(decoding.on_device(
                self.experiment.device_ops, found["images"]))
            return found

    @words.of_python()
    def cost(self):
        """{name: number} of what a step needs, as --dry_run shows it."""
        with self.active():
            return dry_run.report(self.experiment, self.workdir)

    @words.of_python()
    def train(self, workdir=None, on_metrics=None):
        """Trains to the end, or continues the run that is there.

        Args:
          workdir: directory of the run; None for the recipe's.
          on_metrics: called as on_metrics(step, {"split/metric": value}) after
            each log and each evaluation, in this thread.

        Returns:
          The Run.

        Raises:
          ValueError, OSError, MemoryError, FloatingPointError: see
            trainer.train; or the directory is another run's.
          engine.stopping.Preempted: Ctrl-C or SIGTERM; all is saved, and the same
            call goes on.
        """
        workdir = words.path("workdir", self.workdir if workdir is None else
                             workdir)
        exp = self.experiment
        if on_metrics is not None and not callable(on_metrics):
            raise TypeError(f"on_metrics={on_metrics!r} must be a function of "
                            "a step and its values.")
        if on_metrics:
            each = math.gcd(exp.log_every, *map(exp.cadence, exp.evaluators))
            exp = dataclasses.replace(exp, actions=(
                *exp.actions, (each, lambda: _teller(on_metrics))))
        with self.active():
            trainer.claim(self.config, workdir)
            trainer.train(exp, workdir)
        return Run(workdir)


class Run:
    """A run in its directory, finished or not.

    Attributes:
      workdir: the directory.
      config: the gin config, as text.
      class_names: of its data; [] where it has none, or has not begun.
    """

    @words.of_python()
    def __init__(self, workdir, *, trust=False):
        """Looks at a run that `tfvit.train` or a Recipe made.

        Args:
          workdir: its directory.
          trust: whether its config may name what is not tfvit's own.

        Raises:
          FileNotFoundError, ValueError: it is none.
        """
        self.workdir = words.path("workdir", workdir)
        self._trust = trust
        self._own = {}
        with config.isolated(self._own):
            self._exp, self.config = experiment.of_run(self.workdir,
                                                       trust=trust)
        labels = os.path.join(self.workdir, "labels.txt")
        self.class_names = (class_names.read(labels) if
                            os.path.exists(labels) else [])

    def __repr__(self):
        return f"<tfvit.Run {self.workdir}>"

    @property
    def history(self):
        """[{"step": n, "split/metric": value, ...}], sorted by step.

        pandas.DataFrame(run.history).set_index("step") makes a table of it.
        """
        rows = {}
        path = os.path.join(self.workdir, "metrics.jsonl")
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    if line.endswith("\n"):  # Else it is being written.
                        row = _row(line, f"{path}:{number}")
                        rows.setdefault(row["step"], {}).update(row)
        return [rows[step] for step in sorted(rows)]

    @property
    def metrics(self):
        """{"split/metric": its newest value}."""
        newest = {}
        for row in self.history:
            newest.update(row)
        newest.pop("step", None)
        return newest

    @words.of_python()
    def evaluate(self, checkpoint="last", only=None):
        """Evaluates anew: {evaluator: {metric: value}}.

        Args:
          checkpoint: "last", "best" or a step.
          only: names of evaluators; None for all.
        """
        only = None if only is None else words.texts("only", only, 1)
        if strange := sorted(set(only or ()) - {*self._exp.evaluators}):
            raise ValueError(f"only={strange} names no evaluator of the run, "
                             f"which has {', '.join(self._exp.evaluators)}.")
        with config.isolated(self._own):
            run = build.build(self._exp, training=False)
            checkpoint_lib.restore_for_inference(self.workdir, run.weights,
                                                 checkpoint)
            return trainer.nested(run.evaluate(only=only))

    @words.of_python()
    def model(self, checkpoint="last", **options):
        """The models.Model of a checkpoint; options as of tfvit.load."""
        return models.load(self.workdir, checkpoint=checkpoint,
                           trust=self._trust, **options)

    @words.of_python()
    def export(self, out, checkpoint="last", **options):
        """Writes a SavedModel, see Model.export; returns its folder."""
        return self.model(checkpoint).export(out, **options)


@words.of_python()
def recipe(gin_files, bindings=()):
    """The Recipe of gin files, as `tfvit.train` reads them.

    Args:
      gin_files: a path or several, looked up from here, then among tfvit's own:
        "gin/b16_cifar10.gin".
      bindings: such as "experiment.Experiment.total_steps = 100".

    Raises:
      FileNotFoundError, ValueError: they are not there, or not right.
    """
    files = words.texts("gin_files", gin_files)
    bindings = words.texts("bindings", bindings)
    if not files:
        raise ValueError("tfvit.recipe needs a gin file, such as "
                         "gin/digits.gin.")
    own = {}
    with config.isolated(own):
        exp, text = experiment.from_config(files, bindings)
    stem = os.path.splitext(os.path.basename(files[0]))[0]
    return Recipe(own, exp, text, os.path.join("runs", stem))


@words.of_python()
def plan(data, *, gin_files=(), bindings=(), **wishes):
    """The Recipe that `tfvit finetune DATA` chooses for one's own images.

    Args:
      data: a folder {class}/* or {split}/{class}/*, a table, the name of a
        dataset of TFDS, ...: see finetuning.dataset.read.
      gin_files, bindings: have the last word.
      **wishes: model, weights, epochs, batch_size, lr, val_share, image_size,
        seed, sampler, linear_probe, layer_decay, precision, out: see
        finetuning.wishes.Wishes. What is left out is chosen.

    Raises:
      ValueError, OSError: it cannot work; says why and what to do.
    """
    known = {field.name for field in dataclasses.fields(wishes_lib.Wishes)
             } - {"data", "overrides"}
    if strange := sorted(set(wishes) - known):
        raise ValueError(f"tfvit.plan takes no {', '.join(strange)}, only "
                         f"{', '.join(sorted(known))}.")
    wishes = words.checked(wishes_lib.Wishes,
                           {"data": data, "out": None, **wishes})
    if wishes.get("weights") in catalogue.FILES:
        wishes["weights"] = models.published(
            start.stem_of(wishes.get("model", start.DEFAULT)),
            wishes["weights"])
    own = {}
    with config.isolated(own):
        chosen = plan_lib.Plan(wishes_lib.Wishes(
            overrides=(words.texts("gin_files", gin_files),
                       words.texts("bindings", bindings)), **wishes))
        return Recipe(own, chosen.exp, chosen.config, chosen.out,
                      words.arguments("\n".join(chosen.summary())))


def fine_tune(data, *, on_metrics=None, **wishes):
    """plan(data, **wishes).train(on_metrics=on_metrics): a Run."""
    return plan(data, **wishes).train(on_metrics=on_metrics)


def _row(line, where):
    """A line of metrics.jsonl.

    Raises:
      ValueError: it is none.
    """
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or "step" not in row:
        raise ValueError(f"{where} is no line of metrics, a JSON object with a "
                         "step: mend or remove it.")
    return row


def _teller(on_metrics):
    """An action that tells what was measured at its step."""

    def tell(training, memory):
        del memory
        new = {name: value for name, value in training.values.items()
               if training.measured.get(name) == training.step}
        if new:
            on_metrics(training.step, new)

    tell.watches = {}
    return tell

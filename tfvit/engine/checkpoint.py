"""This run's state on disk: WORKDIR/checkpoints/ckpt-STEP.{index,data-*}.

Variables are stored by published name, so a checkpoint can be read without
the code that wrote it.
"""

import functools
import os
import re

from absl import logging
import tensorflow as tf

from tfvit.distribute import sharding
from tfvit.engine import checkpoint_file
from tfvit.engine import saver
from tfvit.storage import errors
from tfvit.storage import files
from tfvit.weights import load
from tfvit.weights import names as names_lib


def steps(workdir, best=False):
    """Sorted steps of the checkpoints in a run's directory."""
    names = files.named(_folder(workdir, best), r"ckpt-\d+\.index")
    return sorted(int(re.search(r"\d+", name)[0]) for name in names)


def _folder(workdir, best):
    return os.path.join(workdir, "checkpoints", *["best"] * best)


def _prefix(workdir, step, best=False):
    return os.path.join(_folder(workdir, best), f"ckpt-{step}")


def _read(read, workdir, candidates):
    """Reads the first sound checkpoint of (step, best) pairs; returns its step.

    `read(prefix)` does so; see checkpoint_file.

    Raises:
      ValueError: there are candidates, and none is sound.
    """
    for number, (step, best) in enumerate(candidates, 1):
        prefix = _prefix(workdir, step, best)
        try:
            read(prefix)
            return step
        # A short file is an IndexError, a torn index a RuntimeError.
        except (tf.errors.OpError, IndexError, RuntimeError,
                ValueError) as error:
            reason = errors.reason(error).strip().splitlines()[0]
            if number < len(candidates):  # Else it is said at the end.
                logging.error("Cannot read the checkpoint %s: %s", prefix, reason)
        except AssertionError as error:
            raise ValueError(f"The checkpoint {prefix} is of another model: "
                             f"{error}") from error
    if candidates:
        raise ValueError(
            f"None of the {len(candidates)} checkpoints in "
            f"{os.path.dirname(prefix)} can be read: the last problem was with "
            f"{prefix}: {reason}{_others(workdir, candidates)}")
    return None


def _others(workdir, candidates):
    """What there is beside checkpoints that cannot be read."""
    left = [step for step in steps(workdir) if (step, False) not in candidates]
    best = [step for step in steps(workdir, best=True)
            if (step, True) not in candidates]
    return (f" There are steps {left}, too: choose one, or 'last'."
            * bool(left) + f" The best, of step {max(best, default=0)}, is "
            "there, too: --checkpoint=best." * bool(best))


class Checkpoints:
    """Saves and restores the state of one run; see saver.Saver.

    Attributes:
      memory: a Memory that is saved and restored with the variables.
      saved: the newest step that this process wrote, writes or read.
    """

    def __init__(self, workdir, state, *, keep, writes=True):
        """`writes` is False on all workers but one."""
        self._writes = writes
        self.memory = checkpoint_file.Memory()
        self.saved = None
        self._workdir = workdir
        self._keep = keep
        self._live = {
            "step": state.step, "params": state.params, "slots": state.slots,
            "ema": state.ema, "scale": state.scale,
            "statistics": state.statistics
        }
        self._saver = saver.Saver(self._live, state.slot_dtypes)
        self._best_due = None  # The step.

    def restore(self):
        """Restores the newest sound checkpoint; says if there was one.

        Raises:
          ValueError: there are checkpoints, and none can be read.
        """
        if self._writes:
            for best in (False, True):
                checkpoint_file.tidy_up(_folder(self._workdir, best),
                                        steps(self._workdir, best))
        read = functools.partial(
            checkpoint_file.read,
            lambda _: {**self._live, "memory": self.memory})
        self.saved = _read(
            read, self._workdir,
            [(step, False) for step in reversed(steps(self._workdir))])
        if self._writes and self.saved is not None:
            self._mend_best()
        return self.saved is not None

    def _mend_best(self):
        """Replaces a damaged best checkpoint, or forgets it."""
        for step in steps(self._workdir, best=True):
            prefix = _prefix(self._workdir, step, best=True)
            if not checkpoint_file.is_sound(prefix):
                logging.warning(
                    "The best checkpoint %s is damaged: %s.", prefix,
                    "it is written again" if step == self.saved else
                    "it is removed, and the best from here on is kept")
                checkpoint_file.remove(prefix)
                if step == self.saved:
                    self.save_best()
                else:
                    self.memory.data.get("actions", {}).pop("keep_best", None)

    def save(self):
        """Writes ckpt-STEP and removes what is older than the newest `keep`.

        And best/ckpt-STEP, where that is due.
        """
        self.saved = int(self._live["step"].numpy())
        self._save(True, self._best_due == self.saved)

    def save_best(self):
        """Has best/ckpt-STEP written, with the next `save` or `finish`."""
        self._best_due = int(self._live["step"].numpy())

    def finish(self):
        """Begins to write what is due, before the variables change."""
        if self._best_due is not None:
            self._save(False, True)

    def wait(self):
        """Waits until all is written; raises what went wrong with it."""
        self.finish()
        self._saver.wait()

    def _save(self, regular, best):
        step, self._best_due = int(self._live["step"].numpy()), None
        if not self._writes:
            for value in tf.nest.flatten(self._live):
                if isinstance(value, sharding.Shards):
                    value.whole()  # Who writes needs this worker's share.
            return

        def tidy():
            for other in steps(self._workdir, best=True) if best else ():
                if other != step:
                    checkpoint_file.remove(
                        _prefix(self._workdir, other, best=True))
            if regular:
                # A damaged newer file, passed over by restore, must not outlive
                # this.
                newest = [s for s in steps(self._workdir) if s <= step]
                for other in steps(self._workdir):
                    if other not in newest[-self._keep:]:
                        checkpoint_file.remove(_prefix(self._workdir, other))
                logging.info("Saved the checkpoint of step %d.", step)

        # The best one first: the other remembers that it is there.
        self._saver.save(
            [_prefix(self._workdir, step, is_best) for is_best, wanted in
             ((True, best), (False, regular)) if wanted], self.memory, tidy)


def restore_for_inference(workdir, weights, which="last"):
    """Reads the weights of a run into variables; returns the step.

    Of a run that kept moving averages of its weights, these are read.

    Args:
      workdir: directory of the run.
      weights: {published name: variable} of the model.
      which: "last", "best" or the step of a checkpoint that exists.

    Raises:
      ValueError: there is no such checkpoint, it is damaged, or it is of
        another model.
    """
    def choose(saved):
        chosen = {"ema": {}, "statistics": {}, "params": {}}
        for name, variable in weights.items():
            group = next((group for group in ("ema", "statistics") if
                          checkpoint_file.key(group, name) in saved), "params")
            chosen[group][name] = variable
        return chosen

    return _read(functools.partial(checkpoint_file.read, choose), workdir,
                 _candidates(workdir, which))


def _candidates(workdir, which):
    """The (step, best) pairs that `which` may mean, the first one first."""
    last, best = steps(workdir), steps(workdir, best=True)
    if which == "last":
        candidates = [(step, False) for step in reversed(last)]
    elif which == "best":
        candidates = [(step, True) for step in reversed(best)]
    else:
        candidates = [(s, False) for s in last if str(s) == str(which)]
        candidates += [(s, True) for s in best if str(s) == str(which)]
    if not candidates:
        raise ValueError(
            f"{workdir} has no checkpoint {which!r}. There are steps "
            f"{last or 'none'}, best {best or 'none'}.")
    return candidates


def weights_of(workdir, which="last"):
    """The checkpoint_file.Weights of a run; see restore_for_inference."""
    found = []
    _read(lambda prefix: found.append(checkpoint_file.Weights(prefix)), workdir,
          _candidates(workdir, which))
    return found[0]


def from_run(model, *, path, checkpoint="last", reset_head=None, tower=None,
             file_grid=None, resize_patches=False):
    """Assigns the weights of a run's checkpoint to the model's variables.

    As load.from_npz does of a file that tools.export_npz makes of the run:
    position embeddings are resized, and averages come before the weights.

    Args:
      model: see load.from_npz.
      path: directory of the run; `runs/lit:img` loads one tower of a LiT.
      checkpoint: "last", "best" or the step of one.
      reset_head: see load.from_npz. None: where the run has another number of
        classes.
      tower, file_grid, resize_patches: see load.from_npz.

    Raises:
      ValueError: it is no run, has no such checkpoint, or does not fit.
    """
    path, subtree = load.split_subtree(os.path.expanduser(path))
    knob = f"checkpoint.from_run.path = {path!r}"
    if not steps(path) and not steps(path, best=True):
        is_there = tf.io.gfile.isdir(path)
        raise ValueError(
            f"{knob} holds no checkpoint of a run (checkpoints/ckpt-STEP.index)"
            f"{': there is no such directory' * (not is_there)}.")
    weights = weights_of(path, checkpoint)
    variables = names_lib.variables(model, tower)
    if reset_head is None:
        head = f"{subtree}/head/bias" if subtree else "head/bias"
        reset_head = ("head/bias" not in variables or weights.shapes.get(head)
                      != variables["head/bias"].shape)
    try:
        load.from_arrays(
            model, weights, reset_head=reset_head, tower=tower,
            file_grid=file_grid or weights.patch_grid, canonicalise=lambda
            shapes: names_lib.canonicalise(shapes, subtree=subtree),
            resize_patches=resize_patches)
    except ValueError as error:
        what = (str(error).splitlines()[1:] or [str(error)])[0].strip()
        run, mine = (names_lib.describe({k: v.shape for k, v in found.items()})
                     for found in (weights, variables))
        raise ValueError(f"{knob} does not fit ({what}). The run: {run}. The "
                         f"model: {mine}.") from error

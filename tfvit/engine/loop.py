"""The outer clock of training: trains from one due step to the next.

At a step the actions that are due take their turns in the order of their list.
What has been done is part of the checkpoint, so that a run that was stopped
anywhere takes up exactly there.
"""

from typing import Any, Callable, NamedTuple

from absl import logging

from tfvit.engine import checkpoint_file
from tfvit.engine import pace
from tfvit.engine import stopping
from tfvit.engine import train_log


class Every(NamedTuple):
    """An action and its cadence.

    Attributes:
      steps: it is due at the multiples of it, and at the last step.
      action: called with the Training and a dict of its own, empty at first,
        which is saved with each checkpoint and so may hold what JSON can. With
        several workers all call it, and what it decides must be the same on all
        of them.
      name: by which the checkpoint knows it.
    """
    steps: int
    action: Callable[["Training", dict], Any]
    name: str


class Training:
    """A run in progress, as its actions see it.

    Attributes:
      run: its parts, an engine.build.Run: exp, model, state, evaluators, ...
      step: updates so far.
      total_steps: updates in all.
      values: {"split/metric": its newest value}.
      measured: {"split/metric": the step of that value}.
      chief: whether this process is the one that writes files.
      checkpoints: a checkpoint.Checkpoints.
      writers: a writer_thread.Writers.
      begun: a start_up.StartUp.
      pace: a pace.Pace, which says how many steps a call trains.
      window: train_log.Window of the steps since the last log.
      clock: train_log.Throughput.
      iterator: over the batches, standing where the run does.
      memory: what is saved of all this, a dict that JSON can hold.
      changed: whether an action has done something since the last save.
      poll: call it often in what takes long; it raises where a signal came.
    """

    def __init__(self, run, *, checkpoints, writers, chief, any_worker,
                 begun, agree=None):
        """See strategies.any_worker; strategies.mean for `agree`."""
        self.run = run
        self.checkpoints = checkpoints
        self.writers = writers
        self.chief = chief
        self.any_worker = any_worker
        self.total_steps = run.exp.total_steps
        self.memory = checkpoints.memory.data
        self.changed = False
        self.begun = begun
        self.pace = pace.Pace(run.exp.steps_per_call, agree)
        self.window = train_log.Window(self.memory, run.exp.max_loss)
        self.clock = train_log.Throughput()
        self.stop_signal = stopping.Stop(agree)
        self.poll = self.stop_signal.poll
        self._stand()

    def _stand(self):
        """Takes the place of the state, which was just restored or made."""
        checkpoint_file.upgrade(self.memory)
        self.step = int(self.run.state.step.numpy())
        if any(step == self.step for step, *_ in self.run.exp.extended):
            self.memory.pop("stopped", None)  # It was made longer here.
        self.iterator = self.run.batches(self.position())

    def position(self):
        """The number of batches behind, those that rollbacks left out too."""
        return self.step + sum(
            count for _, count in self.memory.get("rollbacks", ()))

    @property
    def values(self):
        return self.memory.setdefault("values", {})

    @property
    def measured(self):
        return self.memory.setdefault("measured", {})

    @property
    def finished(self):
        """Whether this is the last step."""
        return self.step == self.total_steps or "stopped" in self.memory

    def stop(self, reason):
        """Ends the run after this step, as if it were the last."""
        if not self.finished:
            logging.info("Stopping at step %d: %s", self.step, reason)
            self.memory["stopped"] = reason

    def report(self, values):
        """Writes metrics {"split/metric": value} of this step."""
        self.writers.scalars(self.step, values)
        self.values.update(values)
        self.measured.update(dict.fromkeys(values, self.step))

    def save(self):
        """Saves the run as it is, unless it is."""
        if self.changed or self.checkpoints.saved != self.step:
            self.clock.pause()
            self.window.settle()
            self.memory["writers"] = self.writers.positions()
            self.checkpoints.save()
            self.changed = False

    def roll_back(self, problem):
        """Restores the last checkpoint and notes the batches to leave out.

        These are all from that checkpoint to the one that did harm. The same
        happens to a run that is stopped and continued: until the next
        checkpoint, which remembers the batches, it meets them again.

        Args:
          problem: a train_log.Diverged.

        Raises:
          FloatingPointError: this is not wanted, or was in vain too often.
        """
        exp, saved = self.run.exp, self.checkpoints.saved
        good = ("There is no checkpoint yet" if saved is None else
                f"The last good checkpoint is that of step {saved}")
        rollbacks = list(self.memory.get("rollbacks", ()))
        if exp.on_nan == "stop" or len(rollbacks) == exp.max_rollbacks:
            tried = f" after {len(rollbacks)} rollbacks" * bool(rollbacks)
            raise FloatingPointError(
                f"{problem}{tried}. {good}. Try a smaller learning rate, a "
                "longer warm-up or Experiment.clip_norm = 1.0; if single "
                "batches are to blame, Experiment.on_nan = 'rollback' leaves "
                "them out (at most "
                f"Experiment.max_rollbacks={exp.max_rollbacks} times)."
            ) from problem
        self.clock.pause()
        self.checkpoints.wait()
        self.any_worker(False)  # Who reads waits for the one who writes.
        self.checkpoints.restore()
        saved = self.checkpoints.saved  # An older one if that was damaged.
        count = problem.step - saved
        self.memory["rollbacks"] = [*rollbacks, [saved, count]]
        logging.warning("%s. Going back to step %d and leaving out %d batches.",
                        problem, saved, count)
        self.window.forget()
        self._stand()
        self.writers.rewind(self.memory.get("writers", {}), self.step)


def left(training, actions):
    """Whether the last step of a run still lacks an action, or its save."""
    done = training.memory["done"]
    return training.checkpoints.saved != training.step or any(
        done.get(every.name, 0) < training.step for every in actions)


def run(training, actions):
    """Trains to the last step; returns {"evaluator/metric": newest value}.

    Args:
      training: a Training.
      actions: [Every].

    Raises:
      stopping.Preempted: SIGTERM or Ctrl-C came; this step is saved.
      FloatingPointError: the loss or the gradient is not finite, or the loss
        is above Experiment.max_loss.
    """
    exp, checkpoints = training.run.exp, training.checkpoints
    train = training.run.train_step

    cadences = [exp.checkpoint_every, *(every.steps for every in actions)]
    due = lambda steps: training.finished or training.step % steps == 0

    def act():
        """Does what is due and has not been done at this step."""
        done = training.memory["done"]
        for every in actions:
            if due(every.steps) and done.get(every.name, 0) < training.step:
                every.action(training, training.memory["actions"].setdefault(
                    every.name, {}))
                done[every.name] = training.step
                training.changed = True

    def turn():
        """Does what is due, then trains on; says if there is no more to do."""
        act()
        if training.finished:
            act()  # What became due by an action that ended the run.
        if training.step and due(exp.checkpoint_every):
            training.save()
        checkpoints.finish()
        if training.finished:
            return True
        # Of others' signals the steps tell, two calls later: asking costs all.
        training.poll(training.window.stop)
        most = training.pace.next(training.clock.rate() / exp.batch_size)
        n = min([most, training.total_steps - training.step] + [
            steps - training.step % steps for steps in cadences])
        training.window.add(training.step, train(
            training.iterator, n, stop=training.stop_signal.asked))
        training.step += n
        training.begun.step_done(training)
        training.clock.count(n * exp.batch_size)
        return False

    def guarded(do):
        """do(), or else a rollback, after which there is more to do."""
        try:
            return do()
        except train_log.Diverged as problem:
            training.roll_back(problem)
            return False

    training.clock.begin()
    with training.stop_signal.listening():
        try:
            if exp.on_nan == "rollback" and checkpoints.saved is None:
                training.save()  # To go back to before there is another.
            while not guarded(turn):
                pass
            return training.memory["last"]
        except stopping.Preempted as reason:
            guarded(training.save)
            raise stopping.Preempted(
                f"{reason} Saved step {training.step}; the same command "
                "continues the run.") from None
        finally:
            checkpoints.wait()

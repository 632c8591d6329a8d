"""The outer clock of training: when to log, evaluate, save and stop.

Everything that is due at a step happens in this order: log, evaluate, save.
What has been done is part of the checkpoint, so that a run that was stopped
anywhere takes up exactly there.
"""

import contextlib
import signal

from absl import logging

from tfvit import metrics


class Preempted(Exception):
    """A signal asked the run to stop; its state is saved."""


class Stop:
    """Turns SIGTERM, on any worker, into a Preempted at the next poll()."""

    def __init__(self, any_worker):
        self._any_worker = any_worker
        self._signal = None

    @contextlib.contextmanager
    def listening(self):
        previous = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _note(self, number, frame):
        del frame
        self._signal = signal.Signals(number).name

    def poll(self):
        if self._any_worker(self._signal is not None):
            raise Preempted(f"Stopped by {self._signal or 'another worker'}.")


def skipped_batches(memory):
    """How many batches rollbacks have left out so far."""
    return sum(count for _, count in memory.get("rollbacks", ()))


def run(*, state, train, iterator, batches, evaluate, checkpoints, writer, lr,
        total_steps, batch_size, steps_per_call, log_every, eval_every,
        checkpoint_every, best_metric, on_nan, max_loss, max_rollbacks,
        any_worker):
    """Trains to total_steps; returns the metrics of the last evaluation.

    Args:
      state: a state.TrainState, restored.
      train: (iterator, n) -> {metric: float32 [n]}, from step.make_train_step.
      iterator: over batches, standing at state.step.
      batches: makes such an iterator for the state as it is by then.
      evaluate: poll -> {"evaluator/metric": value}; calls poll often.
      checkpoints: a checkpoint.Checkpoints.
      writer: a metrics.Writer.
      lr: number of finished updates -> learning rate.
      any_worker: bool -> whether it is True on any worker.
      total_steps, batch_size, steps_per_call, log_every, eval_every,
      checkpoint_every, best_metric, on_nan, max_loss, max_rollbacks: see
        experiment.Experiment.

    Raises:
      Preempted: SIGTERM came; a checkpoint of the current step is written.
      FloatingPointError: the loss or the gradient is not finite, or the loss
        is above max_loss.
    """
    memory = checkpoints.memory.data
    window = metrics.Window(memory, max_loss)
    clock = metrics.Throughput()
    stop = Stop(any_worker)
    step = int(state.step.numpy())

    def save():
        clock.pause()
        window.settle()
        memory["metrics_bytes"] = writer.size
        checkpoints.save()

    def log():
        values = {f"train/{k}": v for k, v in window.take().items()}
        values["train/lr"] = float(lr(step - 1))
        if "rollbacks" in memory:
            values["train/rollbacks"] = len(memory["rollbacks"])
        rate = clock.rate()
        logging.info(
            metrics.progress(step, total_steps, values, rate, batch_size))
        if rate:
            values["train/img_per_s"] = rate
        writer.scalars(step, values)
        memory["logged"] = step

    def assess():
        clock.pause()
        values = evaluate(stop.poll)
        logging.info("step %d  %s", step, "  ".join(
            f"{k} {v:.5g}" for k, v in values.items()))
        writer.scalars(step, values)
        memory["evaluated"], memory["last"] = step, values
        if best_metric:
            _keep_best(best_metric, values, step, memory, checkpoints, writer)

    def turn():
        """Does what is due, then trains on; says if there is no more to do."""
        nonlocal step
        done = step == total_steps
        due = lambda every: step and (done or step % every == 0)
        if due(log_every) and memory.get("logged", 0) < step:
            log()
        if due(eval_every) and memory.get("evaluated", 0) < step:
            assess()
        if due(checkpoint_every) and checkpoints.saved != step:
            save()
        if done:
            return True
        stop.poll()
        n = min([steps_per_call, total_steps - step] + [
            every - step % every
            for every in (log_every, eval_every, checkpoint_every)
        ])
        window.add(step, train(iterator, n))
        step += n
        clock.count(n * batch_size)
        return False

    def guarded(act):
        """act(), or else a rollback, after which there is more to do."""
        nonlocal step, iterator
        try:
            return act()
        except metrics.Diverged as problem:
            clock.pause()
            _roll_back(problem, on_nan, max_rollbacks, checkpoints, any_worker)
        window.forget()
        writer.rewind(memory.get("metrics_bytes", 0))
        iterator = batches()
        step = int(state.step.numpy())
        return False

    with stop.listening():
        try:
            if on_nan == "rollback" and checkpoints.saved is None:
                save()  # The state to go back to before there is another.
            while not guarded(turn):
                pass
            return memory["last"]
        except Preempted as reason:
            if checkpoints.saved != step:
                guarded(save)
            raise Preempted(f"{reason} Saved step {step}; the same command "
                            "continues the run.") from None
        finally:
            checkpoints.wait()


def _roll_back(problem, on_nan, max_rollbacks, checkpoints, any_worker):
    """Restores the last checkpoint and notes the batches to leave out.

    These are all from that checkpoint to the one that did harm. The same
    happens to a run that is stopped and continued: until the next checkpoint,
    which remembers the batches, it meets them again.

    Raises:
      FloatingPointError: this is not wanted, or was in vain too often.
    """
    memory = checkpoints.memory.data
    rollbacks = list(memory.get("rollbacks", ()))
    if on_nan == "stop" or len(rollbacks) == max_rollbacks:
        tried = f" after {len(rollbacks)} rollbacks" * bool(rollbacks)
        raise FloatingPointError(
            f"{problem}{tried}. The last good checkpoint is that of step "
            f"{checkpoints.saved}. Try a smaller learning rate, a longer "
            "warm-up or Experiment.clip_norm = 1.0; if single batches are to "
            "blame, Experiment.on_nan = 'rollback' leaves them out (at most "
            f"Experiment.max_rollbacks={max_rollbacks} times).") from problem
    checkpoints.wait()
    any_worker(False)  # No one reads before the one who writes has written.
    checkpoints.restore()
    count = problem.step - checkpoints.saved
    memory["rollbacks"] = [*rollbacks, [checkpoints.saved, count]]
    logging.warning("%s. Going back to step %d and leaving out %d batches.",
                    problem, checkpoints.saved, count)


def _keep_best(name, values, step, memory, checkpoints, writer):
    """Saves best/ckpt-STEP if the named metric is larger than ever before."""
    if name not in values:
        raise ValueError(f"Experiment.best_metric={name!r} is not among the "
                         f"metrics: {', '.join(values)}.")
    best = memory.get("best")
    if best is None or values[name] > best["value"]:
        memory["best"] = {"value": values[name], "step": step}
        memory["metrics_bytes"] = writer.size
        checkpoints.save_best()
        logging.info("Best %s so far: %.5g at step %d.", name, values[name],
                     step)

"""Measures one row: in a process of its own, whose end ends no other row."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time

from absl import flags
from absl import logging

from tfvit import error_words
from tfvit import terminal
from tfvit.reproduction import commands
from tfvit.reproduction import verdicts
from tfvit.storage import errors

# What data.datasets.builders says begins so.
_NO_DATA = re.compile(r"TFDS dataset '|sources\.tfds\.name = ")
_NO_WEIGHTS = ("Could not download", "does not exist", "There is no file")


class Failed(Exception):
    """A row has no measurement.

    Attributes:
      verdict: one of verdicts.ALL.
      why: a sentence.
    """

    def __init__(self, verdict, why):
        super().__init__(why)
        self.verdict, self.why = verdict, why


def apart(row, options):
    """Measures a row of weights in a process of its own.

    Args:
      row: a ledger.Row.
      options: see commands.overrides.

    Returns:
      {"metrics": {metric: value}, "seconds", "device"}

    Raises:
      Failed: it could not be measured.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, row, options),
                              daemon=True)
    _start_deaf(process)
    theirs.close()
    try:
        kind, value = ours.recv()
    except EOFError:
        process.join()
        raise Failed(verdicts.FAILED, _ended(process.exitcode)) from None
    finally:
        if process.is_alive():
            process.kill()
        process.join()
    if kind == "failed":
        raise Failed(*value)
    return value


def _start_deaf(process):
    """Starts a process that leaves Ctrl-C to this one."""
    if threading.current_thread() is not threading.main_thread():
        process.start()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)


def _ended(code):
    """What to say of a process that ended without a word."""
    if code == -signal.SIGKILL:
        return ("Its process was killed; by the system, where the memory was "
                "too small: try a smaller --gin_bindings="
                '"classification.Classification.batch_size = 64".')
    return f"Its process ended with the code {code}."


def _serve(connection, row, options):
    """What that process does."""
    flags.FLAGS.mark_as_parsed()  # absl else warns of each line.
    terminal.set_up(clock=True)
    threading.Thread(target=_leave_with, args=[os.getppid()],
                     daemon=True).start()
    try:
        answer = "measured", here(row, options)
    except Failed as failed:
        answer = "failed", (failed.verdict, failed.why)
    connection.send(answer)
    connection.close()


def _leave_with(parent):
    """Ends this process when its parent is gone, which nothing tells it."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def here(row, options):
    """As `apart`, in this process."""
    try:
        return _evaluate(row, options)
    except Exception as error:  # pylint: disable=broad-except
        # Whatever it is, the other rows are measured.
        logging.debug("%s", error, exc_info=True)
        raise Failed(*_explained(error)) from error


def _evaluate(row, options):
    from tfvit.distribute import strategies
    from tfvit.inference import published_run
    begun = time.monotonic()
    run = published_run.of(row.checkpoint, commands.overrides(row, **options),
                           [row.evaluator])
    found = next(iter(run.evaluators.values()))
    run.exp.init(run.model)
    metrics = found.run()
    return {"metrics": metrics,
            "seconds": round(time.monotonic() - begun, 1),
            "device": strategies.device_name(run.strategy)}


def _explained(error):
    """(verdict, sentence) of what went wrong."""
    import tensorflow as tf
    said = (errors.sentence(error) if isinstance(error, tf.errors.OpError) else
            error_words.of(error))
    if _NO_DATA.search(said):
        return verdicts.MISSING_DATA, said
    if isinstance(error, OSError) and any(
            words in said for words in _NO_WEIGHTS):
        return verdicts.MISSING_WEIGHTS, said
    return verdicts.FAILED, said


def trained(row, out, options):
    """Trains a row's run, or goes on with it, by the command that does so.

    Returns:
      As `apart`; "examples" are those of the row, if known.

    Raises:
      Failed: it did not end well; KeyboardInterrupt: it was stopped.
    """
    begun = time.monotonic()
    words = commands.words(row, out, **options)
    with subprocess.Popen([sys.executable, "-m", *words],
                          cwd=os.getcwd()) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            # It has heard the same, and saves.
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    if code:
        raise Failed(verdicts.FAILED, f"Training ended with the code {code}; "
                     "what it said is above.")
    metrics = _last(commands.workdir(row, out), f"{row.evaluator}/{row.metric}")
    return {"metrics": metrics, "seconds": round(time.monotonic() - begun, 1),
            "device": ""}


def _last(workdir, wanted):
    """{metric: value} of the last line of metrics.jsonl that has one."""
    path = os.path.join(workdir, "metrics.jsonl")
    found = None
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            lines = [json.loads(line) for line in f if line.endswith("\n")]
        found = next((line for line in reversed(lines) if wanted in line),
                     None)
    if found is None:
        raise Failed(verdicts.FAILED, f"{path} has no {wanted}.")
    evaluator = wanted.split("/")[0] + "/"
    return {name.removeprefix(evaluator): value
            for name, value in found.items() if name.startswith(evaluator)}

"""WORKDIR/config.gin: what a run is, and that it stays so."""

import contextlib
import os

from absl import logging
import tensorflow as tf

from tfvit.bindings import gin_text
from tfvit.engine import run_changes
from tfvit.storage import files


def save(config, workdir, *, started, keep=False, extends=False):
    """Writes WORKDIR/config.gin, or checks that it says the same.

    What may differ, of a run that has begun (see run_changes), is written by
    `renew` once it is sure to go on.

    Args:
      config: what config.parse returned.
      workdir: directory of the run.
      started: whether there are checkpoints of it.
      keep: whether to leave one that is there as it is, as who is not the first
        of several workers should.
      extends: see run_changes.check.

    Raises:
      ValueError: the directory holds checkpoints of a run with another config.
    """
    path = os.path.join(workdir, "config.gin")
    if started and tf.io.gfile.exists(path):
        run_changes.check(saved(workdir), config, path, extends=extends)
        return
    if keep and tf.io.gfile.exists(path):
        return
    if started:
        logging.warning("%s is missing: nothing says whether the run began "
                        "with this config.", path)
    _write(config, path)


def saved(workdir):
    """The config of a run, as text, or None where it has none.

    Raises:
      ValueError: it is no text.
    """
    path = os.path.join(workdir, "config.gin")
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as f:
        text = f.read()
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise gin_text.damaged(path, "it is no text in UTF-8") from error


def renew(config, workdir, step):
    """Writes the config that goes on from `step`, where it has changed.

    What it was stays as config.gin.STEP. What cannot be the config of this run,
    as may be in programs of one's own, is not written.
    """
    path, old = os.path.join(workdir, "config.gin"), saved(workdir)
    with contextlib.suppress(ValueError):
        changes = old and run_changes.check(old, config, path, extends=True)
        if changes:
            logging.info("Changed: %s.", "; ".join(
                f"{name} = {now} (was {before})"
                for name, (before, now) in changes.items()))
            kept, count = f"{path}.{step}", 1
            while tf.io.gfile.exists(kept):
                kept, count = f"{path}.{step}-{count}", count + 1
            _write(old, kept)
            _write(config, path)


def _write(config, path):
    with files.replacing(path, "Choose another --workdir.") as f:
        f.write(config.encode())

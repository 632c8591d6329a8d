"""Where a run reports to: one class for each place.

`Experiment.writers` lists them. A writer is made as Class(workdir) and has
  scalars(step, values)        takes {"split/metric": float} of a step
  images(step, name, images)   takes images [B, H, W, 1 or 3] in [-1, 1]
  flush()                      writes what was taken, if that was not done yet
  position()                   what `rewind` needs, as JSON can hold it; saved
                               with each checkpoint
  rewind(position, step)       forgets what came after `position`, which is None
                               at the start: the run goes on at `step`
  close()                      nothing more comes
All of that happens on a thread of its own, see engine.writer_thread.
"""

import json
import math
import os
import re
import time
import uuid

from absl import logging
import tensorflow as tf

from tfvit.data.images import decoding
from tfvit.storage import errors


class _Writer:
    """One that takes no images and has nothing to take back."""

    def images(self, step, name, images):
        pass

    def flush(self):
        pass

    def position(self):
        return None

    def rewind(self, position, step):
        pass

    def close(self):
        pass


class _Lines(_Writer):
    """Appends to a text file, whose length is the position."""

    def __init__(self, path, header=""):
        self._path = path
        self._header = header.encode()
        self._size = 0
        self._taken = b""

    def append(self, text):
        self._taken += text.encode()

    def flush(self):
        if self._taken:
            with _writing(self._path), tf.io.gfile.GFile(self._path, "ab") as f:
                f.write(self._taken)
            self._size += len(self._taken)
            self._taken = b""

    def close(self):
        self.flush()

    def position(self):
        self.flush()
        return self._size

    def rewind(self, position, step):
        lines = self._header
        if position:
            if not tf.io.gfile.exists(self._path):
                raise ValueError(
                    f"{self._path} is missing, and the checkpoint of step "
                    f"{step} goes on with it: put it back, or take a new "
                    "--workdir.")
            with tf.io.gfile.GFile(self._path, "rb") as f:
                lines = f.read(position)
            if len(lines) < position:  # A power cut takes what was not on disk.
                logging.warning(
                    "%s has only %d of the %d bytes that it had at step %d: "
                    "the last metrics before are lost.", self._path, len(lines),
                    position, step)
                lines = lines[:lines.rfind(b"\n") + 1]
        # Beside it first: killed in between, the run loses no line.
        partial = f"{self._path}.part"
        with _writing(self._path):
            with tf.io.gfile.GFile(partial, "wb") as f:
                f.write(lines)
            tf.io.gfile.rename(partial, self._path, overwrite=True)
        self._size, self._taken = len(lines), b""


class Jsonl(_Lines):
    """WORKDIR/metrics.jsonl: {"step": step, "split/metric": value, ...} a line.

    What is not finite is null there, for JSON has no NaN.
    """

    def __init__(self, workdir):
        super().__init__(os.path.join(workdir, "metrics.jsonl"))

    def scalars(self, step, values):
        self.append(json.dumps({"step": step, **{
            name: None if isinstance(value, float) and
            not math.isfinite(value) else value
            for name, value in values.items()}}) + "\n")


class Csv(_Lines):
    """WORKDIR/metrics.csv: a line `step,metric,value` for each value."""

    def __init__(self, workdir):
        super().__init__(os.path.join(workdir, "metrics.csv"),
                         header="step,metric,value\n")

    def scalars(self, step, values):
        self.append("".join(f"{step},{name},{value!r}\n"
                            for name, value in values.items()))


class TensorBoard(_Writer):
    """Event files in WORKDIR, for `tensorboard --logdir`."""

    def __init__(self, workdir):
        self._workdir = os.fspath(workdir)
        self._events = None

    def rewind(self, position, step):
        with _writing(self._workdir):
            tf.io.gfile.makedirs(self._workdir)
            self.close()
            self._take_back(step)
            self._events = tf.summary.create_file_writer(self._workdir)

    def close(self):
        if self._events:
            self._events.close()
            self._events = None

    def _take_back(self, step):
        """Has TensorBoard drop what earlier event files hold from `step` on.

        SessionLog.START says so, which TensorFlow 2's writers have no way to
        write.
        """
        earlier = sorted(name for name in tf.io.gfile.listdir(self._workdir)
                         if "tfevents" in name)
        if not earlier:
            return
        # TensorBoard reads files in the order of their names: this one after
        # the last of the earlier ones, before the first to come.
        path = os.path.join(self._workdir, f"{earlier[-1]}.from-{step}")
        start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
        with tf.io.TFRecordWriter(path) as f:
            # What was written at `step` itself stays, but for the start. Twice,
            # because to TensorBoard the first start of all is no restart.
            restart = {"step": step + 1 if step else 0, "session_log": start}
            for event in ({"file_version": "brain.Event:2"}, restart, restart):
                f.write(tf.compat.v1.Event(
                    wall_time=time.time(), **event).SerializeToString())

    def scalars(self, step, values):
        with _writing(self._workdir), self._events.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def images(self, step, name, images):
        images = tf.clip_by_value((images + 1.0) / 2.0, 0.0, 1.0)
        with _writing(self._workdir), self._events.as_default(step=step):
            tf.summary.image(name, images, max_outputs=len(images))

    def flush(self):
        with _writing(self._workdir):
            self._events.flush()


class WandB(_Writer):
    """Weights & Biases (pip install tfvit[wandb]); see wandb.init.

    After a resume the same run goes on; W&B itself ignores steps that it has
    seen already.

    Args:
      workdir: directory of the run, which also names it there.
      project: of the run.
      mode: "online", "offline" (`wandb sync` uploads it later) or "disabled".
    """

    def __init__(self, workdir, *, project="tfvit", mode="online"):
        try:
            import wandb
        except ImportError as error:
            raise _missing("wandb", "writers.WandB") from error
        self._wandb = wandb
        self._settings = {"dir": os.fspath(workdir), "project": project,
                          "mode": mode, "name": os.path.basename(
                              os.path.normpath(workdir))}
        self._run = None

    def rewind(self, position, step):
        if self._run is None:
            self._run = self._wandb.init(
                **self._settings, id=position or uuid.uuid4().hex,
                resume="allow")

    def position(self):
        return self._run.id

    def close(self):
        if self._run:
            self._run.finish()

    def scalars(self, step, values):
        self._run.log(values, step=step)

    def images(self, step, name, images):
        pixels = tf.clip_by_value((images + 1.0) * 127.5, 0.0, 255.0)
        self._run.log({name: [
            self._wandb.Image(image) for image in tf.cast(
                pixels, tf.uint8).numpy()]}, step=step)


class Mlflow(_Writer):
    """MLflow (pip install tfvit[mlflow]), where MLFLOW_TRACKING_URI says.

    After a resume the same run goes on, with repeated steps twice.

    Args:
      workdir: directory of the run, which also names it there.
      experiment: name of the experiment.
    """

    def __init__(self, workdir, *, experiment="tfvit"):
        try:
            import mlflow
        except ImportError as error:
            raise _missing("mlflow", "writers.Mlflow") from error
        self._mlflow = mlflow
        self._name = os.path.basename(os.path.normpath(workdir))
        self._experiment = experiment
        self._run = None

    def rewind(self, position, step):
        if self._run is None:
            self._mlflow.set_experiment(self._experiment)
            self._run = self._mlflow.start_run(
                run_id=position, run_name=None if position else self._name)

    def position(self):
        return self._run.info.run_id

    def close(self):
        if self._run:
            self._mlflow.end_run()

    def scalars(self, step, values):
        # It takes no other signs, which names of classes may have.
        self._mlflow.log_metrics({re.sub(r"[^\w./ -]", "_", name): value
                                  for name, value in values.items()}, step=step)


def _writing(path):
    return errors.writing(path, "With that mended, the same command continues "
                          "the run from its last checkpoint.")


def _missing(package, who):
    """What to say without a package that not every user has."""
    return ValueError(f"{who} needs the package {package}: pip install "
                      f"'tfvit[{package}]'.")


def make(classes, workdir):
    """{name: writer} of what Experiment.writers lists."""
    found = {}
    for i, writer in enumerate(classes):
        name = decoding.op_name(writer)
        found[f"{name} {i}" if name in found else name] = writer(workdir)
    return found

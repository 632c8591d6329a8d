"""Trains on handwritten digits, exports, predicts: the first two minutes.

    python -m tools.quickstart                      # into runs/digits
    bash tools/quickstart.sh                        # installs everything before

One process, because TensorFlow's start takes longer than most of it; the last
lines say which command does each part.
"""

import os
import threading
import time

from absl import flags
from absl import logging

from tfvit import launch


class Pulse:
    """Says that work goes on where nothing else has been said for a while.

    Args:
      seconds: that may pass in silence.
      out: prints a line.
    """

    def __init__(self, seconds, out):
        self._seconds, self._out = seconds, out
        self._spoke = self._start = time.monotonic()
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def heard(self, record=None):
        """Takes note that something was said; lets log records pass."""
        del record
        self._spoke = self._start = time.monotonic()
        return True

    def stop(self):
        """Is silent from now on."""
        self._stopped.set()

    def _beat(self):
        while not self._stopped.wait(self._seconds / 8):
            now = time.monotonic()
            if now - self._spoke >= self._seconds:
                self._spoke = now
                self._out(f"  ... {now - self._start:.0f} s")


def _say(*lines):
    """Prints at once, in order with what training logs to stderr."""
    if _pulse:
        _pulse.heard()
    for line in lines:
        print(line, flush=True)


_pulse = None

if __name__ == "__main__":
    flags.FLAGS.set_default("gin_file", ["gin/digits.gin"])
    launch.start(__name__, "new run")
    _pulse = Pulse(8.0, lambda line: print(line, flush=True))
    logging.get_absl_handler().addFilter(_pulse.heard)
    _say("2/4 Train a small ViT on 1,438 handwritten digits (first TensorFlow "
         "starts) ...")

import numpy as np
import tensorflow as tf

from tfvit import trainer
from tfvit.data.datasets import sources
from tfvit.inference import finished
from tfvit.inference import image_files
from tfvit.serving import saved

_SHOWN = 5  # Digits.
_INK = " .:-=+*#%@"


def write_images(folder):
    """Writes the first test digits as PNG files; returns [(file, pixels)]."""
    os.makedirs(folder, exist_ok=True)
    written = []
    examples = sources.digits(split="test").examples(seed=0)
    for i, example in enumerate(examples.take(_SHOWN)):
        file = os.path.join(folder, f"{i}_is_a_{example['label']}.png")
        tf.io.write_file(file, tf.io.encode_png(example["image"]))
        written.append((file, example["image"].numpy()[..., 0]))
    return written


def drawn(images):
    """Yields lines with grey images [h, w] side by side, two letters a pixel.
    """
    for row in zip(*images):
        yield "   ".join("".join(2 * _INK[int(pixel) * len(_INK) // 256]
                                 for pixel in line) for line in row)


def export(workdir, out):
    """Exports the run's best checkpoint, once; returns the version's folder."""
    if not saved.versions(out):
        trained = finished.load(workdir, checkpoint="best")
        saved.write(trained.server(top_k=1), out=out, step=trained.step,
                    class_names=trained.class_names, config=trained.config,
                    record={**trained.record(), "jit": False},
                    model_name="digits", warmup_batches=[1, 8])
    return os.path.join(out, str(saved.versions(out)[-1]))


def read(out, files):
    """[(digit, share in percent)] that the export sees in files of images."""
    predict = finished.signatures(out)["serving_default"]
    found = []
    for _, row in image_files.run(predict, files, batch_size=len(files)):
        _, name, score = image_files.top(row)[0]
        found.append((name, 100 * score))
    return found


def main(exp, workdir):
    scores = trainer.train(exp, workdir)["test"]
    _say(f"  {100 * scores['accuracy']:.1f} % of {scores['examples']} digits "
         f"that it never saw are read right, after {exp.total_steps:,} steps.",
         f"  {workdir}/: config.gin, metrics.jsonl, labels.txt, checkpoints/",
         "", "3/4 Export the best checkpoint for TensorFlow Serving ...")
    version = export(workdir, os.path.join(workdir, "export"))
    _say(f"  {version}/: a SavedModel, preprocessing included", "",
         f"4/4 Predict: the export reads {_SHOWN} files")
    written = write_images(os.path.join(workdir, "examples"))
    width = 2 * written[0][1].shape[1]
    answers = read(os.path.dirname(version), [file for file, _ in written])
    for line in drawn([np.asarray(pixels) for _, pixels in written]):
        _say(f"  {line}".rstrip())
    _say("  " + "   ".join(f"{name} ({share:.0f} %)".center(width)
                           for name, share in answers).rstrip(),
         f"  {os.path.dirname(written[0][0])}/", "", *_next(workdir))


def _next(workdir):
    """What to try now."""
    return f"""\
Try next (after `source .venv/bin/activate`; `tfvit --help` lists all commands):
  tfvit evaluate --workdir={workdir}
  tfvit predict {workdir}/examples --model={workdir}/export
  tfvit results {workdir} --png=curves.png
  tfvit train --gin_file=gin/digits.gin --workdir={workdir}_sam \\
    --gin_bindings="experiment.Experiment.gradients = @gradients.sam" \\
    --gin_bindings="gradients.sam.rho = 0.1"
  tfvit finetune /path/to/photos --model=tiny --from=none   # a folder a class
  tfvit models          # what else there is to fine-tune, and: tfvit data\
""".splitlines()


if __name__ == "__main__":
    launch.run(main)

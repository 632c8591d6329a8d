"""Measures how sharp the minima of runs are, as a table and as curves:

    python -m tools.sharpness runs/plain runs/sam --png=sharpness.png

For each run: the largest eigenvalue of the Hessian of the mean loss at its last
checkpoint, over the first --examples training images, without augmentation or
dropout, and the loss at distances up to --radius along its gradient, up and
down. The loss is the training loss, with its label smoothing and class weights.
"""

import os

from absl import app
from absl import flags

from tfvit import launch

_PNG = flags.DEFINE_string("png", None, "File to draw the curves into.")
_EXAMPLES = flags.DEFINE_integer("examples", 512, "Training images to use.")
_BATCH = flags.DEFINE_integer("batch", 128, "Images at a time.")
_RADIUS = flags.DEFINE_float("radius", 0.5, "Largest distance of the curves.")

launch.start(__name__, "overrides")

import numpy as np
import tensorflow as tf

from tfvit import experiment
from tfvit.evaluators import sharpness
from tfvit.inference import finished
from tfvit.storage import files

_POINTS = 21  # Of a curve; odd, so that the weights themselves are one.


def measure(run, *, examples, batch_size, radii):
    """(top eigenvalue, [loss at each of the radii]) of a run's directory."""
    trained = finished.load(run, overrides=launch.overrides(),
                            trust=launch.trust())
    exp, _ = experiment.of_run(run, launch.overrides(), trust=launch.trust())
    evaluator = sharpness.Sharpness(
        name=trained.name, model=trained.model, ops=trained.ops, jit=False,
        strategy=tf.distribute.get_strategy(), source=exp.train_source,
        loss=exp.loss, batch_size=batch_size,
        num_batches=-(-examples // batch_size), skip_corrupt=exp.skip_corrupt)
    return evaluator.top_eigenvalue(), evaluator.along(radii)[0]


def draw(path, radii, curves):
    """Draws {name: [loss at each of the radii]} as PNG."""
    import matplotlib  # Slow to import, and only needed here.
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, losses in curves.items():
        axis.plot(radii, losses, marker=".", label=name)
    axis.set(xlabel="distance from the weights along the gradient",
             ylabel="mean loss", yscale="log")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4)
    with files.replacing(path) as f:
        figure.savefig(f, format="png", dpi=100)
    pyplot.close(figure)


def main(runs):
    if not runs:
        raise app.UsageError("Say which runs: their directories.")
    radii = np.linspace(-_RADIUS.value, _RADIUS.value, _POINTS).tolist()
    curves = {}
    print(f"{'run':30}{'top eigenvalue':>15}{'loss':>12}"
          f"{f'loss at {radii[-1]:g}':>14}")
    for run in runs:
        value, losses = measure(run, examples=_EXAMPLES.value,
                                batch_size=_BATCH.value, radii=radii)
        name = os.path.basename(os.path.normpath(run))
        curves[name] = losses
        print(f"{name:30}{value:15.5g}{losses[_POINTS // 2]:12.4g}"
              f"{losses[-1]:14.4g}")
    if _PNG.value:
        draw(_PNG.value, radii, curves)


if __name__ == "__main__":
    launch.run_words(main)

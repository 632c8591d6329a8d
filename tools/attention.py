"""Draws what a Vision Transformer looks at, and what it has learned:

    python -m tools.attention photo.jpg --model=runs/b16_cifar10 --out=look

writes into the folder look/
  1_photo.png    the image, its attention rollout and every block's attention
                 (mean over heads; with --heads each head),
  filters.png    principal components of the first layer's filters,
  positions.png  similarity of each position embedding to all others, the last
                 two as in figure 7 of the ViT paper (arXiv 2010.11929).
A Mixer has no attention and no position embeddings, but filters.
"""

import os

from absl import flags
from absl import logging

from tfvit import launch

_MODEL = flags.DEFINE_string(
    "model", None, "Directory of a run or published name.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint of a run: last, best or a step.")
_OUT = flags.DEFINE_string("out", None, "Folder for the PNGs.")
_HEADS = flags.DEFINE_bool("heads", False, "Draw each head on its own.")

launch.start(__name__, "overrides", required=("model", "out"))

import numpy as np
import tensorflow as tf

from tfvit.inference import figures
from tfvit.inference import finished
from tfvit.inference import image_files
from tfvit.models import attention
from tfvit.storage import paths
from tfvit.weights import names

_FIRST_LAYERS = ("conv_root/kernel", "embedding/kernel", "stem/kernel")


def positions(model):
    """The model's position embeddings of the patches, [h * w, D], or None."""
    for layer in model.layers:
        if layer.name == "Transformer/posembed_input":
            table = (layer.embedding.numpy() if layer.constant is None else
                     layer.constant)[0]
            return table[-model.image_grid[0] * model.image_grid[1]:]
    return None


def draw_model(model, out):
    """Writes filters.png and, where there are positions, positions.png."""
    kernels = {names.of(v): v for v in model.weights}
    first = next(name for name in _FIRST_LAYERS if name in kernels)
    filters = figures.components(kernels[first].numpy())
    figures.sheet(os.path.join(out, "filters.png"), filters,
                  [str(i + 1) for i in range(len(filters))], columns=7,
                  inches=1.0)
    table = positions(model)
    if table is not None:
        maps = figures.similarity(table, model.image_grid)
        figures.sheet(os.path.join(out, "positions.png"),
                      [figures.mosaic(maps)],
                      ["cosine similarity of position embeddings"], inches=8.0)


def draw_image(path, image, maps, heads):
    """Writes one image [H, W, 3] in [0, 1] with its attention.

    Args:
      path: of the PNG.
      image: the input.
      maps: attention [blocks, heads, h, w] and rollout [h, w].
      heads: whether to draw each head.
    """
    images = [image, figures.overlay(image, maps["rollout"])]
    captions = ["input", "rollout"]
    for i, block in enumerate(maps["attention"], 1):
        each = block if heads else block.mean(axis=0)[np.newaxis]
        images += [figures.overlay(image, heat) for heat in each]
        captions += ([f"block {i}, head {j + 1}" for j in range(len(each))]
                     if heads else [f"block {i}"])
    figures.sheet(path, images, captions, columns=7)


def main(words):
    files = image_files.find(words) if words else []
    trained = finished.load(_MODEL.value, checkpoint=_CHECKPOINT.value,
                            overrides=launch.overrides(), trust=launch.trust())
    tf.io.gfile.makedirs(_OUT.value)
    draw_model(trained.model, _OUT.value)
    if not attention.blocks(trained.model):
        if files:
            raise ValueError(f"--model={_MODEL.value} has no attention.")
        return
    server = trained.server()
    maps = attention.maps(trained.model)
    for i, file in enumerate(files, 1):
        images, error = server.preprocess(tf.constant([
            image_files.contents(file).numpy()]))
        if error.numpy()[0]:
            logging.error("%s: %s", paths.shown(file),
                          error.numpy()[0].decode())
            continue
        stem = os.path.splitext(os.path.basename(file))[0]
        draw_image(os.path.join(_OUT.value, f"{i}_{stem}.png"),
                   np.clip(images.numpy()[0] / 2 + 0.5, 0, 1),
                   {k: v.numpy()[0] for k, v in maps(images).items()},
                   _HEADS.value)
    logging.info("Wrote %s.", _OUT.value)


if __name__ == "__main__":
    launch.run_words(main)

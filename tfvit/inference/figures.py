"""Pictures of images, attention and weights; sheets of them as PNG."""

import math

import numpy as np
import tensorflow as tf

from tfvit.storage import files


def thumbnail(pixels, side):
    """Shrinks [H, W, C] to at most `side` pixels a side, uint8 [h, w, C].

    However long and thin it is: a pixel is left of every side.
    """
    factor = min(side / max(pixels.shape[:2]), 1)
    size = [max(round(length * factor), 1) for length in pixels.shape[:2]]
    with tf.device("CPU:0"):
        small = tf.image.resize(pixels, size, "area")
        return tf.cast(small, tf.uint8).numpy()


def sheet(path, images, captions, *, columns=6, inches=2.0):
    """Draws images in a grid.

    Args:
      path: of the PNG.
      images: a list of [H, W, 3] in [0, 1] or uint8, [H, W] (drawn in colours
        from low to high), or None, which leaves the place empty.
      captions: texts, one for each image.
      columns: of the grid, if there are that many images.
      inches: width of an image.
    """
    import matplotlib  # Slow to import, and only needed here.
    matplotlib.use("Agg")
    from matplotlib import pyplot
    columns = max(min(columns, len(images)), 1)
    rows = max(math.ceil(len(images) / columns), 1)
    figure, axes = pyplot.subplots(
        rows, columns, squeeze=False, layout="constrained",
        figsize=(inches * columns, (inches + 0.4) * rows))
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, caption in zip(axes.flat, images, captions):
        if image is not None:
            axis.imshow(np.asarray(image), interpolation="nearest")
        axis.set_title(caption, fontsize=7, wrap=True)
    with files.replacing(path) as f:
        figure.savefig(f, format="png", dpi=100)
    pyplot.close(figure)


def overlay(image, heat):
    """Lays heat [h, w] over an image [H, W, 3] in [0, 1], up to white-hot."""
    heat = _enlarged(heat / max(heat.max(), 1e-12), image.shape[:2])
    hot = np.clip(3 * heat[..., np.newaxis] - np.arange(3), 0, 1)
    return image / 2 + hot / 2


def _enlarged(heat, size):
    """Repeats the cells of [h, w] to [H, W]."""
    rows, columns = (np.arange(new) * old // new
                     for new, old in zip(size, heat.shape))
    return heat[rows][:, columns]


def components(kernel, count=28):
    """Principal components of filters [p, q, c, D], as a list of [p, q, c].

    Each is scaled to [0, 1], with 0.5 for zero. Figure 7 of the ViT paper
    (arXiv 2010.11929) shows 28.
    """
    basis, _, _ = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]),
                                full_matrices=False)  # [p * q * c, ...]
    return [0.5 + 0.5 * column.reshape(kernel.shape[:3]) / np.abs(column).max()
            for column in basis.T[:count]]


def similarity(table, grid):
    """Cosine of each position [h * w, D] with all others, [h, w, h, w]."""
    table = table / np.linalg.norm(table, axis=-1, keepdims=True)
    return (table @ table.T).reshape(*grid, *grid)


def mosaic(maps):
    """Arranges [h, w, h, w] as one picture, tile (i, j) at its own place."""
    h, w = maps.shape[:2]
    tiles = np.pad(maps, [[0, 0], [0, 0], [0, 1], [0, 1]],
                   constant_values=np.nan)
    return tiles.transpose(0, 2, 1, 3).reshape(h * (h + 1), w * (w + 1))

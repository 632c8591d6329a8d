"""Fits pretrained arrays to a model of another input size, in numpy."""

import math

import numpy as np
import scipy.ndimage

# Of resizing position embeddings; of the bicubic ones, see _cubic.
METHODS = {"bilinear": None, "bicubic": -0.75, "bicubic_antialias": -0.5}


def is_square(count):
    """Whether `count` patches can be a square grid."""
    return math.isqrt(count)**2 == count


def grid_of(count, grid=None):
    """The patch grid (h, w) of `count` position embeddings.

    Args:
      count: number of patches.
      grid: (h, w), or None where it is square.

    Raises:
      ValueError: `count` is not h * w, or no square.
    """
    side = math.isqrt(max(count, 0))
    grid = tuple(grid or (side, side))
    if len(grid) != 2 or min(grid) < 1 or math.prod(grid) != count:
        raise ValueError(
            f"{count} position embeddings are not a grid of {grid} patches: "
            "say which (height, width) they were trained with as file_grid.")
    return grid


def resize_posemb(posemb, *, new_grid, has_cls_old, has_cls_new, old_grid=None,
                  method="bilinear"):
    """Resizes position embeddings to another patch grid.

    Grids are resized bilinearly with their corners aligned, as the published
    fine-tuning did (scipy.ndimage.zoom, order 1), or by another of METHODS. The
    entry of the class token
    takes no part: it is kept, dropped, or added as zeros.

    Args:
      posemb: [1, N, D] or, with an entry for the class token, [1, 1 + N, D].
      new_grid: (h, w) in patches.
      has_cls_old: whether `posemb` starts with the class token's entry.
      has_cls_new: whether the result does.
      old_grid: (h, w) with h * w == N; square by default.
      method: "bilinear"; "bicubic", as transformers does it for DINOv2; or
        "bicubic_antialias", as timm does.

    Returns:
      [1, h * w (+ 1), D] of the dtype of `posemb`.

    Raises:
      ValueError: as grid_of; or there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"load.from_npz.posemb_method={method!r} is not one of "
                         f"{', '.join(METHODS)}.")
    cls, grid = np.split(posemb, [int(has_cls_old)], axis=1)
    count, width = grid.shape[1:]
    old_grid = grid_of(count, old_grid)
    if old_grid != tuple(new_grid):
        grid = grid.reshape(*old_grid, width)
        zoom = (new_grid[0] / old_grid[0], new_grid[1] / old_grid[1], 1)
        if method == "bilinear":
            grid = scipy.ndimage.zoom(grid, zoom, order=1)
        else:
            rows, columns = (_cubic(old, new, METHODS[method]) for old, new in
                             zip(old_grid, new_grid))
            grid = np.einsum("hp,wq,pqd->hwd", rows, columns, grid,
                             optimize=True).astype(posemb.dtype)
        grid = grid.reshape(1, math.prod(new_grid), width)
    if not has_cls_new:
        return grid
    if not has_cls_old:
        cls = np.zeros_like(grid[:, :1])
    return np.concatenate([cls, grid], axis=1)


def resize_patches(kernel, size):
    """Fits the first convolution [p, q, c, D] to patches of another size.

    Enlarged bilinearly, a patch gives the same with the new kernel as it gave
    with the old one; made smaller, as nearly as can be (FlexiViT, arXiv
    2212.08013, section 3.4: the pseudo-inverse of the resizing, which is
    big_vision's `resample_patchemb`).

    Args:
      kernel: float [p, q, c, D].
      size: (height, width) of the new patches.

    Returns:
      [*size, c, D] of the dtype of `kernel`.
    """
    inverses = [np.linalg.pinv(_bilinear(old, new).T)
                for old, new in zip(kernel.shape, size)]
    # The resizing of rows and that of columns are one matrix each.
    resized = np.einsum("hp,wq,pqcd->hwcd", *inverses,
                        kernel.astype(np.float64), optimize=True)
    return resized.astype(kernel.dtype)


def _cubic(old, new, slope):
    """The matrix [new, old] of PyTorch's bicubic interpolation.

    Args:
      old, new: sizes, whose corners are not aligned.
      slope: of the kernel (Keys, 1981) at 1. PyTorch has -0.75, and -0.5 where
        it is antialiased, that is as wide as the larger pixels.
    """
    antialias = slope == METHODS["bicubic_antialias"]
    scale = old / new
    wide = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(new) + 0.5) * scale
    count = int(np.ceil(2 * wide)) + 1
    places = np.floor(centre)[:, None] + np.arange(-count, count + 1)  # Pixels.
    x = np.abs(places + 0.5 - centre[:, None]) / wide
    near = (slope + 2) * x**3 - (slope + 3) * x**2 + 1
    far = slope * (x**3 - 5 * x**2 + 8 * x - 4)
    weights = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    inside = (places >= 0) & (places < old)
    if antialias:  # Beyond the edge there is nothing; else there is the edge.
        weights = np.where(inside, weights, 0.0)
    matrix = np.zeros([new, old])
    np.add.at(matrix, (np.arange(new)[:, None].repeat(places.shape[1], 1),
                       np.clip(places, 0, old - 1).astype(int)), weights)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _bilinear(old, new):
    """The matrix [new, old] of tf.image.resize, without antialiasing."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    places = np.clip(places, 0, old - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(old)), 0)


def resize_channels(kernel, channels):
    """Fits the first convolution [p, p, c, D] to images of other channels.

    Towards one channel the kernel is summed, so that a grey image gives the
    same in one channel as in three equal ones. Otherwise the channels are
    repeated in turn, and scaled by c / channels to keep the response's size.
    """
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    turns = np.arange(channels) % old
    return kernel[:, :, turns] * np.asarray(old / channels, kernel.dtype)

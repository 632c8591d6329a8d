"""Pictures of images, attention and weights; sheets of them as PNG."""

import contextlib
import functools
import math
import textwrap
import unicodedata

import numpy as np
import tensorflow as tf

from tfvit.storage import files

_FONT = "DejaVu Sans"  # Comes with matplotlib.


def thumbnail(pixels, side):
    """Shrinks [H, W, C] to at most `side` pixels a side, uint8 [h, w, C].

    However long and thin it is: a pixel is left of every side.
    """
    factor = min(side / max(pixels.shape[:2]), 1)
    size = [max(round(length * factor), 1) for length in pixels.shape[:2]]
    with tf.device("CPU:0"):
        small = tf.image.resize(pixels, size, "area")
        return tf.cast(small, tf.uint8).numpy()


@contextlib.contextmanager
def picture(file, width, height, *, texts=(), dpi=100):
    """Yields a matplotlib Figure, which is saved as PNG afterwards.

    Args:
      file: of bytes.
      width, height: in inches.
      texts: what will be written; fonts are looked for that have its signs.
      dpi: pixels an inch.
    """
    import matplotlib  # Slow to import, and only needed here.
    from matplotlib import figure
    fonts, _ = _fonts(frozenset("".join(texts)))
    # A dollar is a dollar, no formula.
    with matplotlib.rc_context({"font.family": fonts, "font.size": 9,
                                "text.parse_math": False}):
        made = figure.Figure((width, height), layout="constrained")
        yield made
        made.savefig(file, format="png", dpi=dpi)


def drawable(texts):
    """Whether a font here has all signs of it, for each of the texts."""
    _, missing = _fonts(frozenset("".join(texts)))
    return [missing.isdisjoint(text) for text in texts]


@functools.lru_cache(maxsize=8)
def _fonts(signs):
    """(names of fonts that together have the signs, signs that none has)."""
    from matplotlib import font_manager
    chosen, missing = [_FONT], {sign for sign in signs if not sign.isspace()}
    missing -= _signs(font_manager.findfont(_FONT))
    for font in font_manager.fontManager.ttflist if missing else ():
        has = missing & _signs(font.fname)
        if has and "Last Resort" not in font.name:  # Which has but boxes.
            chosen.append(font.name)
            missing -= has
    return chosen, frozenset(missing)


@functools.lru_cache(maxsize=None)
def _signs(path):
    from matplotlib import font_manager
    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):  # A font file that cannot be read.
        return frozenset()


def shortened(text, most):
    """At most so many signs of a text, in one line: the middle is left out."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    return f"{text[:most - most // 2 - 1]}…{text[-(most // 2):]}"


def sheet(path, images, captions, *, columns=6, inches=2.0):
    """Draws images in a grid.

    Args:
      path: of the PNG, or a file of bytes.
      images: a list of [H, W, 3] in [0, 1] or uint8, [H, W] (drawn in colours
        from low to high), [H, W, 1] (grey), or None, which leaves the place
        empty.
      captions: texts, one for each image.
      columns: of the grid, if there are that many images.
      inches: width of an image.
    """
    columns = max(min(columns, len(images)), 1)
    rows = max(math.ceil(len(images) / columns), 1)
    captions = [_wrapped(caption, round(16 * inches)) for caption in captions]
    lines = max((caption.count("\n") for caption in captions), default=0)
    opened = (contextlib.nullcontext(path) if hasattr(path, "write") else
              files.replacing(path))
    height = (inches + 0.25 + 0.13 * lines) * rows
    with opened as f, picture(f, inches * columns, height,
                              texts=captions) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
            axis.set_anchor("N")
        for axis, image, caption in zip(axes.flat, images, captions):
            if image is not None:
                image = np.asarray(image)
                if image.ndim == 3 and image.shape[2] == 1:
                    image = image.repeat(3, axis=2)
                axis.imshow(image, interpolation="nearest")
            axis.set_title(_marked(caption), fontsize=7)


def _wrapped(text, width):
    """Breaks the lines of a text, within words where need be."""
    parts = []
    for line in text.splitlines():
        wide = any(unicodedata.east_asian_width(sign) in "WF" for sign in line)
        parts += textwrap.wrap(line, width // 2 if wide else width) or [""]
    return "\n".join(parts)


def _marked(text):
    """A text with a box for each sign that no font has."""
    _, missing = _fonts(frozenset(text))
    return "".join("\u25a1" if sign in missing else sign for sign in text)


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

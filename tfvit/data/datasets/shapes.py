"""Pictures of one coloured shape somewhere, and what is on them in words.

A small world for models of images and texts, drawn on the spot: 6 shapes in 6
colours at 9 places, of different sizes, brightness and noise. A sixth of the
324 combinations is held out of training ("test"), though each of their shapes,
colours and places, and each pair of these, is in it.
"""
import itertools

import numpy as np

from tfvit.data.datasets import captions
from tfvit.data.datasets import source as source_lib
from tfvit.data.datasets import sources

# Whether points are in a shape about the origin, of radius 1.
SHAPES = {
    "circle": lambda x, y: x**2 + y**2 <= 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) <= 0.8,
    "triangle": lambda x, y: (y <= 0.7) & (abs(x) <= 0.55 * (y + 1)),
    "diamond": lambda x, y: abs(x) + abs(y) <= 1,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) <= 0.3) &
                          (np.maximum(abs(x), abs(y)) <= 1),
    "ring": lambda x, y: abs(x**2 + y**2 - 0.68) <= 0.32,
}
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 230),
    "yellow": (230, 220, 40),
    "purple": (150, 30, 190),
    "white": (240, 240, 240),
}
PLACES = ("top left", "top", "top right", "left", "center", "right",
          "bottom left", "bottom", "bottom right")
TEXTS = ("a {1} {0} at the {2}", "there is a {1} {0} in the {2}",
         "{2} a {0} that is {1}")
NAME = "{1} {0} at the {2}"
_FINE = 3  # Pixels are means of so many squared.


def captioned(*, split: str, copies: int, size: int = 36) -> source_lib.Indexed:
    """Images uint8 [size, size, 3] with three captions each.

    Args:
      split: "train" or "test".
      copies: images of each combination, all different.
      size: in pixels.

    Raises:
      ValueError: split is neither.
    """
    chosen = _combinations(split) * copies
    texts = [[text.format(*one) for text in TEXTS] for one in chosen]
    return captions.arrays(images=_draw(chosen, split, size), captions=texts)


def labelled(*, split: str, copies: int, size: int = 36) -> source_lib.Indexed:
    """The same images, with the combination as their class.

    Args:
      split, copies, size: see captioned.
    """
    combinations = _combinations(split)
    return sources.arrays(images=_draw(combinations * copies, split, size),
                          labels=np.tile(np.arange(len(combinations)), copies),
                          class_names=[NAME.format(*c) for c in combinations])


def vocabulary() -> list[str]:
    """All words of captions and names, after BERT's special ones."""
    everything = itertools.product(SHAPES, COLOURS, PLACES)
    texts = (text.format(*c) for c in everything for text in (*TEXTS, NAME))
    words = {word for text in texts for word in text.split()}
    return ["[PAD]", "[UNK]", "[CLS]", *sorted(words)]


def _combinations(split):
    """[(shape, colour, place)] of a split."""
    if split not in ("train", "test"):
        raise ValueError(f"shapes: split = {split!r} is neither 'train' nor "
                         "'test'.")
    found = []
    for numbers in itertools.product(*map(
            range, (len(SHAPES), len(COLOURS), len(PLACES)))):
        if (sum(numbers) % 6 == 0) == (split == "test"):
            shape, colour, place = numbers
            found.append((tuple(SHAPES)[shape], tuple(COLOURS)[colour],
                          PLACES[place]))
    return found


def _draw(chosen, split, size):
    """Images uint8 [N, size, size, 3], always the same."""
    random = np.random.RandomState(("train", "test").index(split))
    return np.stack([_one(*c, size, random) for c in chosen])


def _one(shape, colour, place, size, random):
    cell = size * _FINE / 3
    radius = cell * random.uniform(0.35, 0.48)
    row, column = divmod(PLACES.index(place), 3)
    slack = cell / 2 - radius
    centre = [(i + 0.5) * cell + random.uniform(-slack, slack)
              for i in (row, column)]
    y, x = np.mgrid[:size * _FINE, :size * _FINE] + 0.5
    inside = SHAPES[shape]((x - centre[1]) / radius, (y - centre[0]) / radius)
    share = inside.reshape(size, _FINE, size, _FINE).mean((1, 3))[..., None]
    background = random.uniform(0, 110)
    paint = np.array(COLOURS[colour]) * random.uniform(0.8, 1.0)
    pixels = (1 - share) * background + share * paint
    pixels += random.normal(0, 6, pixels.shape)
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)

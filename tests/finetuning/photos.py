"""Draws photos: a shape of some colour on noise, of three classes."""

import pathlib

import numpy as np
from PIL import Image
from PIL import ImageDraw

CLASSES = {"circle": (200, 60, 60), "square": (60, 180, 60),
           "triangle": (60, 60, 200)}


def draw(folder, per_class, seed=0, size=48):
    """Writes JPEGs {folder}/{class}/*; returns the folder."""
    random = np.random.default_rng(seed)
    for name, color in CLASSES.items():
        path = pathlib.Path(folder, name)
        path.mkdir(parents=True)
        for i in range(per_class):
            image = Image.fromarray(
                random.integers(0, 120, [size, size, 3]).astype(np.uint8))
            x, y = random.integers(4, 14, 2)
            side = random.integers(18, 28)
            shape = ImageDraw.Draw(image)
            color_ = tuple(int(c) for c in color + random.integers(-40, 40, 3))
            corners = [(x, y), (x + side, y + side)]
            if name == "circle":
                shape.ellipse(corners, fill=color_)
            elif name == "square":
                shape.rectangle(corners, fill=color_)
            else:
                shape.polygon([(x, y + side), (x + side, y + side),
                               (x + side // 2, y)], fill=color_)
            image.save(path / f"{i:03}.jpg")
    return folder

"""Reads every image of a dataset and tells what is wrong with it:

    python -m tools.check_data --gin_file=gin/data/folder.gin \
      --gin_bindings="FOLDER = '/data/flowers'" --contact_sheet=x.png --strict

Prints the number of images of each class and split, their sizes, channels and
formats, how many have an EXIF orientation (sizes and images are upright), and
names broken and huge files, images that are there twice, in one split or in two,
classes without images, and what training leaves out: hidden files, links to
parents, stray folders. --contact_sheet draws some of each class, --report has all
of it. With --strict the exit code is 1 where there is a problem. Takes any gin
file that names data, also those of whole runs; needs about 300 bytes of memory
for each image.
"""

import collections
from concurrent import futures
import itertools
import json
import os
import random
import statistics
import sys
import time

from absl import flags
from absl import logging

from tfvit import launch

_SHEET = flags.DEFINE_string(
    "contact_sheet", None, "PNG to draw images of each class into.")
_REPORT = flags.DEFINE_string(
    "report", None, "JSON file for everything found.")
_STRICT = flags.DEFINE_bool("strict", False, "Exit with 1 at any problem.")
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", 100_000_000, "Larger images are not decoded, but named.")

launch.start(__name__, "config", required=("gin_file",))

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import sampling
from tfvit.inference import figures
from tfvit.storage import errors
from tfvit.storage import files

from . import image_file
from . import runs
from . import tables

_TILES = 64  # Of the contact sheet.
_SHOWN = 20  # Lines of each list in the terminal.
_AS_CLASSES = "sources.folder.splits = False"
_CHUNK = 2 * (os.cpu_count() or 1)  # Decoded images in memory.


class Split:
    """What is known of one split."""

    def __init__(self, name, class_names, notes=()):
        self.name = name
        self.notes = notes
        self.class_names = class_names
        self.classes = np.zeros(len(class_names), np.int64)
        self.kinds = collections.Counter()
        self.heights, self.widths = [], []
        self.turned = 0  # By their EXIF orientation.
        self.broken = []  # Sentences.
        self.per_class = min(max(_TILES // len(class_names), 1), 8)
        shown = np.linspace(0, len(class_names) - 1,
                            min(_TILES, len(class_names)))
        self.tiles = {int(c): [] for c in shown.round()}
        self._random = random.Random(0)

    def add(self, image):
        """Counts an image_file.Image, broken or not."""
        if image.problem:
            self.broken.append(f"{image.name}: {image.problem}")
            return
        self.classes[list(image.labels)] += 1
        self.kinds[image.kind] += 1
        self.turned += image.turned
        height, width = image.pixels.shape[:2]
        self.heights.append(height)
        self.widths.append(width)
        for label in image.labels:
            self._show(label, image.pixels)

    def _show(self, label, pixels):
        """Keeps a random few of each class, all with the same chance."""
        tiles, count = self.tiles.get(label), self.classes[label]
        if tiles is None:
            return
        if len(tiles) < self.per_class:
            tiles.append(image_file.thumbnail(pixels))
        elif (place := self._random.randrange(count)) < self.per_class:
            tiles[place] = image_file.thumbnail(pixels)

    def summary(self):
        """The same as JSON."""
        sizes = {
            side: dict(zip(("min", "median", "max"), (
                min(values), statistics.median(values), max(values))))
            for side, values in (("height", self.heights),
                                 ("width", self.widths)) if values
        }
        return {
            "images": len(self.heights),
            "classes": dict(zip(self.class_names, self.classes.tolist())),
            "sizes": sizes,
            "kinds": dict(self.kinds.most_common()),
            "turned": self.turned,
            "broken": self.broken,
        }


def read(name, source, seen, max_pixels):
    """Reads all images of a source.

    Args:
      name: of the split.
      source: see tfvit.data.datasets.source.
      seen: {digest of pixels: [(split, name, label), ...]}; is added to.
      max_pixels: see --max_pixels.

    Returns:
      A Split.
    """
    split = Split(name, source.class_names, getattr(source, "notes", ()))
    started = spoke = time.monotonic()
    count = 0
    records = _records(source.examples(), split)
    with futures.ThreadPoolExecutor() as pool:
        while chunk := list(itertools.islice(records, _CHUNK)):
            for image in pool.map(
                    lambda record: image_file.inspect(record, max_pixels),
                    chunk):
                split.add(image)
                if not image.problem:
                    seen.setdefault(image.digest, []).append(
                        (name, image.name, image.labels))
            count += len(chunk)
            if time.monotonic() - spoke > 10:
                spoke = time.monotonic()
                logging.info("%s: %d/%d images, %d%%, %.0f/s", name, count,
                             source.num_examples,
                             100 * count // source.num_examples,
                             count / (spoke - started))
    return split


def _records(dataset, split):
    """Yields the records that can be read; reports the others to the split."""
    iterator, last = iter(dataset), None
    while True:
        try:
            yield next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            reason = errors.reason(error)
            if reason == last:
                return  # Nothing can be read behind it.
            last = reason
            split.broken.append(f"cannot be read: {reason}")


def duplicates(seen):
    """[[(split, name, labels), ...]] of images that are there twice or more."""
    return [places for places in seen.values() if len(places) > 1]


def problems(splits, twice, wrong=()):
    """Yields (what, [line]) for each kind of problem."""
    yield "splits that cannot be read", list(wrong)
    # The same of all splits of a folder.
    yield "left out, or doubtful", list(dict.fromkeys(
        note for split in splits for note in split.notes))
    trained = {name for split in splits if split.name == "train"
               for name, count in zip(split.class_names, split.classes)
               if count}
    for split in splits:
        yield f"{split.name}: broken images", split.broken
        yield f"{split.name}: classes without images", [
            name for name, count in zip(split.class_names, split.classes)
            if not count and (split.name == "train" or name in trained)]
    lines = {"the same image in one split": [],
             "the same image in two splits": [],
             "the same image with different labels": []}
    for places in twice:
        parts, _, labels = zip(*places)
        line = " = ".join(f"{part}: {name}" for part, name, _ in places)
        if len(set(labels)) > 1:
            lines["the same image with different labels"].append(line)
        elif len(set(parts)) > 1:
            lines["the same image in two splits"].append(line)
        else:
            lines["the same image in one split"].append(line)
    yield from lines.items()


def report(splits):
    """Yields the lines of the tables."""
    names = dict.fromkeys(n for split in splits for n in split.class_names)
    counts = [dict(zip(split.class_names, split.classes.tolist()))
              for split in splits]
    rows = [{"class": name, **{split.name: count.get(name) for split, count
                               in zip(splits, counts)}} for name in names]
    if len(rows) > 2 * _SHOWN:
        rows.sort(key=lambda row: row[splits[0].name] or 0)
        hidden = len(rows) - 2 * _SHOWN
        rows = [*rows[:_SHOWN], {"class": f"({hidden} more: --report)"},
                *rows[-_SHOWN:]]
    yield from tables.aligned(*runs.table(rows))
    yield ""
    for split in splits:
        found = split.summary()
        yield f"{split.name}: {found['images']} images"
        for side, values in found["sizes"].items():
            yield (f"  {side} {values['min']} to {values['max']} pixels, "
                   f"median {values['median']:g}")
        yield "  " + "; ".join(f"{count} {kind}" for kind, count in
                               found["kinds"].items())
        if split.turned:
            yield (f"  {split.turned} with an EXIF orientation: upright where "
                   "ops.decode.upright = True, else on their side or head")


def sheet(path, split):
    """Draws random images of the classes of a split."""
    tiles = [(split.class_names[label], tile)
             for label, tiles in split.tiles.items() for tile in tiles]
    if not tiles:
        raise ValueError(f"{split.name} has no sound image to draw.")
    captions, images = zip(*tiles)
    row = split.per_class if split.per_class >= 4 else 8  # A class, or several.
    figures.sheet(path, images, captions, columns=row, inches=1.5)


def _sources():
    """({split: source}, [why a split has none]).

    Raises:
      ValueError: no split has one.
    """
    makers, _ = launch.sources_from_flags()
    made, wrong = _make(makers)
    if not made and any(_AS_CLASSES in error for error in wrong):
        # To find what else there is; the question remains in the report.
        makers, _ = launch.sources_from_flags([_AS_CLASSES])
        made, _ = _make(makers)
    if not made:
        raise ValueError("\n".join(wrong))
    return made, wrong


def _make(makers):
    made, wrong = {}, []
    for name, make in makers.items():
        try:
            made[name] = sampling.unsampled(make())
        except (ValueError, OSError) as error:
            reason = str(error).split("\n  In call to conf")[0]
            wrong.append(f"{name}: {reason}")
    return made, wrong


def main():
    seen = {}
    sources, wrong = _sources()
    splits = [read(name, source, seen, _MAX_PIXELS.value)
              for name, source in sources.items()]
    twice = duplicates(seen)
    print("\n".join(report(splits)))
    found = 0
    for what, lines in problems(splits, twice, wrong):
        found += len(lines)
        if lines:
            print(f"\n{what}: {len(lines)}")
            print("\n".join(f"  {line}" for line in lines[:_SHOWN]))
            if len(lines) > _SHOWN:
                print(f"  ... and {len(lines) - _SHOWN} more (--report)")
    print(f"\n{found or 'No'} problems.")
    if _REPORT.value:
        with files.replacing(_REPORT.value) as f:
            f.write(json.dumps({
                "splits": {s.name: s.summary() for s in splits},
                "problems": dict(problems(splits, twice, wrong))},
                indent=1).encode())
    if _SHEET.value:
        sheet(_SHEET.value, splits[0])
    if wrong or (found and _STRICT.value):
        sys.exit(1)


if __name__ == "__main__":
    launch.run_alone(main)

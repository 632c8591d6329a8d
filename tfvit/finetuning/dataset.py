"""What DATA of `tfvit finetune` is: as lines of gin, and counted."""

import collections
import dataclasses
import functools
import os
import re
import tempfile

import tensorflow as tf

from tfvit import config
from tfvit.bindings import settable
from tfvit.data.datasets import listing
from tfvit.data.datasets import manifests
from tfvit.data.datasets import shard_files
from tfvit.data.datasets import tables
from tfvit.finetuning import kinds
from tfvit.finetuning import splits
from tfvit.storage import paths

_SHARE = 0.1
_REST = ("gin/models/tiny.gin", "gin/recipes/augreg.gin")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images with their classes.

    Attributes:
      name: short, for the run.
      where: a sentence's beginning: what it is and where.
      includes: gin files that read it.
      lines: of gin, which say the rest.
      class_names: in the order of the logits.
      sizes: {"train", "val" and maybe "test": number of images}.
      evaluators: {"val" and maybe "test": name of the evaluator}.
      train: gin's name of the source of training.
      share: of training's images that validate, or None for a split of its own.
    """
    name: str
    where: str
    includes: tuple
    lines: tuple
    class_names: tuple
    sizes: dict
    evaluators: dict
    train: str
    share: float | None


def read(data, *, val_share=None, overrides=((), ())):
    """Finds splits and classes, and counts.

    Args:
      data: a folder, {class}/* or {split}/{class}/*; a table, with the columns
        image and label, and maybe split; what tfvit prepare wrote; a gin
        file as gin/data has them; or the name of a dataset of TFDS.
      val_share: of training's images that validate; None for a tenth, where
        there is no split for that.
      overrides: (gin files, bindings) that change how it is read.

    Raises:
      ValueError: it is none of these, or not fit to train on; says why.
    """
    includes, lines, where, own = _lines(data, val_share, overrides)
    share = None if own else _percent(val_share) / 100
    place = _place(data)
    what = kinds.of(data)
    _parse(includes, lines, overrides)
    makers = config.sources()
    names = _roles(data, makers)
    sources = {role: makers[name]() for role, name in names.items()}
    _check(data, sources, share)
    stem = os.path.basename(place.rstrip("/"))
    if stem in ("data.gin", "train.csv", "labels.csv"):
        stem = os.path.basename(os.path.dirname(place))
    stem = stem if what == "folder" else os.path.splitext(stem)[0]
    return Dataset(
        name=re.sub(r"[^\w.+-]+", "_", stem) or "images", where=where,
        includes=tuple(includes), lines=tuple(lines), share=share,
        class_names=tuple(sources["train"].class_names),
        train=config.reference("experiment.Experiment.train_source"),
        evaluators={r: name for r, name in names.items() if r != "train"},
        sizes={role: source.num_examples for role, source in sources.items()})


def makers(data, *, val_share=None, overrides=((), ())):
    """({split: () -> source}, the gin text that says so) of all of the data.

    Args:
      data, val_share, overrides: see read. Captions will do, too.

    Raises:
      ValueError: see read.
    """
    includes, lines, _, _ = _lines(data, val_share, overrides, captions=True)
    if not lines:  # A gin file, which says all of it.
        said = config.parse([*includes, *overrides[0]], overrides[1])
    else:
        said = text((*includes, *overrides[0]), [*lines, *overrides[1]])
        _parse(includes, lines, overrides)
    return config.sources(), said


def _place(data):
    place = paths.home(data)
    return os.path.abspath(place) if paths.is_local(place) else place


def _lines(data, val_share, overrides, captions=False):
    """(gin files, lines, a sentence's beginning, whether it has its own val)."""
    what, place = kinds.of(data), _place(data)
    percent = _percent(val_share)
    if what == "gin":
        includes, lines = _gin(data, place)
        where, own = data, True
    else:
        if captions and what == "manifest" and _has_captions(place, overrides):
            what = "captions"
        includes, lines, names = {
            "folder": _folder, "manifest": _manifest, "tfds": _tfds,
            "captions": _captions}.get(what, functools.partial(
                _shards, what))(data, place, overrides)
        own = "val" in names
        if what != "captions":
            lines += splits.lines(what, names, percent)
        where = place if what != "tfds" else f"{data} of TensorFlow Datasets"
    if own and val_share is not None:
        raise ValueError(f"--val_share={val_share:g}: DATA={data} has a split "
                         "of its own to validate on. Leave the flag out.")
    return includes, lines, where, own


def text(includes, lines):
    """A gin file with the imports of all that its lines mention."""
    modules = settable.modules()
    words = {word for line in lines if not line.startswith("#")
             for word in re.findall(r"\b(\w+)\.", line)} & set(modules)
    imports = ["from {} import {}".format(*modules[word].rsplit(".", 1))
               for word in sorted(words, key=modules.get)]
    return "\n".join([*(f"include {file!r}" for file in includes),
                      "from __gin__ import dynamic_registration", *imports, "",
                      *lines, ""])


def parse(contents, overrides=((), ())):
    """The whole config as text of a gin file's contents and what follows."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "finetune.gin")
        with open(path, "w", encoding="utf-8") as f:
            f.write(contents)
        return config.parse([path, *overrides[0]], overrides[1])


def _parse(includes, lines, overrides):
    """Parses what reads the data, with some model and recipe.

    Bindings may be about these, and their macros must have values.
    """
    parse(text((*_REST, *includes), ["NUM_CLASSES = 2", "AUGREG = ''",
                                      *lines]), overrides)


def _percent(share):
    percent = round(100 * (_SHARE if share is None else share))
    if share is not None and (abs(percent - 100 * share) > 1e-6 or
                              not 1 <= percent <= 50):
        raise ValueError(f"--val_share={share:g} must be whole percents from "
                         "0.01 to 0.5.")
    return percent


def _gin(data, place):
    known = kinds.known(data)
    if not known and tf.io.gfile.isdir(place):
        known = os.path.join(place, "data.gin")
    return [known or place], []


def _folder(data, place, overrides):
    """(includes, lines, {role: split}); no roles where folders are classes."""
    includes, lines = ["gin/data/folder.gin"], [f"FOLDER = {place!r}"]
    _parse(includes, lines, overrides)
    folders = listing.split_folders(
        place, config.bound("sources.folder.splits"))
    return includes, lines, listing.roles(folders, f"DATA={data}")


def _manifest(data, place, overrides):
    includes, lines = ["gin/data/manifest.gin"], [f"MANIFEST = {place!r}"]
    _parse(includes, lines, overrides)
    column, delimiter = (config.bound(f"sources.manifest.{name}")
                         for name in ("split_column", "delimiter"))
    if _has_captions(place, overrides):
        raise ValueError(f"DATA={data} {kinds.CAPTIONS}")
    values = manifests.splits(place, column or "split", delimiter)
    names = listing.roles(values, f"DATA={data}")
    if values and "train" not in names:
        raise ValueError(f"DATA={data}: the column {column or 'split'!r} has "
                         f"{', '.join(map(repr, values))}, and no 'train'.")
    return includes, lines, names


def _shards(what, data, place, overrides):
    """(includes, lines, {role: split}) of files that hold many images."""
    macro = {"webdataset": "SHARDS"}.get(what, what.upper())
    includes, lines = [f"gin/data/{what}.gin"], [f"{macro} = {place!r}"]
    _parse(includes, lines, overrides)
    suffix = next(s for s, kind in kinds.SHARDS.items() if kind == what)
    found = shard_files.find(place, (suffix,), "DATA")
    names = shard_files.roles_of(found, f"DATA={data}")
    if names and "train" not in names:
        raise ValueError(f"DATA={data} has the splits "
                         f"{', '.join(map(repr, sorted(found)))}, and no "
                         "'train'.")
    return includes, lines, names


def _has_captions(place, overrides):
    """Whether a table has captions, and no labels."""
    _parse(["gin/data/manifest.gin"], [f"MANIFEST = {place!r}"], overrides)
    label = config.bound("sources.manifest.label_column") or "label"
    delimiter = config.bound("sources.manifest.delimiter")
    _, row = next(iter(tables.records(place, delimiter, "sources.manifest",
                                      [])), (0, {}))
    return "caption" in row and label not in row


def _captions(data, place, overrides):
    """(includes, lines, {role: split}) of a table of captions."""
    includes, lines = ["gin/data/captions.gin"], [f"CAPTIONS = {place!r}"]
    _parse(includes, lines, overrides)
    column, delimiter = (config.bound(f"captions.table.{name}")
                         for name in ("split_column", "delimiter"))
    names = listing.roles(manifests.splits(place, column or "split", delimiter),
                          f"DATA={data}")
    lines += [f"{role}/captions.table.split = {split!r}"
              for role, split in names.items()]
    return includes, lines, names


def _tfds(data, place, overrides):
    del place
    lines = [f"sources.tfds.name = {data!r}", "DATA_DIR = None",
             "sources.tfds.data_dir = %DATA_DIR"]
    train = "experiment.Experiment.train_source = @train/sources.tfds"
    _parse((), [*lines, "train/sources.tfds.split = 'train'", train], overrides)
    try:
        source = config.sources()["train"]()
    except ValueError as error:
        raise ValueError(f"DATA={data} is no file or folder; as a dataset of "
                         f"TFDS: {error}") from error
    return [], lines, listing.roles(source.splits, f"DATA={data}")


def _roles(data, makers):
    """{"train", "val", maybe "test": name} of what a config reads."""
    names = listing.roles(list(makers), f"DATA={data}")
    for role, use in ("train", "train on"), ("val", "validate on"):
        if role not in names:
            raise ValueError(f"DATA={data} has no split to {use}; it has "
                             f"{', '.join(makers)}.")
    return names


def _check(data, sources, share):
    """Raises ValueError for what cannot be trained on."""
    train, val = sources["train"], sources["val"]
    if not train.class_names:
        raise ValueError(f"DATA={data} {kinds.CAPTIONS}")
    if len(train.class_names) < 2:
        raise ValueError(f"DATA={data} has one class, {train.class_names[0]!r}:"
                         " at least two are needed.")
    if getattr(train, "labels", None) is None:
        return
    counts = collections.Counter(train.labels)
    least = 1
    if share is not None:  # Of the images that both share.
        counts += collections.Counter(val.labels)
        least = 2
    few = [name for label, name in enumerate(train.class_names)
           if counts[label] < least]
    if few:
        raise ValueError(
            f"DATA={data}: {len(few)} of {len(train.class_names)} classes have "
            f"fewer than {least} images to learn from, such as {few[0]!r}. Add "
            "images, or move these classes away.")

"""Where labelled images come from; source.py says what a source can do."""
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets

from tfvit.data.datasets import builders
from tfvit.data.datasets import digits as digits_lib
from tfvit.data.datasets import files as files_lib
from tfvit.data.datasets import listing
from tfvit.data.datasets import manifests
from tfvit.data.datasets import records
from tfvit.data.datasets import source
from tfvit.data.datasets import targets
from tfvit.storage import paths


def tfds(*,
         name: str,
         split: str,
         data_dir: str | None = None,
         manual_dir: str | None = None,
         download: bool = True,
         try_gcs: bool = False,
         shuffle_buffer: int = 50_000,
         image_key: str = "image",
         image_op: Callable | None = None,
         label_key: str = "label",
         target: Callable | None = None) -> source.Epochs:
    """Reads a dataset of TensorFlow Datasets, preparing it first if needed.

    What was prepared as array_record is read in any order (shuffle_buffer then
    means nothing), as tfrecord file by file, see files.Files.

    Args:
      name: dataset, with config and version where wanted.
      split: split or slices of it, such as "train[:98%]".
      data_dir: where datasets lie; None for ~/tensorflow_datasets.
      manual_dir: where files lie that must be downloaded by hand.
      download: whether to download and prepare a dataset that is not there.
      try_gcs: read it from TFDS's public bucket, gs://tfds-data, where it is
        there and data_dir is None, instead of preparing it.
      shuffle_buffer: encoded examples to shuffle among; 50,000 is
        vision_transformer's. TFDS shuffles large datasets on disk, too.
      image_key: feature that holds the image.
      image_op: applied to the encoded image, such as targets.binary.
      label_key: feature that holds the class.
      target: one of datasets.targets, which computes the label instead.

    Raises:
      ValueError: there is no such dataset, split or feature, or it cannot be
        prepared; says how to get it.
    """
    data_dir, manual_dir = paths.home(data_dir), paths.home(manual_dir)
    builders.check_folder(data_dir, try_gcs)
    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir,
                                              try_gcs=try_gcs)
    except (AssertionError, ValueError) as error:
        known = tensorflow_datasets.list_builders(with_community_datasets=False)
        raise ValueError(builders.unknown(name, error, known)) from None
    if not builder.is_prepared():
        builders.prepare(builder,
                         download,
                         manual_dir=manual_dir,
                         config=tensorflow_datasets.download.DownloadConfig(
                             manual_dir=manual_dir))
    wanted = target(builder.info.features) if target else targets.class_label(
        label_key, builders.class_names(builder, image_key, label_key))
    builders.check_split(builder, split)
    decoding = tensorflow_datasets.decode.PartialDecoding(
        {**wanted.features, image_key: True},
        {image_key: tensorflow_datasets.decode.SkipDecoding()})
    features = decoding.extract_features(builder.info.features)

    def example(name, record):
        found = features.deserialize_example(record, decoders=decoding.decoders)
        image = found[image_key]
        return {"image": image_op(image) if image_op else image,
                "label": wanted.label(found), "name": name}

    return builders.read(builder, split, example, wanted.class_names,
                         shuffle_buffer)


def folder(*, path: str, split: str,
           splits: bool | None = None) -> source.Indexed:
    """Reads image files from {path}/{split}/{class}/, at any depth.

    Or from {path}/{class}/, where there is no folder of the split's name and
    `split` is a slice. Slices take a share of every class, by hashes of the
    files' names, so that slices of one folder never overlap; of two or more
    images at least one on either side of a bound. Hidden files, folders of
    systems such as __MACOSX, links back to folders that are read anyway and
    folders of other files alone are left out, which is logged.

    Args:
      path: folder, may be gs://, or begin with ~.
      split: name or a slice such as "train[:90%]", "train[90%:]".
      splits: whether the folders of `path` are splits; False for classes, of
        which one is called "train", say. None for what their names and those
        of the folders in them say.

    Raises:
      ValueError: there is no such folder or split, no image in it, or fewer
        than two classes; or what is a class is not certain.
    """
    return _files(*listing.find(path, split, splits))


def manifest(*,
             path: str,
             split: str | None = None,
             class_names_file: str | None = None,
             root: str | None = None,
             image_column: str = "image",
             label_column: str = "label",
             split_column: str = "split",
             delimiter: str | None = None,
             unreachable: str = "stop") -> source.Indexed:
    """Reads image files that a table lists, with the names of their classes.

    The table is CSV with a header, or JSONL: an object a line, whose labels may
    be whole numbers, too. An image that it lists more often, in any spelling,
    lies in one slice; empty rows are left out, which is logged.

    Args:
      path: of the table, .csv, .tsv (with tabs) or .jsonl, in UTF-8.
      split: a value of the column of splits; or, where the table has no such
        column, any name with a slice, such as "train[:90%]" (see folder). None
        for a table that is one split.
      class_names_file: text file with one class name a line. None takes all
        labels of the table, sorted, by value if all are numbers.
      root: folder at which relative names of files start; None for the
        folder of the table.
      image_column, label_column, split_column: names of the columns.
      delimiter: of the values; None for a tab in .tsv, a comma in .csv.
      unreachable: images behind https:// are fetched first, to $TFVIT_CACHE;
        "leave_out" those that cannot be, or "stop".

    Raises:
      ValueError: with the line, for what is no such table, for a label that
        is no class, or where the classes are not certain.
    """
    names = class_names_file and _lines(class_names_file)
    return _files(*manifests.read(path,
                                  split=split,
                                  class_names=names,
                                  root=root,
                                  columns=(image_column, label_column,
                                           split_column),
                                  delimiter=delimiter,
                                  unreachable=unreachable))


def tfrecords(*,
              pattern: str,
              class_names: Sequence[str] | None = None,
              class_names_file: str | None = None,
              image_key: str = "image/encoded",
              label_key: str = "image/class/label",
              label_offset: int = 0,
              num_examples: int | None = None,
              num_bytes: int | None = None,
              shuffle_buffer: int = 50_000) -> files_lib.Files:
    """Reads TFRecord files of tf.train.Example, file by file, see files.Files.

    Where their records lie is found out once, and kept in $TFVIT_CACHE.

    Args:
      pattern: of file names, such as "gs://bucket/train-*". A file or folder
        that has the signs of a pattern in its own name comes first. Of files
        such as train-00003-of-00008 all that it matches must be there.
      class_names: of the labels 0, 1, ...; or else:
      class_names_file: text file with one class name a line.
      image_key: feature that holds the bytes of an image file.
      label_key: feature that holds an int64.
      label_offset: added to it; -1 for files that count classes from 1.
      num_examples: how many there are, which is checked; None reads all once to
        check their labels, too.
      num_bytes: size of all files together, to notice one that was cut short;
        None not to check.
      shuffle_buffer: encoded examples to shuffle among.

    Raises:
      ValueError: no file or class, a file or examples are missing, or a label
        is none of the classes.
    """
    pattern = paths.home(pattern)
    files = records.find(pattern, num_bytes)
    if (class_names is None) == (class_names_file is None):
        raise ValueError("Set one of sources.tfrecords.class_names and "
                         "sources.tfrecords.class_names_file.")
    if class_names is None:
        class_names = _lines(class_names_file)
    table = records.lengths(files, pattern)
    counts, read = records.reader(files, table)
    found = files_lib.Files(
        class_names=class_names, counts=counts, read=read,
        parse=records.parser(image_key=image_key, label_key=label_key,
                             label_offset=label_offset,
                             num_classes=len(class_names)),
        shuffle_buffer=shuffle_buffer)
    if num_examples is None:
        records.check(found.examples(), pattern)
    else:
        records.check_count(sum(counts), pattern, num_examples)
    return found


def digits(*, split: str, test_fraction: float = 0.2) -> source.Indexed:
    """Reads the 1,797 handwritten digits that come with scikit-learn.

    Their 8 x 8 pixels of 0..16 become uint8 [8, 8, 1] of 0..255. Needs no
    download.

    Args:
      split: "train" or "test".
      test_fraction: share of each class that is for testing.

    Raises:
      ImportError: scikit-learn is not installed.
      ValueError: split is neither.
    """
    images, labels = digits_lib.load(split, test_fraction)
    return arrays(images=images,
                  labels=labels,
                  class_names=[str(label) for label in range(10)])


def arrays(*, images: np.ndarray, labels: np.ndarray,
           class_names: Sequence[str]) -> source.Indexed:
    """Holds images, uint8 [N, H, W, c], in memory.

    Labels are class numbers [N], or [N, C]: see source.py.

    Raises:
      ValueError: a label is none of the classes, or the counts differ.
    """
    labels = np.asarray(labels)
    dense = labels.ndim == 2
    labels = labels.astype(np.float32 if dense else np.int64)
    if len(images) != len(labels):
        raise ValueError(f"sources.arrays got {len(images)} images and "
                         f"{len(labels)} labels.")
    if dense:
        if labels.shape[1] != len(class_names):
            raise ValueError(f"sources.arrays got labels of {labels.shape[1]} "
                             f"classes for {len(class_names)} classes.")
    elif len(labels) and not (0 <= labels.min() <= labels.max() <
                              len(class_names)):
        raise ValueError(f"sources.arrays got labels from {labels.min()} to "
                         f"{labels.max()} for {len(class_names)} classes.")
    count = len(labels)
    with tf.device("CPU:0"):
        images = tf.constant(images, tf.uint8)
        labels = tf.constant(labels)

    def fetch(index):
        return {
            "image": images[index],
            "label": labels[index],
            "name": tf.strings.as_string(index)
        }

    return source.Indexed(num_examples=count,
                          class_names=class_names,
                          fetch=fetch)


def _files(class_names, files, labels, notes=()):
    """Makes a source of image files and class numbers."""
    with tf.device("CPU:0"):
        files = tf.constant([paths.encoded(file) for file in files])
        numbers = tf.constant(labels, tf.int64)

    def fetch(index):
        file = files[index]
        return {"image": tf.io.read_file(file), "label": numbers[index],
                "name": file}

    return source.Indexed(num_examples=len(labels),
                          class_names=class_names,
                          fetch=fetch,
                          notes=notes,
                          labels=labels)


def _lines(path):
    """Reads the lines of a text file that are not blank."""
    with tf.io.gfile.GFile(paths.home(path)) as lines:
        return [line.strip() for line in lines if line.strip()]

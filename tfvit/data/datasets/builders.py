"""What lies in the files of a dataset of TFDS, and what can be missing."""
from collections.abc import Callable, Sequence
import contextlib
import difflib
import re
import urllib.error
import urllib.request

from absl import logging
import tensorflow as tf

from tfvit.data.datasets import array_records
from tfvit.data.datasets import files as files_lib
from tfvit.data.datasets import turns
from tfvit.storage import files

# Seconds. TFDS itself retries for minutes and logs every attempt.
_PATIENCE = 10


def check_folder(data_dir: str | None, try_gcs: bool = False):
    """Raises ValueError for a folder in which TFDS would find nothing."""
    if data_dir and try_gcs:
        raise ValueError(
            f"sources.tfds.try_gcs = True reads gs://tfds-data instead of "
            f"sources.tfds.data_dir = {data_dir!r} (DATA_DIR): leave one out.")
    if data_dir and re.search(files.SIGNS, str(data_dir)):
        raise ValueError(
            f"sources.tfds.data_dir = {data_dir!r}: TensorFlow Datasets takes "
            "the signs * ? [ \\ for a pattern. Rename the folder, or make a "
            "link to it that has none of them, and set sources.tfds.data_dir "
            "(DATA_DIR) to that.")


def prepare(builder, download: bool, *, manual_dir: str | None, config):
    """Downloads and prepares what `builder` reads.

    Args:
      builder: a tfds.core.DatasetBuilder that is not prepared.
      download: whether this is allowed.
      manual_dir: where files lie that must be downloaded by hand.
      config: tfds.download.DownloadConfig to do it with.

    Raises:
      ValueError: it does not work; says how to get the dataset.
    """
    missing = f"TFDS dataset {builder.name!r} is not in {builder.data_dir}"
    elsewhere = (f"run `tfds build {builder.name}` where there is network and "
                 "copy the folder here, or set sources.tfds.data_dir "
                 "(DATA_DIR) to where it is.")
    if not download:
        raise ValueError(f"{missing}, and sources.tfds.download = False: "
                         f"{elsewhere}")
    by_hand = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
    if by_hand and not (manual_dir and tf.io.gfile.isdir(manual_dir)):
        raise ValueError(
            f"{missing}, and its files must be downloaded by hand: {by_hand} "
            f"Then set sources.tfds.manual_dir (MANUAL_DIR, now {manual_dir}) "
            "to their folder.")
    try:
        with turns.turn(builder.data_dir, builder.is_prepared):
            if builder.is_prepared():  # By who came first.
                builder.info.read_from_directory(builder.data_dir)
                return
            if not by_hand:
                _check_network(builder.url_infos)
            logging.info("Preparing %s in %s.", builder.name, builder.data_dir)
            builder.download_and_prepare(download_config=config)
    except ImportError as error:
        raise ValueError(f"{missing}, and preparing it needs another package "
                         f"({error}): pip install {error.name}") from error
    # TFDS runs the code of any dataset and of any download in there: whatever
    # fails, the way out is the same.
    except Exception as error:  # pylint: disable=broad-except
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(
            f"{missing} and cannot be prepared ({type(error).__name__}: "
            f"{reason}): {elsewhere}") from error


def read(builder, split: str, parse: Callable, class_names: Sequence[str],
         shuffle_buffer: int):
    """A source of the records of a split, by what its files can do.

    Args:
      builder: a tfds.core.DatasetBuilder that is prepared.
      split: of it.
      parse: (name, record), string [] each -> example.
      class_names: see source.Indexed.
      shuffle_buffer: see files.Files.

    Raises:
      ValueError: the files are of another format than the two.
    """
    parts = builder.info.splits[split].file_instructions
    names = [str(part.filename) for part in parts]
    kind = builder.info.file_format.value
    if kind == "array_record":
        found = array_records.ArrayRecords(
            files=names, begins=[part.skip for part in parts],
            sizes=[part.take for part in parts],
            parse=lambda record, name: parse(name, record),
            class_names=class_names)
        found.splits = tuple(builder.info.splits)
        return found
    if kind != "tfrecord":
        raise ValueError(
            f"TFDS dataset {builder.name!r} in {builder.data_dir} has files of "
            f"the format {kind}; tfrecord and array_record are read. Prepare it "
            f"anew: tfds build {builder.name} --file_format=array_record")
    with tf.device("CPU:0"):
        files = tf.constant(names)
        skips = tf.constant([part.skip for part in parts], tf.int64)

    def records(file, skip):
        skip += skips[file]
        return tf.data.TFRecordDataset(files[file]).skip(skip).enumerate(
            skip).map(lambda row, record: (tf.strings.join(
                [files[file], ":", tf.strings.as_string(row)]), record))

    return files_lib.Files(class_names=class_names,
                           counts=[part.take for part in parts], read=records,
                           parse=parse, shuffle_buffer=shuffle_buffer,
                           splits=tuple(builder.info.splits))


def unknown(name: str, error: Exception, known: Sequence[str]) -> str:
    """What to say about a dataset that TFDS does not know."""
    close = difflib.get_close_matches(name.split("/")[0].split(":")[0], known)
    reason = str(error).splitlines()[0]
    return (f"sources.tfds.name = {name!r}: {reason} "
            f"Closest names: {', '.join(close) or 'none'}.")


def check_split(builder, split: str):
    """Raises ValueError unless `split` is one that holds examples."""
    splits = builder.info.splits
    known = ", ".join(f"{k!r} ({v.num_examples})" for k, v in splits.items())
    try:
        size = splits[split].num_examples
    except (AssertionError, KeyError, ValueError) as error:
        reason = str(error).strip("'\"").splitlines()[0]
        raise ValueError(
            f"sources.tfds.split = {split!r} of {builder.name}: {reason} It "
            f"has {known}, and slices such as 'train[:98%]'.") from None
    if not size:
        raise ValueError(f"sources.tfds.split = {split!r} of {builder.name} "
                         f"has no examples, of {known}.")


def class_names(builder, image_key: str, label_key: str) -> list[str]:
    """Returns the classes' names, or else their numbers.

    Raises:
      ValueError: the dataset has no such image or class label.
    """
    features = builder.info.features
    for knob, key in ("image_key", image_key), ("label_key", label_key):
        if key not in features:
            raise ValueError(f"sources.tfds.{knob} = {key!r} is none of the "
                             f"features of {builder.name}: {list(features)}.")
    label = features[label_key]
    if not hasattr(label, "num_classes"):
        raise ValueError(
            f"sources.tfds.label_key = {label_key!r} of {builder.name} is "
            f"{label}, not a ClassLabel.")
    return list(label.names or map(str, range(label.num_classes)))


def _check_network(urls):
    """Raises OSError unless the server of the first URL answers."""
    for url in list(urls)[:1]:
        request = urllib.request.Request(url, method="HEAD")
        # An error of HTTP is an answer, too, and TFDS may know better.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=_PATIENCE).close()

"""What lies beside prepared records: {split}.index.json and {split}.table.npz.

    examples    how many records there are
    class_names none for captions
    features    {key of an example: [type, shape]}, besides the image
    files       [{"name", "examples", "bytes", "sha256"}]
    left_out    how many images were not to be decoded; {split}.left_out.txt
                names them
    statistics  of the images: how many, sizes and bytes, before and after

The table has an entry for each record: "lengths", in bytes, by which any of a
TFRecord file can be found, and "labels", where these are classes.
"""
from collections.abc import Sequence
from concurrent import futures
import contextlib
import hashlib
import io
import json
import os
import zipfile

import numpy as np
import tensorflow as tf

from tfvit.storage import paths

VERSION = 1
SUFFIXES = {"array_record": ".array_record", "tfrecord": ".tfrecord"}
# Of a TFRecord: 8 bytes of length and 4 of its checksum before, 4 after.
FRAME = 16
_CHUNK = 2**24


def shard_name(split: str, index: int, count: int, kind: str) -> str:
    """train-00000-of-00008.array_record."""
    return f"{split}-{index:05d}-of-{count:05d}{SUFFIXES[kind]}"


def index_path(folder: str, split: str) -> str:
    return os.path.join(folder, f"{split}.index.json")


def table_path(folder: str, split: str) -> str:
    return os.path.join(folder, f"{split}.table.npz")


def splits(folder: str) -> list[str]:
    """The splits that are complete in a folder."""
    if not tf.io.gfile.isdir(folder):
        return []
    return sorted(name.removesuffix(".index.json")
                  for name in tf.io.gfile.listdir(folder)
                  if name.endswith(".index.json"))


def read(folder: str, split: str) -> dict:
    """The index of a split, with the arrays of its table.

    Raises:
      ValueError: there is none, or a file is not as it says.
    """
    path = index_path(folder, split)
    if not tf.io.gfile.exists(path):
        known = splits(folder)
        raise ValueError(
            f"{folder} has no {split}.index.json, as tfvit prepare writes it "
            "when all of a split is there" +
            (f"; it has the splits {', '.join(known)}." if known else "."))
    found = read_json(path)
    if found["version"] != VERSION:
        raise ValueError(f"{path} is of version {found['version']}, which this "
                         f"tfvit does not know (it knows {VERSION}).")
    for file in found["files"]:
        full = os.path.join(folder, file["name"])
        size = (tf.io.gfile.stat(full).length if tf.io.gfile.exists(full)
                else None)
        if size != file["bytes"]:
            raise ValueError(
                f"{full} " + ("is not there" if size is None else
                              f"has {size:,} bytes") +
                f", and {path} says {file['bytes']:,} bytes: copy it anew, or "
                "let the same command of tfvit prepare write it again (remove "
                f"{full} and {path}).")
    remove, path = path, table_path(folder, split)
    with _naming(path, remove), tf.io.gfile.GFile(path, "rb") as f:
        with np.load(io.BytesIO(f.read()), allow_pickle=False) as table:
            return {**found, **table}


def verify(folder: str, files: Sequence[dict]) -> None:
    """Reads all files, and holds them against their checksums.

    Raises:
      ValueError: one differs.
    """

    def differs(file):
        return sha256(os.path.join(folder, file["name"])) != file["sha256"]

    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        bad = [file["name"] for file, wrong in zip(files, pool.map(
            differs, files)) if wrong]
    if bad:
        raise ValueError(
            f"{folder}: {len(bad)} of {len(files)} files differ from their "
            f"checksums, such as {bad[0]}: copy them anew.")


def sha256(path: str) -> str:
    """The checksum of a file."""
    found = hashlib.sha256()
    with tf.io.gfile.GFile(paths.home(path), "rb") as f:
        while chunk := f.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def write(path: str, contents: bytes) -> None:
    """Writes a file, which is there only when all of it is."""
    with tf.io.gfile.GFile(path + ".unfinished", "wb") as f:
        f.write(contents)
    tf.io.gfile.rename(path + ".unfinished", path, overwrite=True)


def read_json(path: str):
    """Raises ValueError, which names the file, where it is damaged."""
    with _naming(path), tf.io.gfile.GFile(path) as f:
        return json.load(f)


@contextlib.contextmanager
def _naming(path, remove=None):
    """Makes a ValueError of a file that cannot be read."""
    try:
        yield
    except (tf.errors.NotFoundError, ValueError, EOFError,
            zipfile.BadZipFile) as error:
        why = ("not there" if isinstance(error, tf.errors.NotFoundError) else
               f"damaged ({error})")
        raise ValueError(f"{path} is {why}: copy it anew, or remove "
                         f"{remove or path} and give the same command of tfvit "
                         "prepare.") from error


def write_json(path: str, value) -> None:
    write(path, (json.dumps(value, indent=1) + "\n").encode())

"""Reads and writes `.npz` files of weights without trusting them.

A file is checked whole when it is opened: the zip directory and the header of
every array must agree with each other and with the size of the file. No array
is read, or memory for one allocated, before somebody asks for it.
"""

import collections.abc
import io
import json
import math
import os
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

from tfvit.storage import errors

_BFLOAT16 = np.dtype("V2")  # As numpy stores it.
# Deflate cannot do better than this (zlib's manual), so more is a lie.
_MAX_DEFLATE_RATIO = 1032
# Weights hardly compress; zeros do. What a file may expand to: a fixed part
# for small files of zeros, and a multiple of the file's size.
_FREE_BYTES, _MAX_EXPANSION = 2**28, 100
_MAX_HEADER = 10_000  # Bytes; numpy's own limit for untrusted files.
_NOTES = "tfvit"  # Key in the comment.
_CHUNK = 2**18  # Bytes read at a time.


class Npz(collections.abc.Mapping):
    """Arrays by name; each access reads one array from the file.

    bfloat16 arrays, which numpy stores as two opaque bytes, come back as
    float32. The object is a context manager; leaving it closes the file.

    Attributes:
      path: where the file is.
      shapes: {name: shape} of all arrays, known without reading them.
      dtypes: {name: numpy dtype} of the arrays as they are returned.
      notes: what `save` noted, {name: two whole numbers}; maybe {}.
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        if not tf.io.gfile.exists(self.path) or tf.io.gfile.isdir(self.path):
            raise FileNotFoundError(f"There is no file {self.path}.")
        self._file = (tf.io.gfile.GFile(self.path, "rb")
                      if "://" in self.path else open(self.path, "rb"))
        try:
            self._zip, self._headers = _open(self._file)
        # The bytes are untrusted: whatever the parsers stumble over means the
        # same, and zipfile and numpy stumble in a dozen ways.
        except Exception as error:  # pylint: disable=broad-except
            self._file.close()
            raise self._broken(error) from error
        self.shapes = {k: h.shape for k, h in self._headers.items()}
        self.dtypes = {k: _result_dtype(h) for k, h in self._headers.items()}
        self.notes = _notes(self._zip.comment)

    def __getitem__(self, name):
        array = np.empty(math.prod(self.shapes[name]), self.dtypes[name])
        self.read_into(name, array)
        return array.reshape(self.shapes[name])

    def read_into(self, name, out):
        """Reads an array into `out` [its size], in C order, cast to its dtype.

        Needs little memory beside `out`, unless the file has Fortran's order.
        """
        header = self._headers[name]
        try:
            with self._zip.open(header.member) as stream:
                _read(stream, header, out)
        # As in __init__: here zlib stumbles, too.
        except Exception as error:  # pylint: disable=broad-except
            raise self._broken(f"{name}: {error}") from error
        if header.fortran_order:
            out[:] = out.reshape(header.shape[::-1]).T.ravel()

    def __iter__(self):
        return iter(self._headers)

    def __len__(self):
        return len(self._headers)

    def __enter__(self):
        return self

    def __exit__(self, *unused_exception):
        self._file.close()

    def _broken(self, why):
        return ValueError(f"{self.path} is not an intact .npz file of numeric "
                          f"arrays ({why}); remove it and fetch it again.")


_Header = collections.namedtuple("_Header",
                                 "member shape dtype fortran_order data_start")


def load(path):
    """Opens `path` (local or gs://) as a Mapping {name: array}, read lazily.

    `dict(load(path))` reads everything.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is truncated, not a zip, holds pickled objects, or
        claims sizes that it cannot have.
    """
    return Npz(path)


def save(path, tree, notes=None):
    """Writes {name: array or variable} as an uncompressed `.npz`.

    `notes`, {name: two whole numbers}, go into the zip file's comment, where
    they are in nobody's way.

    The same tree gives the same bytes. `path` may be remote (gs://); it is
    replaced whole or not at all. One array at a time is held in memory.
    """
    path = os.fspath(path)
    with errors.writing(path):
        _save(path, tree, notes)


def _save(path, tree, notes):
    if "://" in path:
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "weights.npz")
            _write(local, tree, notes)
            tf.io.gfile.copy(local, path, overwrite=True)
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    partial = f"{path}.{os.getpid()}.part"
    try:
        _write(partial, tree, notes)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def _write(path, tree, notes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        if notes:
            archive.comment = json.dumps({_NOTES: notes}).encode()
        for name in sorted(tree):
            value = tree[name]
            value = value.numpy() if hasattr(value, "numpy") else value
            # A bare ZipInfo carries the fixed date 1980-01-01.
            member = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream,
                                          np.asanyarray(value),
                                          version=(1, 0),
                                          allow_pickle=False)


def _notes(comment):
    try:
        notes = dict(json.loads(comment)[_NOTES])
    except (ValueError, KeyError, TypeError):
        return {}  # Of others.
    return {name: pair for name, pair in notes.items()
            if isinstance(pair, list) and len(pair) == 2 and
            all(isinstance(size, int) and size > 0 for size in pair)}


def _open(file):
    """Returns the archive and {name: _Header} after checking both."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    _check_sizes(members, size)
    headers = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in headers:
            raise ValueError(f"unexpected or repeated member {name!r}")
        with archive.open(member) as stream:
            headers[name] = _read_header(stream, member)
    return archive, headers


def _check_sizes(members, size):
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED,
                                        zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename} is compressed in a way that "
                             "numpy does not write")
        ratio = 1 if member.compress_type == zipfile.ZIP_STORED \
            else _MAX_DEFLATE_RATIO
        if member.file_size > ratio * member.compress_size:
            raise ValueError(f"{member.filename} claims {member.file_size} "
                             f"bytes in {member.compress_size}")
    packed = sum(member.compress_size for member in members)
    total = sum(member.file_size for member in members)
    if packed > size or total > _FREE_BYTES + _MAX_EXPANSION * size:
        raise ValueError(f"its {size} bytes claim to hold {total}")


def _read_header(stream, member):
    """Parses the `.npy` header and holds it against the member's size."""
    # Whatever the header claims, no more than this is read for it.
    head = io.BytesIO(stream.read(_MAX_HEADER + 12))
    version = np.lib.format.read_magic(head)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0
    }
    if version not in readers:
        raise ValueError(f"{member.filename} has npy version {version}")
    shape, fortran_order, dtype = readers[version](head,
                                                   max_header_size=_MAX_HEADER)
    if dtype.hasobject or (dtype.kind not in "fiub" and dtype != _BFLOAT16):
        raise ValueError(f"{member.filename} holds {dtype}, not numbers")
    start = head.tell()
    if min(shape, default=0) < 0 or (start + math.prod(shape) * dtype.itemsize
                                     != member.file_size):
        raise ValueError(f"{member.filename} claims the shape {shape} in "
                         f"{member.file_size} bytes")
    return _Header(member, shape, dtype, fortran_order, start)


def _result_dtype(header):
    if header.dtype == _BFLOAT16:
        return np.dtype(np.float32)
    return header.dtype.newbyteorder("=")


def _read(stream, header, out):
    """Reads the numbers that `header` describes, a chunk at a time."""
    stream.read(header.data_start)
    dtype = header.dtype
    step = _CHUNK // dtype.itemsize
    for i in range(0, out.size, step):
        count = min(step, out.size - i)
        chunk = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
        if dtype == _BFLOAT16:
            # bfloat16 is the upper half of a float32, little-endian here.
            chunk = chunk.view("<u2").astype(np.uint32) << 16
            chunk = chunk.view(np.float32)
        out[i:i + count] = chunk
    if stream.read(1):  # Reaching the end is what checks the CRC.
        raise ValueError("more bytes than its header says")

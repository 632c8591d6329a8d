"""ArrayRecord files: records that can be read at any place; the one door.

The package, array_record, comes with TFDS on Linux, and nowhere else.
"""
from collections.abc import Callable, Sequence
import resource
import threading

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source
from tfvit.storage import paths

try:
    from array_record.python import array_record_module
except ImportError:  # As on macOS, where TFDS does without it, too.
    array_record_module = None

# A call of Python costs as much as reading a few.
_BLOCK = 64
# No reading ahead: who comes next lies elsewhere.
_RANDOM, _BUFFER = "readahead_buffer_size:0", 2**15
_FREE = 256  # Files that the rest of the program may have open.


def is_there() -> bool:
    """Whether ArrayRecord files can be read and written here."""
    return array_record_module is not None


def check(what: str) -> None:
    """Raises ValueError, which begins with `what`, where they cannot."""
    if not is_there():
        raise ValueError(
            f"{what} is ArrayRecord, for which the package array_record is not "
            "there (it comes with tensorflow-datasets on Linux alone): write "
            "TFRecords, tfvit prepare --format=tfrecord.")


class Writer:
    """Writes a file; images are compressed as they are.

    Raises OSError where that fails, as other files do.
    """

    def __init__(self, path: str):
        self._writer = _or_os_error(array_record_module.ArrayRecordWriter, path,
                                    "group_size:1,uncompressed")

    def write(self, record: bytes) -> None:
        _or_os_error(self._writer.write, record)

    def close(self) -> None:
        _or_os_error(self._writer.close)


def _or_os_error(call, *arguments):
    try:
        return call(*arguments)
    except (RuntimeError, ValueError) as error:  # As pybind makes of C++'s.
        raise OSError(str(error)) from error


class ArrayRecords(source.Indexed):
    """Examples in ArrayRecord files of this machine; see source.Indexed.

    A core reads about 25,000 records a second of 3 kB, and 8,000 of 110 kB.
    """

    def __init__(self, *, files: Sequence[str], begins: Sequence[int],
                 sizes: Sequence[int], parse: Callable, **about):
        """Of files[i], the records begins[i] ... begins[i] + sizes[i] - 1.

        Args:
          files: local ones.
          begins, sizes: see above.
          parse: (record, string []; its name, string []) -> example.
          **about: num_examples is known; the rest of source.Indexed's.
        """
        check(f"{files[0]}")
        ends = np.cumsum(sizes)
        super().__init__(num_examples=int(ends[-1]), fetch=None, **about)
        self._files, self._begins, self._ends = files, begins, ends
        self._sizes, self._parse = sizes, parse
        self._readers, self._lock = [None] * len(files), threading.Lock()
        _allow(len(files))

    def fetched(self, indices, key=None) -> tf.data.Dataset:
        in_order = dict(num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

        def read(numbers):
            records, names, problem = tf.numpy_function(
                self._read, [numbers], [tf.string] * 3, stateful=False)
            with tf.control_dependencies([tf.debugging.Assert(
                    tf.equal(problem, ""), [problem])]):
                return (tf.ensure_shape(tf.identity(records), [None]),
                        tf.ensure_shape(names, [None]))

        examples = indices.batch(_BLOCK).map(read, **in_order).unbatch().map(
            self._parse, **in_order)
        return examples if key is None else examples.map(lambda e: e[key])

    def _read(self, numbers):
        """(records, their names, what went wrong) as numpy arrays [n], [n], []."""
        records = np.full(len(numbers), b"", object)
        places = np.searchsorted(self._ends, numbers, side="right")
        rows = numbers - self._ends[places] + np.take(self._sizes, places)
        rows += np.take(self._begins, places)
        names = np.array([paths.encoded(f"{self._files[place]}:{row}")
                          for place, row in zip(places, rows)], object)
        problem = ""
        for place in np.unique(places):
            (here,) = np.nonzero(places == place)
            try:
                records[here] = self._reader(place).read(rows[here].tolist())
            # The package raises what its C++ has: all of it is about the file.
            except Exception as error:  # pylint: disable=broad-except
                problem = f"{self._files[place]}: {str(error).splitlines()[0]}"
        return records, names, problem

    def _reader(self, place):
        with self._lock:
            if self._readers[place] is None:
                self._readers[place] = array_record_module.ArrayRecordReader(
                    self._files[place], _RANDOM, file_reader_buffer_size=_BUFFER)
            return self._readers[place]


def _allow(count):
    """Lets this process have so many files open, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _FREE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

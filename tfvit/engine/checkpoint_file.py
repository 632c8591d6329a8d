"""One checkpoint of TensorFlow's: its files, read and tidied up."""

import json
import os
import re

import tensorflow as tf

from tfvit.distribute import sharding
from tfvit.storage import files


class Memory(tf.train.experimental.PythonState):
    """What the loop remembers across restarts: a dict that JSON can hold."""

    def __init__(self):
        self.data = {}

    def serialize(self):
        return json.dumps(self.data)

    def deserialize(self, string_value):
        # In place: others hold on to the dict.
        self.data.clear()
        self.data.update(json.loads(string_value))


def upgrade(memory):
    """Turns what an earlier version remembered into today's, in place."""
    if "metrics_bytes" in memory:
        memory["writers"] = {"Jsonl": memory.pop("metrics_bytes")}
    for name, default in (("done", {}), ("actions", {}), ("last", {})):
        memory.setdefault(name, default)
    for old, name in (("logged", "log"), ("evaluated", "evaluate")):
        if old in memory:
            memory["done"][name] = memory.pop(old)
    if "best" in memory:
        memory["actions"]["keep_best"] = memory.pop("best")


def key(*names):
    """TensorFlow's key of a variable, whose names have any signs."""
    spelled = (name.replace(".", "..").replace("/", ".S") for name in names)
    return f"{'/'.join(spelled)}/.ATTRIBUTES/VARIABLE_VALUE"


def _fit(tree, reader, *names):
    """(tree that the file fits, [(variable, its stand-in there)]).

    A checkpoint may hold a variable with another dtype than this process has.

    Raises:
      AssertionError: a variable is missing or of another shape.
    """
    shapes, dtypes = (reader.get_variable_to_shape_map(),
                      reader.get_variable_to_dtype_map())
    fitting, pairs = {}, []
    for name, value in tree.items():
        if isinstance(value, dict):
            value, more = _fit(value, reader, *names, name)
            pairs += more
        elif not isinstance(value, Memory):
            spelled, what = key(*names, name), "/".join([*names, name])
            if spelled not in shapes:
                raise AssertionError(f"it has no {what}.")
            if tuple(shapes[spelled]) != tuple(value.shape):
                raise AssertionError(
                    f"{what} is {tuple(shapes[spelled])} there and "
                    f"{tuple(value.shape)} here.")
            if (dtypes[spelled] != value.dtype or
                    isinstance(value, sharding.Shards)):
                with tf.device("CPU:0"):
                    stand_in = tf.Variable(
                        tf.zeros(shapes[spelled], dtypes[spelled]),
                        trainable=False)
                pairs.append((value, stand_in))
                value = stand_in
        fitting[name] = value
    return fitting, pairs


def _reader(prefix):
    """Of this very checkpoint.

    tf.train.load_checkpoint looks for the newest in it where the file system
    calls all that names begin with a folder, as ram:// does.
    """
    return tf.compat.v1.train.NewCheckpointReader(prefix)


def read(choose, prefix):
    """Reads variables, and a Memory, from a checkpoint.

    `choose(keys)` gives the dict of what to read of one that has these keys.

    Raises:
      AssertionError: it is of other variables.
      tf.errors.OpError, IndexError, RuntimeError, ValueError: it is damaged.
    """
    with files.plain(prefix) as readable:
        reader = _reader(readable)
        tree, pairs = _fit(choose(reader.get_variable_to_shape_map()), reader)
        status = tf.train.Checkpoint(**tree).read(readable)
        # TensorFlow warns of unread slots else.
        status.assert_existing_objects_matched().expect_partial()
    for variable, stand_in in pairs:
        variable.assign(tf.cast(stand_in, variable.dtype))


class Weights(dict):
    """{published name: array} of a checkpoint, as load.from_arrays reads it.

    Of what the run kept moving averages of, these.

    Attributes:
      path: of the checkpoint.
      shapes: {name: shape}.
      patch_grid: (h, w) of the model, or None where the run noted none.
    """

    def __init__(self, prefix):
        """Reads the checkpoint; raises what `read` does."""
        super().__init__()
        self.path = prefix
        self.patch_grid = None
        with files.plain(prefix) as readable:
            reader = _reader(readable)
            keys = sorted(reader.get_variable_to_shape_map())
            for group in ("params", "statistics", "ema"):  # The last counts.
                for spelled in keys:
                    if spelled.startswith(f"{group}/"):
                        self[_name(spelled)] = reader.get_tensor(spelled)
            for spelled in keys:
                if spelled.startswith("memory/"):
                    memory = json.loads(reader.get_tensor(spelled))
                    self.patch_grid = memory.get("patch_grid")
        self.shapes = {name: tuple(array.shape) for name, array in self.items()}

    def read_into(self, name, out):
        """Copies an array into `out` [its size]."""
        out[:] = self[name].ravel()


def _name(spelled):
    """The variable of a key of two names; see `key`."""
    return re.sub(r"\.([.S])", lambda sign: "/" if sign[1] == "S" else ".",
                  spelled.split("/")[1])


def suffixes(prefix):
    """What the names of its files end with; that of the index comes last.

    Without an index the rest is no checkpoint.
    """
    folder, stem = os.path.split(prefix)
    names = files.named(folder, rf"{re.escape(stem)}\..*")
    return [name[len(stem):] for name in sorted(
        names, key=lambda name: name.endswith(".index"))]


def remove(prefix):
    """Removes a checkpoint."""
    for suffix in reversed(suffixes(prefix)):
        tf.io.gfile.remove(prefix + suffix)


def tidy_up(folder, steps):
    """Removes what a process left that died while it saved or removed.

    What is not of one of the `steps`, which have an index.
    """
    for name in files.named(folder, r".*_temp.*"):
        path = os.path.join(folder, name)
        if tf.io.gfile.isdir(path):
            tf.io.gfile.rmtree(path)
        else:
            tf.io.gfile.remove(path)
    for name in files.named(folder, r"ckpt-\d+\..*"):
        if int(re.search(r"\d+", name)[0]) not in steps:
            tf.io.gfile.remove(os.path.join(folder, name))


def is_sound(prefix):
    """Whether all of a checkpoint can be read."""
    try:
        with files.plain(prefix) as readable:
            reader = _reader(readable)
            for key in reader.get_variable_to_shape_map():
                reader.get_tensor(key)
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError):
        return False
    return True

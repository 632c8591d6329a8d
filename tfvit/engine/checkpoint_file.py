"""One checkpoint of TensorFlow's: its files, read."""

import json

import tensorflow as tf

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
                raise AssertionError(f"{what} is {tuple(shapes[spelled])} there "
                                     f"and {tuple(value.shape)} here.")
            if dtypes[spelled] != value.dtype:
                with tf.device("CPU:0"):
                    stand_in = tf.Variable(
                        tf.zeros(shapes[spelled], dtypes[spelled]),
                        trainable=False)
                pairs.append((value, stand_in))
                value = stand_in
        fitting[name] = value
    return fitting, pairs


def read(choose, prefix):
    """Reads variables, and a Memory, from a checkpoint.

    `choose(keys)` gives the dict of what to read of one that has these keys.

    Raises:
      AssertionError: it is of other variables.
      tf.errors.OpError, IndexError, RuntimeError, ValueError: it is damaged.
    """
    with files.plain(prefix) as readable:
        reader = tf.train.load_checkpoint(readable)
        tree, pairs = _fit(choose(reader.get_variable_to_shape_map()), reader)
        status = tf.train.Checkpoint(**tree).read(readable)
        # TensorFlow warns of unread slots else.
        status.assert_existing_objects_matched().expect_partial()
    for variable, stand_in in pairs:
        variable.assign(tf.cast(stand_in, variable.dtype))


def is_sound(prefix):
    """Whether all of a checkpoint can be read."""
    try:
        with files.plain(prefix) as readable:
            reader = tf.train.load_checkpoint(readable)
            for key in reader.get_variable_to_shape_map():
                reader.get_tensor(key)
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError):
        return False
    return True

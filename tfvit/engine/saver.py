"""Writes copies of variables, as checkpoints, while training goes on."""

from concurrent import futures
import contextlib
import os
import shutil

import tensorflow as tf

from tfvit.engine import checkpoint_file
from tfvit.storage import errors


class Saver:
    """Copies to the host, then writes on a thread; one save at a time.

    Args:
      live: {group: {name: variable}}, as deep as may be.
      slot_dtypes: {slot: {name: dtype}} of the group "slots" on disk.
    """

    def __init__(self, live, slot_dtypes):
        self._live = live
        self._slot_dtypes = slot_dtypes
        self._copy = None
        self._thread = futures.ThreadPoolExecutor(1, "saver")
        self._pending = None

    def save(self, prefixes, memory, tidy):
        """Begins to write the variables as they are now.

        Waits only for a save of before, whose copy is not written yet.

        Args:
          prefixes: of the checkpoints that are to hold them; each is whole
            before the next begins.
          memory: a checkpoint_file.Memory, which is copied, too.
          tidy: called once all are there.
        """
        self.wait()
        self._take_copy(memory)

        def write():
            first, *others = prefixes
            with _writing(first):
                self._copy.write(first)
            for prefix in others:
                with _writing(prefix):
                    if not _linked(first, prefix):
                        self._copy.write(prefix)
            with _writing(prefixes[-1]):
                tidy()

        self._pending = self._thread.submit(write)

    def wait(self):
        """Waits until all is written; raises what went wrong with it."""
        if self._pending:
            pending, self._pending = self._pending, None
            pending.result()

    def _take_copy(self, memory):
        with tf.device("CPU:0"):
            values = tf.nest.map_structure(tf.identity, self._live)
            # Whatever the devices need: any others can read this.
            values["slots"] = {
                slot: {name: tf.cast(value, self._slot_dtypes[slot][name])
                       for name, value in slots.items()}
                for slot, slots in values["slots"].items()}
            if self._copy is None:
                self._copy = tf.train.Checkpoint(
                    **tf.nest.map_structure(
                        lambda value: tf.Variable(value, trainable=False),
                        values), memory=checkpoint_file.Memory())
            else:
                copies = {name: getattr(self._copy, name) for name in values}
                tf.nest.map_structure(lambda copy, value: copy.assign(value),
                                      copies, values)
        self._copy.memory.deserialize(memory.serialize())


def _writing(prefix):
    return errors.writing(
        f"the checkpoint {prefix}", "With that mended, the same command "
        "continues the run from the checkpoint before.")


def _linked(there, here):
    """Gives a checkpoint a second name, without a copy; False if it cannot.

    Buckets and some file systems have no links. Of the index, a few kB, it makes
    a copy: TensorFlow writes that in place where a checkpoint of this name is
    written again, and so into all its links.
    """
    if "://" in there or "://" in here:
        return False
    suffixes = checkpoint_file.suffixes(there)
    links = [f"{here}_temp{suffix}" for suffix in suffixes]
    try:
        os.makedirs(os.path.dirname(here), exist_ok=True)
        for link, suffix in zip(links, suffixes):
            with contextlib.suppress(FileNotFoundError):
                os.remove(link)
            make = shutil.copyfile if suffix == ".index" else os.link
            make(there + suffix, link)
    except OSError:
        # A write says what is wrong, if it is more than that.
        for link in links:
            with contextlib.suppress(OSError):
                os.remove(link)
        return False
    for link, suffix in zip(links, suffixes):  # The index, which counts, last.
        os.replace(link, here + suffix)
    return True

"""The models of a server: which versions there are, and which answers.

A thread looks for new versions. A new one is loaded and warmed up before the
old one goes, which still answers what it has been asked.
"""

import contextlib
import os
import threading
import time

from absl import logging
import tensorflow as tf

from tfvit.server import status
from tfvit.server import versions
from tfvit.storage import files

_LONGEST_RETRY = 64  # Polls between two tries to load what cannot be.


class _Model:

    def __init__(self, config):
        self.config = config
        self.versions = {}  # {number: Version}
        self.labels = {}  # Those whose versions are available.
        self.retries = {}  # {number: (tries, time of the next one)}


class Models:
    """Serves models from their folders.

    Args:
      read: () -> [configs.Model], read again every `config_poll` seconds.
      poll: seconds between two looks at the folders; 0 for never again.
      config_poll: see above; 0 for never again.
    """

    def __init__(self, read, *, poll=1.0, config_poll=0.0):
        self._read, self._poll, self._config_poll = read, poll, config_poll
        self._models = {}  # {name: _Model}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self):
        """Loads what is there, then watches.

        Raises:
          ValueError, OSError: a model cannot be served.
        """
        self._configure()
        self.sync()
        for name, model in self._models.items():
            if not self._available(model):
                reasons = "; ".join(
                    f"version {number}: {version.error}"
                    for number, version in model.versions.items())
                raise ValueError(
                    f"{model.config.base_path} has no version of {name} that "
                    f"can be served: {reasons or _advice(model.config)}")
        self._thread.start()

    def stop(self):
        """Ends the watching."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self):
        waits = [wait for wait in (self._poll, self._config_poll) if wait]
        if not waits:
            return
        next_config = time.monotonic() + self._config_poll
        while not self._stopped.wait(min(waits)):
            try:
                if self._config_poll and time.monotonic() >= next_config:
                    next_config = time.monotonic() + self._config_poll
                    self._configure()
                self.sync()
            except (ValueError, OSError, tf.errors.OpError) as error:
                # A file being written, storage out of reach: as it was.
                logging.error("%s", error)

    def _configure(self):
        found = {config.name: config for config in self._read()}
        for name, config in found.items():
            if name in self._models:
                self._models[name].config = config
            else:
                self._models[name] = _Model(config)
        for name in set(self._models) - set(found):
            model = self._models.pop(name)
            for version in self._available(model):
                version.unload()

    def sync(self):
        """Loads and unloads what the folders and the configuration ask for."""
        for name, model in list(self._models.items()):
            self._sync(name, model)

    def _sync(self, name, model):
        there = _numbers(model.config.base_path)
        wanted = model.config.wanted(there)
        now = time.monotonic()
        for number in wanted:
            version = model.versions.get(number)
            if version is not None and version.state == "AVAILABLE":
                continue
            tries, due = model.retries.get(number, (0, now))
            if now < due:
                continue
            if version is None or version.state == "END":
                version = versions.Version(name, number, os.path.join(
                    model.config.base_path, str(number)))
                # Not in place, so that who asks for its state sees no gap.
                model.versions = {**model.versions, number: version}
            if version.load():
                model.retries.pop(number, None)
            else:
                wait = self._poll * min(2**tries, _LONGEST_RETRY)
                model.retries[number] = (tries + 1, time.monotonic() + wait)
        for label, number in model.config.labels.items():
            version = model.versions.get(number)
            if version is not None and version.state == "AVAILABLE":
                model.labels = {**model.labels, label: number}
        model.labels = {label: number for label, number in model.labels.items()
                        if label in model.config.labels}
        loaded = self._available(model)
        if not {version.number for version in loaded} & set(wanted):
            return  # Rather the old one than none.
        for version in loaded:
            if version.number not in wanted and (
                    version.number not in model.labels.values()):
                version.unload()

    def _available(self, model):
        return [version for version in model.versions.values()
                if version.state == "AVAILABLE"]

    def find(self, name, number=None, label=None):
        """The Version that answers: the newest one that is available.

        Args:
          name: of the model.
          number: of the version, or None.
          label: of the version, or None.

        Raises:
          Status: there is none.
        """
        model = self._models.get(name)
        if label is not None and model is not None:
            number = model.labels.get(label)
            if number is None:
                raise status.invalid("Unrecognized servable version label: "
                                     f"{label}")
        loaded = {version.number: version
                  for version in self._available(model)} if model else {}
        if number is None and loaded:
            number = max(loaded)
        if number not in loaded:
            wanted = (f"Latest({name})" if number is None else
                      f"Specific({name}, {number})")
            raise status.Status("NOT_FOUND",
                                f"Servable not found for request: {wanted}")
        return loaded[number]

    @contextlib.contextmanager
    def hold(self, name, number=None, label=None):
        """As find; the version is there as long as the context."""
        version = None
        while version is None:
            found = self.find(name, number, label)
            try:
                found.take()
                version = found
            except status.Status:
                # It went since it was found; a newer one has come.
                if number is not None:
                    raise
        try:
            yield version
        finally:
            version.release()

    def states(self, name, number=None, label=None):
        """[Version], newest first.

        Raises:
          Status: there are none.
        """
        model = self._models.get(name)
        if model is None or not model.versions:
            raise status.Status("NOT_FOUND", "Could not find any versions of "
                                f"model {name}")
        if label is not None:
            number = self.find(name, label=label).number
        if number is None:
            return [model.versions[key]
                    for key in sorted(model.versions, reverse=True)]
        if number not in model.versions:
            raise status.Status("NOT_FOUND", f"Could not find version {number} "
                                f"of model {name}")
        return [model.versions[number]]


def _numbers(folder):
    """Numbers of the versions in a folder: as a server sees them."""
    return [int(name) for name in files.named(folder, "[0-9]+")
            if tf.io.gfile.isdir(os.path.join(folder, name))]


def _advice(config):
    if tf.io.gfile.exists(os.path.join(config.base_path, "saved_model.pb")):
        return ("it is a version itself; give the folder that it lies in: "
                f"{os.path.dirname(os.path.abspath(config.base_path))}.")
    return "there is no folder with a number for a name."

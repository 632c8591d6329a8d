"""Of several that need a dataset one prepares it, and all read it."""

from concurrent import futures
import json
import socket
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests import workers
from tfvit.data.datasets import builders
from tfvit.data.datasets import sources
from tfvit.data.datasets import turns


class Dots(tfds.core.GeneratorBasedBuilder):
    """A dataset of TFDS whose preparation is counted."""

    VERSION = tfds.core.Version("1.0.0")
    prepared = []

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(
            {"image": tfds.features.Image(shape=(4, 4, 3)),
             "label": tfds.features.ClassLabel(names=["dark", "light"])}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        self.prepared.append(threading.get_ident())
        for i in range(6):
            yield i, {"image": np.full([4, 4, 3], 40 * i, np.uint8),
                      "label": i % 2}


def test_one_prepares_and_all_read(tmp_path, monkeypatch):
    monkeypatch.setattr(builders, "_check_network", lambda urls: None)
    Dots.prepared.clear()
    together = threading.Barrier(3)
    is_prepared = Dots.is_prepared

    def first_look(self):
        found = is_prepared(self)
        if not Dots.prepared and not getattr(self, "looked", False):
            self.looked = True
            together.wait(60)  # All find nothing.
        return found

    monkeypatch.setattr(Dots, "is_prepared", first_look)
    with futures.ThreadPoolExecutor(3) as threads:
        found = [source.result() for source in [
            threads.submit(sources.tfds, name="dots", split="train",
                           data_dir=str(tmp_path)) for _ in range(3)]]
    assert len(Dots.prepared) == 1
    for source in found:
        assert list(source.class_names) == ["dark", "light"]
        assert source.num_examples == 6


@pytest.fixture(name="second")
def fixture_second(monkeypatch):
    """Makes this the second worker; gives the port of the first."""
    first, own = workers.addresses(2)
    monkeypatch.setenv("TF_CONFIG", json.dumps({
        "cluster": {"worker": [first, own]},
        "task": {"type": "worker", "index": 1}}))
    return int(first.rsplit(":", 1)[1])


def test_in_a_bucket_the_first_worker_goes_first(second, monkeypatch):
    looks = iter([False, False, True])
    monkeypatch.setattr(turns, "_PAUSE", 0.0)
    with socket.create_server(("127.0.0.1", second)):
        with turns.turn("gs://bucket/dots/1.0.0", lambda: next(looks)):
            assert next(looks, "read") == "read"


def test_who_waits_for_a_worker_that_is_gone_says_so(second):
    with pytest.raises(ConnectionError, match="gs://bucket/dots/1.0.0 is not "
                       "prepared, and the first worker"):
        with turns.turn("gs://bucket/dots/1.0.0", lambda: False):
            pass
    assert second


def test_the_first_worker_waits_for_nobody(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with turns.turn("gs://bucket/dots/1.0.0", lambda: False):
        pass

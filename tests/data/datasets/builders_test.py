import functools
import importlib
import types
import urllib.error

import pytest

from tests.data.datasets import fake_tfds
from tfvit.data.datasets import builders
from tfvit.data.datasets import sources


@pytest.fixture(name="fake_builder")
def fixture_fake_builder(tmp_path):
    return functools.partial(_fake_builder, tmp_path)


def _fake_builder(folder, download_and_prepare):
    """What builders.prepare uses of a TFDS builder."""
    return types.SimpleNamespace(name="pets",
                                 data_dir=f"{folder}/data/pets/1.0.0",
                                 is_prepared=lambda: False,
                                 MANUAL_DOWNLOAD_INSTRUCTIONS=None,
                                 url_infos={"https://example.org/pets.tar": 0},
                                 download_and_prepare=download_and_prepare)


def answer(monkeypatch, error):
    """Makes every request end in `error`."""

    def urlopen(*unused_args, **unused_kwargs):
        raise error

    monkeypatch.setattr(builders.urllib.request, "urlopen", urlopen)


def test_without_network_nothing_is_tried_and_the_way_out_is_named(
        monkeypatch, fake_builder):
    answer(monkeypatch, urllib.error.URLError("no such host"))
    prepared = []
    builder = fake_builder(lambda **kwargs: prepared.append(kwargs))
    with pytest.raises(
            ValueError,
            match="pets.*/data/pets.*no such host.*tfds build pets.*DATA_DIR"):
        builders.prepare(builder, True, manual_dir=None, config=None)
    assert not prepared


def test_a_server_that_refuses_is_left_to_tfds(monkeypatch, fake_builder):
    answer(monkeypatch, urllib.error.HTTPError("", 405, "", None, None))
    prepared = []
    builder = fake_builder(lambda **kwargs: prepared.append(kwargs))
    builders.prepare(builder, True, manual_dir=None, config="how")
    assert prepared == [{"download_config": "how"}]


def test_only_the_first_line_of_a_failure_is_told(monkeypatch, fake_builder):
    answer(monkeypatch, urllib.error.HTTPError("", 405, "", None, None))

    def fail(**unused_kwargs):
        raise RuntimeError("Checksum differs.\nPages of advice.")

    with pytest.raises(ValueError, match="Checksum differs") as caught:
        builders.prepare(fake_builder(fail), True, manual_dir=None, config=None)
    assert "Pages" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch, fake_builder):
    answer(monkeypatch, urllib.error.HTTPError("", 405, "", None, None))

    def fail(**unused_kwargs):
        raise ModuleNotFoundError("No module named 'parser'", name="parser")

    with pytest.raises(ValueError, match="pip install parser"):
        builders.prepare(fake_builder(fail), True, manual_dir=None, config=None)


@pytest.mark.parametrize("name", ["data[12]", "data?", "*/data"])
def test_a_folder_in_which_tfds_finds_nothing_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="data_dir = .*pattern. Rename"):
        sources.tfds(name="cifar10", split="train",
                     data_dir=str(tmp_path / name))
    assert not list(tmp_path.iterdir())
    builders.check_folder(None)
    builders.check_folder("gs://bucket/data (1)")


def test_the_public_bucket_is_read_where_it_has_the_dataset(tmp_path,
                                                             monkeypatch):
    utils = importlib.import_module("tensorflow_datasets.core.utils.gcs_utils")
    monkeypatch.setattr(utils, "GCS_ROOT_DIR", str(tmp_path))
    monkeypatch.setattr(utils, "_is_gcs_disabled", False)
    fake_tfds.write_cifar10(tmp_path / "datasets", 5, 3)
    source = sources.tfds(name="cifar10", split="train", try_gcs=True,
                          download=False)
    assert source.num_examples == 5
    with pytest.raises(ValueError, match="try_gcs = True .* leave one out"):
        sources.tfds(name="cifar10", split="train", try_gcs=True,
                     data_dir=str(tmp_path))

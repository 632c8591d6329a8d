"""Versions come and go as TensorFlow Serving has them."""

import shutil

import pytest

from tests.server import toys
from tfvit.server import configs
from tfvit.server import models as models_lib
from tfvit.server import status


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder of exports to copy versions from."""
    folder = tmp_path_factory.mktemp("exports")
    for version in (1, 2):
        toys.write(folder, version, float(version))
    return folder


@pytest.fixture
def served(exports, tmp_path):
    """(models, base folder, config to change): one model, of version 1."""
    shutil.copytree(exports / "1", tmp_path / "toy" / "1")
    configured = [configs.Model(name="toy", base_path=str(tmp_path / "toy"))]
    # Nothing is watched: tests say when to look.
    models = models_lib.Models(lambda: configured, poll=0)
    models.start()
    yield models, tmp_path / "toy", configured
    models.stop()


def states(models):
    return {v.number: v.state for v in models.states("toy")}


def bias(version):
    import numpy as np
    return version.run("serving_default", {"x": np.float32([0])})["y"][0]


def test_a_new_version_takes_over_and_the_old_one_finishes_first(served,
                                                                 exports):
    models, folder, _ = served
    with models.hold("toy") as old:
        shutil.copytree(exports / "2", folder / "2")
        models.sync()
        assert states(models) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert models.find("toy").number == 2
        with pytest.raises(status.Status, match=r"Specific\(toy, 1\)"):
            models.find("toy", 1)
        assert bias(old) == 1.0  # It still answers who has it.
    assert states(models) == {2: "AVAILABLE", 1: "END"}
    assert bias(models.find("toy")) == 2.0


def test_what_is_no_version_is_never_touched(served, exports):
    models, folder, _ = served
    shutil.copytree(exports / "2", folder / ".unfinished-3")
    shutil.copytree(exports / "2", folder / "9.tflite")
    (folder / "10").write_text("a file")
    models.sync()
    assert states(models) == {1: "AVAILABLE"}


def test_a_broken_version_leaves_the_old_one_alone_and_is_tried_again(
        served, exports):
    models, folder, _ = served
    (folder / "7").mkdir()
    models.sync()
    assert states(models) == {7: "END", 1: "AVAILABLE"}
    assert "saved_model.pb" in models.states("toy", 7)[0].error
    assert models.find("toy").number == 1
    shutil.copytree(exports / "2", folder / "7", dirs_exist_ok=True)
    models.sync()
    assert states(models) == {7: "AVAILABLE", 1: "END"}


def test_a_folder_that_is_emptied_goes_on_serving(served):
    models, folder, _ = served
    shutil.rmtree(folder)
    models.sync()
    assert models.find("toy").number == 1


def test_labels_move_only_to_versions_that_are_loaded(served, exports):
    models, folder, configured = served

    def configure(versions, **labels):
        configured[0] = configs.Model(name="toy", base_path=str(folder),
                                      versions=versions, labels=labels)
        models._configure()  # What the watching thread calls.
        models.sync()

    configure((1,), stable=1)
    assert models.find("toy", label="stable").number == 1
    with pytest.raises(status.Status, match="version label: canary"):
        models.find("toy", label="canary")
    # A canary that is not there yet: stable stays where it is.
    configure((1, 2), stable=2, canary=2)
    assert models.find("toy", label="stable").number == 1
    shutil.copytree(exports / "2", folder / "2")
    configure((1, 2), stable=1, canary=2)
    assert models.find("toy", label="canary").number == 2
    assert models.find("toy", label="stable").number == 1
    configure((1, 2), stable=2, canary=2)  # Promoted.
    assert models.find("toy", label="stable").number == 2
    configure((1, 2), stable=1)  # Rolled back.
    assert models.find("toy", label="stable").number == 1
    configure((2,), stable=2)
    assert states(models) == {2: "AVAILABLE", 1: "END"}


def test_a_model_that_is_not_configured_any_more_goes(served):
    models, folder, configured = served
    configured[:] = [configs.Model(name="other", base_path=str(folder))]
    models._configure()
    models.sync()
    assert models.find("other").number == 1
    with pytest.raises(status.Status, match=r"Latest\(toy\)"):
        models.find("toy")


def test_a_folder_that_cannot_be_served_is_told_with_the_way_out(tmp_path,
                                                                 exports):
    for folder, said in ((tmp_path, "no folder with a number"),
                         (tmp_path / "nope", "no folder with a number"),
                         (exports / "1", f"the folder that it lies in: "
                          f"{exports}")):
        models = models_lib.Models(toys.one(folder), poll=0)
        with pytest.raises(ValueError, match="that can be served") as caught:
            models.start()
        assert said in str(caught.value)

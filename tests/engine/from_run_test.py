"""A run that starts from another run's weights."""

import dataclasses
import functools
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tests import two_towers
from tfvit.engine import build
from tfvit.engine import checkpoint
from tfvit.models import lit
from tfvit.models import mixer
from tfvit.optimize import objectives
from tfvit.weights import load
from tools import export_npz

MODEL = functools.partial(toy.EXPERIMENT.model, depth=1, image_size=(8, 32))
EXPERIMENT = dataclasses.replace(toy.EXPERIMENT, model=MODEL, ema_decay=0.9,
                                 frozen="head/bias")


def save(workdir, exp, steps, best=()):
    """Checkpoints of random weights, each step's its own; returns the Run."""
    run = build.build(exp, training=False)
    checkpoints = checkpoint.Checkpoints(workdir, run.state, keep=9)
    checkpoints.memory.data["patch_grid"] = run.model.image_grid
    for step in steps:
        rng = np.random.default_rng(step)
        for variable in [*run.weights.values(), *run.state.ema.values()]:
            variable.assign(rng.normal(size=variable.shape))
        run.state.step.assign(step)
        if step in best:
            checkpoints.save_best()
        checkpoints.save()
    checkpoints.wait()
    return run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with averages, checkpoints of 10, 20 and 30, the best one of 20."""
    workdir = tmp_path_factory.mktemp("other") / "run"
    save(str(workdir), EXPERIMENT, [10, 20, 30], best=[20])
    return workdir


def arrays(model):
    return {v.name: v.numpy() for v in model.weights}


@pytest.mark.parametrize("which, changes, reset_head", [
    ("last", {}, False),
    ("best", {"num_classes": 4}, True),  # Another head,
    (10, {"image_size": (16, 16)}, False),  # another grid, of as many patches,
    ("10", {"image_size": 24, "channels": 1, "classifier": "gap"}, True),
], ids=["whole", "head", "grid", "variant"])
def test_it_starts_as_from_the_exported_file(workdir, tmp_path, monkeypatch,
                                             which, changes, reset_head):
    file = str(tmp_path / "other.npz")
    for flag, value in (("_OUTPUT", file), ("_CHECKPOINT", str(which))):
        monkeypatch.setattr(export_npz, flag,
                            types.SimpleNamespace(value=value))
    export_npz.main(EXPERIMENT, str(workdir))
    make = functools.partial(MODEL, **changes)
    tf.keras.utils.set_random_seed(1)
    expected = make()
    load.from_npz(expected, path=file, reset_head=reset_head)
    model = make()
    for ours, theirs in zip(model.weights, expected.weights):
        ours.assign(theirs if reset_head and "head/" in ours.name else
                    tf.zeros_like(ours))  # The head stays as initialised.
    before = arrays(model)
    settings = {"reset_head": True} if "classifier" in changes else {}
    checkpoint.from_run(model, path=str(workdir), checkpoint=which, **settings)
    for name, array in arrays(expected).items():
        np.testing.assert_array_equal(arrays(model)[name], array, err_msg=name)
    assert any(np.any(before[name] != value)
               for name, value in arrays(model).items())


def test_towers_start_from_runs_and_give_their_weights(tmp_path):
    exp = dataclasses.replace(
        toy.EXPERIMENT, objective=objectives.Contrastive, evaluators={},
        model=functools.partial(lit.lit, image=two_towers.IMAGE,
                                text=two_towers.SMALL, out_dim=(None, 24)))
    run = save(str(tmp_path / "lit"), exp, [1])
    model = two_towers.IMAGE(num_classes=5)
    checkpoint.from_run(model, path=f"{tmp_path}/lit:img")
    for name, array in arrays(model).items():
        if not name.startswith("head/"):
            np.testing.assert_array_equal(
                array, run.params[f"img/{name[:-2]}"].numpy())
    save(str(tmp_path / "vit"), dataclasses.replace(
        toy.EXPERIMENT, model=functools.partial(two_towers.IMAGE,
                                                num_classes=3)), [2])
    two = exp.model()
    checkpoint.from_run(two, path=f"{tmp_path}/vit", tower="img")
    np.testing.assert_array_equal(
        two.img.get_layer("embedding").kernel.numpy(),
        checkpoint.weights_of(f"{tmp_path}/vit")["embedding/kernel"])


def test_what_is_no_run_for_this_model_is_said_in_one_line(workdir, tmp_path):
    model = MODEL()
    before = arrays(model)
    other = mixer.mixer(num_classes=7, image_size=8, patch_size=4, width=8,
                        depth=1, tokens_mlp_dim=4, channels_mlp_dim=8)
    for into, settings, message in [
            (model, {"path": str(tmp_path / "none")},
             "from_run.path = '.*none' holds no .* there is no such directory"),
            (model, {"path": str(tmp_path)}, r"ckpt-STEP.index\)\.$"),
            (model, {"checkpoint": 40},
             r"no checkpoint 40. There are steps \[10, 20, 30\], best \[20\]"),
            (MODEL(depth=2), {}, "run' does not fit .*The run: ViT.* depth 1, "
             ".*The model: ViT.* depth 2"),
            (other, {}, "The run: ViT.*The model: Mixer"),
            (MODEL(num_classes=3), {"reset_head": False},
             r"head/bias \(7,\) in the file, \(3,\) in the model")]:
        with pytest.raises(ValueError, match=message) as error:
            checkpoint.from_run(into, **{"path": str(workdir), **settings})
        assert "\n" not in str(error.value)
    for name, array in arrays(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_damaged_last_checkpoint_is_passed_over(workdir, tmp_path, caplog):
    shutil.copytree(workdir, tmp_path / "run")
    data = tmp_path / "run/checkpoints/ckpt-30.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    assert checkpoint.weights_of(str(tmp_path / "run")).path.endswith("ckpt-20")
    assert "Cannot read the checkpoint" in caplog.text


def test_the_only_one_is_said_once_with_the_best_as_a_way_out(
        workdir, tmp_path, caplog):
    shutil.copytree(workdir, tmp_path / "run")
    for step in (10, 20):
        for file in (tmp_path / "run/checkpoints").glob(f"ckpt-{step}.*"):
            file.unlink()
    data = tmp_path / "run/checkpoints/ckpt-30.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ValueError, match="None of the 1 checkpoints in .*The "
                       "best, of step 20, is there, too: --checkpoint=best."
                       ) as error:
        checkpoint.weights_of(str(tmp_path / "run"))
    assert "{{" not in str(error.value) and not caplog.text
    checkpoint.weights_of(str(tmp_path / "run"), "best")

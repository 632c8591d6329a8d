"""tpu_check: the TPU's compiler on what TensorFlow lowers, and its words."""

import configparser
import dataclasses
import functools
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import types

import pytest
import tensorflow as tf

from tests import toy
from tfvit import config
from tfvit import experiment
from tfvit.engine import build
from tfvit.optimize import optim
from tfvit.optimize import schedules
from tfvit.tpu import advice
from tfvit.tpu import check
from tfvit.tpu import chips
from tfvit.tpu import environment
from tfvit.tpu import words

needs_libtpu = pytest.mark.skipif(
    not environment.is_ready(), reason="the environment of tpu_check, which "
    "it makes when it first runs, is not there")
# What libtpu 0.0.42.1 says of temporaries, and as older ones said it of a whole.
TOO_LARGE = {
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required "
    "for HLO temporaries (298.12G) exceeds available HBM (15.75G).": 298.12,
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in "
    "memory space hbm. Used 17.27G of 15.75G hbm. Exceeded hbm capacity by "
    "1.52G.": 17.27,
    "INTERNAL: something else": None}
FOUND = {"device": "TPU v5 lite", "devices": 8, "compile_s": 7.0,
         "argument_bytes": 2**30, "output_bytes": 2**29, "alias_bytes": 2**29,
         "temp_bytes": 2**31, "generated_code_bytes": 2**20,
         "peak_bytes": 3 * 2**30, "flops": 21.53e12, "accessed_bytes": 185e9,
         "collectives": {"all-reduce": {"count": 74, "bytes": 343_000_000}}}


@pytest.fixture(scope="module")
def lowered():
    weights = tf.Variable(tf.zeros([1024, 1024]))
    return types.SimpleNamespace(
        seconds={"build": 1.0, "trace": 2.0, "lower": 3.0},
        batch={"images": tf.TensorSpec([1024, 1024])},
        step=types.SimpleNamespace(
            graph=types.SimpleNamespace(variables=[weights])),
        run=types.SimpleNamespace(state=types.SimpleNamespace(
            slots={"momentum": {"w": weights}})))


def result(lowered, found, **changes):
    exp = dataclasses.replace(toy.EXPERIMENT, batch_size=8, **changes)
    return check._result(exp, chips.named("v5e:2x4"), lowered, found)


def test_bounds_are_those_of_the_chips_peaks(lowered):
    # By hand: 21.53 TFLOP / 197 TFLOP/s, 185 GB / 819 GB/s, and a ring of 8
    # over 200 GB/s.
    found = result(lowered, FOUND)
    assert found["fits"] and found["bound"] == "memory"
    assert found["compute ms"] == pytest.approx(109.3, abs=0.1)
    assert found["memory ms"] == pytest.approx(225.9, abs=0.1)
    assert found["network ms"] == pytest.approx(
        2 * 7 / 8 * 343 / 200, abs=0.01)
    assert found["img/s"] == pytest.approx(8 / 0.2259, rel=1e-3)
    assert found["peak GiB"] == 3
    text = words.table([found])
    assert re.search(r"^fits +yes$", text, re.M)
    assert re.search(r"^all-reduces +74$", text, re.M)


def test_what_a_ring_sends():
    kinds = {"all-reduce": {"bytes": 8}, "all-gather": {"bytes": 8},
             "reduce-scatter": {"bytes": 1}, "collective-permute": {"bytes": 3}}
    assert check.sent_bytes(kinds, 8) == 14 + 7 + 7 + 3
    assert check.sent_bytes({"all-reduce": {"bytes": 8}}, 1) == 0


@pytest.mark.parametrize("error", TOO_LARGE)
def test_by_how_much_it_does_not_fit(lowered, error):
    needed = TOO_LARGE[error]
    found = result(lowered, {"device": "TPU v5 lite", "compile_s": 1.0,
                             "error": error})
    assert not found["fits"]
    text = words.table([found])
    if needed:
        assert found["over GiB"] == pytest.approx(needed - 15.75)
        assert f"too small by {needed - 15.75:.2f} GiB" in text
        # Each names a knob that there is.
        assert "vit.vit.remat = True" in text
        assert "Experiment.precision = 'mixed_bfloat16'" in text
    else:
        assert "v5e:2x4 does not compile: INTERNAL: something else" in text


def test_advice_goes_for_what_is_large(lowered):
    place = chips.named("v5e:2x4")
    exp = dataclasses.replace(
        toy.EXPERIMENT, batch_size=64, precision="mixed_bfloat16",
        ema_decay=0.9, model=functools.partial(toy.EXPERIMENT.model,
                                               remat=True))
    of = lambda exp, slots, arguments: "\n".join(
        advice.of(exp, place, slots, arguments))
    gib = 2**30
    small = of(exp, 0.1 * gib, 0.3 * gib)
    assert "accum_steps = 2, now 1" in small
    assert "remat" not in small and "precision" not in small
    assert "slots" not in small and "ema" not in small
    adamw = functools.partial(
        optim.adamw, lr=1e-3, weight_decay=0.1,
        schedule=functools.partial(schedules.cosine, warmup_steps=2))
    large = of(dataclasses.replace(exp, optimizer=adamw), 10 * gib, 15 * gib)
    assert "optim.adamw.first_moment = 'bfloat16'" in large
    assert "@optim.adafactor" in large and "ema_decay = None" in large
    assert "shard_optimizer = True: each device keeps 1/8" in large
    assert "accum_steps" not in large  # It would not help.
    whole = dataclasses.replace(exp, batch_size=8)
    assert "accum_steps" not in of(whole, 0, 0.1 * gib)  # One image each.


def test_slices_that_do_not_divide_the_batch_are_named_before_anything(
        monkeypatch):
    monkeypatch.setattr(check.lowering, "lower", None)
    exp = dataclasses.replace(toy.EXPERIMENT, batch_size=24)
    slices = [chips.named(name) for name in ("v5e-8", "v5e-16")]
    with pytest.raises(ValueError, match="On v5e:4x4: Experiment.batch_size=24 "
                       "must be a multiple of 16 replicas"):
        list(check.check(exp, slices, python="python"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(environment, "_is_here", lambda: False)
    return tmp_path / "cache"


def test_an_environment_that_cannot_be_made_is_a_sentence(
        cache, monkeypatch):

    def pip(words, **kwargs):
        if "venv" in words:
            program = (f"#!{sys.executable}\nprint('Downloading "
                       "libtpu-0.0.42.1-cp311.whl (684 MB)')\nprint('ERROR: "
                       "no such network')\nraise SystemExit(1)\n")
            python = os.path.join(words[-1], "bin", "python")
            os.makedirs(os.path.dirname(python))
            with open(python, "w") as f:
                f.write(program)
            os.chmod(python, stat.S_IRWXU)
            words = [sys.executable, "-S", "-c", ""]
        return popen(words, **kwargs)

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", pip)
    with pytest.raises(OSError, match="ERROR: no such network. Install it .*"
                       "name that Python: --python=PATH."):
        environment.python()
    assert not environment.is_ready()
    monkeypatch.setattr(shutil, "disk_usage",
                        lambda _: types.SimpleNamespace(free=10**9))
    with pytest.raises(OSError, match="only 1.0 GB are left there"):
        environment.python()


def test_the_environment_is_made_once(cache, monkeypatch):
    made = []

    def make(folder, python):
        os.makedirs(os.path.dirname(python), exist_ok=True)
        pathlib.Path(python).touch()
        made.append(python)

    monkeypatch.setattr(environment, "_make", make)
    assert not environment.is_ready()
    found = environment.python()
    assert found.startswith(str(cache)) and found.endswith("bin/python")
    assert environment.python() == found and made == [found]
    assert environment.is_ready()
    os.remove(found)  # As if the Python it links to were gone.
    assert environment.python() == found and made == [found, found]


def test_another_python_has_to_have_the_compiler():
    with pytest.raises(ValueError, match="--python=/nowhere/python: there is"):
        environment.python("/nowhere/python")
    with pytest.raises(ValueError, match="No module named 'jax'|libtpu"):
        environment.python(sys.executable)


def test_setup_cfg_has_the_same_requirements():
    setup = configparser.ConfigParser()
    setup.read(os.path.join(config.ROOT, "setup.cfg"))
    extra = setup["options.extras_require"]["tpu_check"]
    assert extra.split() == list(environment.REQUIREMENTS)


@needs_libtpu
@pytest.mark.slow
def test_digits_fits_and_what_is_too_large_does_not(tmp_path):
    exp, _ = experiment.from_config(["gin/digits.gin"])
    python = environment.python()
    # Equally many replicas: the step is lowered once.
    slices = [chips.named("v5e-8"), chips.named("v4-16")]
    found = {r["topology"]: r for r in check.check(
        exp, slices, python=python, out=str(tmp_path))}
    for place in slices:
        r = found[place.name]
        assert r["fits"] and r["replicas"] == place.replicas
        # Gradients and two metrics of one all-reduce, in float32.
        count = build.build(exp).model.count_params()
        (kind,) = r["collectives"].values()
        assert kind["count"] == r["all-reduces"] >= 1
        assert 4 * count <= kind["bytes"] <= 4 * count + 64
        kept = json.loads((tmp_path / place.name.replace(":", "_")
                           ).with_suffix(".json").read_text())
        assert kept["compiler"]["devices"] == place.replicas
    assert "all-reduce" in (tmp_path / "v5e_2x4.hlo.txt").read_text()


@needs_libtpu
@pytest.mark.slow
def test_a_small_vit_on_one_chip():
    exp, _ = experiment.from_config(
        ["gin/plain_s16_imagenet2012_90ep.gin"],
        ["experiment.Experiment.batch_size = 8", "vit.vit.depth = 1",
         "IMAGE_SIZE = 32"])  # 224 px take the compiler minutes.
    (found,) = check.check(exp, [chips.named("v5e-1")],
                           python=environment.python())
    assert found["fits"] and found["all-reduces"] == 0
    # 6 x 8 images x 4 tokens x 1.8 M weights of a block and 0.3 M of the
    # embedding, and as much more as attention and the update take.
    least = 6 * 8 * 4 * 2.1e6 / 1e12
    assert least < found["TFLOP"] < 2 * least
    assert found["bound"] == "memory"

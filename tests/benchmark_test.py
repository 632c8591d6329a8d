"""The benchmark works and its numbers fit together; how fast is not tested."""

import json
import math

from absl import app
from absl import flags
from absl.testing import flagsaver
import pytest

from tests import toy
from tfvit import benchmark
from tfvit import config
from tfvit import experiment

if not flags.FLAGS.is_parsed():
    flags.FLAGS(["test"])


@pytest.mark.slow
def test_the_numbers_fit_together(tmp_path, capsys):
    out = tmp_path / "out.json"
    with flagsaver.flagsaver(batch=8, steps=2, matmul=64, json=True,
                             out=str(out), profile=str(tmp_path / "trace")):
        benchmark.main(toy.EXPERIMENT, None)
    values = json.loads(capsys.readouterr().out)
    assert values == json.loads(out.read_text())
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    assert values["batch"] == 8 and values["compiler"] == "graph"
    assert all(math.isfinite(v) for v in values.values()
               if isinstance(v, float))
    assert values["training img/s"] == pytest.approx(
        8e3 / values["training ms per step"])
    parts = [v for k, v in values.items() if k.startswith("step: ")]
    assert sum(parts) == pytest.approx(values["training ms per step"])
    assert values["utilisation, training"] == pytest.approx(
        3 * values["forward GFLOP per image"] * values["device alone img/s"] /
        values["matmul peak per core, GFLOP/s"])
    assert len(benchmark.table(values).splitlines()) == len(values)


def test_flags_of_the_input_need_it():
    with flagsaver.flagsaver(photos="500x375"):
        with pytest.raises(app.UsageError, match="--photos goes with --input"):
            benchmark.main(toy.EXPERIMENT, None)
    with flagsaver.flagsaver(photos="500", input=True):
        with pytest.raises(app.UsageError, match="--photos=500 must be WIDTHx"):
            benchmark.main(toy.EXPERIMENT, None)


@pytest.mark.slow
def test_the_input_is_measured(capsys):
    with flagsaver.flagsaver(input=True, device_rate=100.0, photos="60x40",
                             count=8, steps=1):
        config.parse(["gin/digits.gin"])
        benchmark.main(config.make(experiment.Experiment), None)
    said = capsys.readouterr().out
    assert "decode_and_inception_crop: CPU ms per image" in said
    assert "cores needed" in said

"""The quickstart, short: train, export and predict in one process."""

import queue
import re

import numpy as np
import pytest

from tfvit import experiment
from tools import quickstart


def test_digits_are_drawn_side_by_side():
    ink = np.array([[0, 255], [128, 0]])
    assert list(quickstart.drawn([ink, ink.T])) == [
        "  @@     ++", "++     @@  "]


def test_silence_is_broken_only_where_nothing_is_said():
    said = queue.Queue()
    pulse = quickstart.Pulse(0.2, said.put)
    assert said.get(timeout=5).startswith("  ... ")
    said.get(timeout=5)
    assert pulse.heard(record="any")  # As a filter it lets records pass.
    pulse.stop()


@pytest.mark.slow
def test_everything_is_said_with_its_place(tmp_path, capsys):
    exp, config = experiment.from_config(["gin/digits.gin"], [
        "experiment.Experiment.total_steps = 100",
        "experiment.Experiment.eval_every = 50",
        "experiment.Experiment.strategy = @strategies.one_device",
        "schedules.cosine.warmup_steps = 10"])
    workdir = str(tmp_path / "digits")
    tmp_path.joinpath("digits").mkdir()
    with open(f"{workdir}/config.gin", "w", encoding="utf-8") as f:
        f.write(config)
    quickstart.main(exp, workdir)
    said = capsys.readouterr().out
    assert re.search(r"\d\d\.\d % of 359 digits", said)
    assert len(re.findall(r"\d \(\d+ %\)", said)) == 5
    for part in ("3/4", "4/4", f"{workdir}/export/", f"{workdir}/examples/",
                 f"tfvit evaluate --workdir={workdir}"):
        assert part in said
    # Nothing is exported twice.
    (version,) = tmp_path.glob("digits/export/*")
    assert quickstart.export(workdir, f"{workdir}/export") == str(version)

"""tfvit.train's own flags, and how a run is taken up again."""

import types

from absl import flags
import pytest

from tfvit import config
from tfvit import launch
from tfvit import train
from tfvit.engine import run_config


@pytest.mark.parametrize("words, expected", [
    ([], None), (["--extend"], "exact"), (["--extend=exact"], "exact"),
    (["--extend=stretch"], "stretch"), (["--extend", "--extend=restart"],
                                        "restart")])
def test_extend_stands_with_or_without_a_value(words, expected):
    values = flags.FlagValues()
    train.define_extend(values)
    values(["train", *words])
    assert values.extend == expected


@pytest.mark.parametrize("words", [["--extend=more"], ["--noextend"]])
def test_extend_knows_its_values(words):
    values = flags.FlagValues()
    train.define_extend(values)
    with pytest.raises(flags.IllegalFlagValueError, match="exact|stretch"):
        values(["train", *words])


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """setup(total_steps, extends): as the command; the run is at step 20."""
    workdir = tmp_path / "run"
    text = config.parse(["gin/digits.gin"],
                        ["experiment.Experiment.total_steps = 200"])
    run_config.save(text, workdir, started=[])
    (workdir / "checkpoints").mkdir()
    (workdir / "checkpoints/ckpt-120.index").write_text("")

    def call(total_steps, extends, *bindings):
        for flag, value in (
                ("_GIN_FILE", ["gin/digits.gin"]), ("_WORKDIR", str(workdir)),
                ("_GIN_BINDINGS", [
                    f"experiment.Experiment.total_steps = {total_steps}",
                    *bindings])):
            monkeypatch.setattr(launch, flag,
                                types.SimpleNamespace(
                                    name=flag[1:].lower(), value=value))
        exp, _ = launch._setup_new(True, extends)
        run_config.renew(config.text(), workdir, 120)  # As the trainer does.
        return exp.total_steps, exp.extended

    return call


def test_a_run_remembers_how_it_was_extended(setup):
    part = (120, 200, "restart")
    with pytest.raises(ValueError, match="total_steps = 400\nTo continue that "
                       "run, take the change back or add --extend;"):
        setup(400, None)
    with pytest.raises(ValueError, match="--extend=stretch, as it would"):
        setup(400, "exact")
    assert setup(400, "restart") == (400, [part])
    assert setup(400, "restart") == setup(400, None) == (400, [part])
    with pytest.raises(ValueError, match="total_steps = 200\nTo continue"):
        setup(200, None)
    with pytest.raises(ValueError, match="adamw.lr = 0.5"):
        setup(600, "stretch", "optim.adamw.lr = 0.5")
    assert setup(600, "stretch", "experiment.Experiment.keep_checkpoints = 9"
                 ) == (600, [part, (120, 400, "stretch")])

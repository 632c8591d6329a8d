"""A run's directory from elsewhere runs tfvit's own functions, or nothing."""

import glob
import os

import pytest

from tfvit import config
from tfvit import experiment
from tfvit.engine import trust

RUNS = sorted(glob.glob(os.path.join(config.ROOT, "gin/*.gin")))
OPEN = {"AUGREG": "'S_16'", "FOLDER": "'f'", "CAPTIONS": "'c'",
        "NUM_CLASSES": 3}
HEAD = "from __gin__ import dynamic_registration\n"


@pytest.mark.parametrize("file", RUNS, ids=os.path.basename)
def test_configs_of_our_own_runs_need_no_trust(file):
    with open(file, encoding="utf-8") as f:
        own = f.read()
    bindings = [f"{name} = {value}" for name, value in OPEN.items()
                if os.path.basename(file) in ("augreg.gin", "folder.gin",
                                              "lit_captions.gin", "base.gin")
                and name != "AUGREG" or f"%{name}" in own]
    trust.check(config.parse([file], bindings), "config.gin")


@pytest.mark.parametrize("text, named", [
    ("import os\nexperiment.Experiment.model = @os.getcwd", "os"),
    ("from tests import toy\n", "tests.toy"),
    ("import tfvit.storage.files\n", "tfvit.storage.files"),
    ("from tfvit.engine import writers\n"
     "experiment.Experiment.model = @writers.os.getcwd", "writers.os.getcwd"),
    ("from tfvit.engine import writers\nwriters.os.system.command = 'x'",
     "writers.os.system"),
    ("from tfvit.engine import lock as l\nexperiment.Experiment.model = @l.os",
     "@l.os"),
    ("a/b/writers.json.dumps.obj = 1", "a/b/writers.json.dumps"),
    ("experiment.Experiment.actions = [(1, @x/subprocess.run())]",
     "x/subprocess.run"),
    ("MACRO = @evil.thing", "evil.thing"),
    ("include '/tmp/x.gin'", "include '/tmp/x.gin'"),
    ("experiment.Experiment.model = (\n  @os.\n  getcwd)", "@os"),
])
def test_what_is_not_ours_is_refused_by_name(text, named, tmp_path):
    path = tmp_path / "config.gin"
    path.write_text(HEAD + text)
    with pytest.raises(ValueError) as error:
        experiment.of_run(str(tmp_path))
    said = str(error.value).replace("says @", "says ")
    assert said.startswith(f"{path} says {named.lstrip('@')}")
    assert said.endswith("add --trust.")


def test_a_run_with_an_action_of_ones_own_is_read_if_told_so(tmp_path,
                                                              monkeypatch):
    (tmp_path / "mine_trust.py").write_text("def action():\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = config.parse([os.path.join(config.ROOT, "gin/digits.gin")])
    (tmp_path / "config.gin").write_text(
        text.replace(HEAD, HEAD + "import mine_trust\n") +
        "\nexperiment.Experiment.actions = [(250, @mine_trust.action)]\n")
    with pytest.raises(ValueError, match="mine_trust"):
        experiment.of_run(str(tmp_path))
    exp, _ = experiment.of_run(str(tmp_path), trust=True)
    assert exp.actions[0][0] == 250

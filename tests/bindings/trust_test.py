"""A run's directory from elsewhere runs tfvit's own functions, or nothing."""

import glob
import os
import re

import pytest

from tfvit import config
from tfvit import experiment
from tfvit.bindings import trust
from tfvit.data.preparation import data_gin

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


def test_all_data_that_is_offered_needs_no_trust():
    names = sorted(glob.glob(os.path.join(config.ROOT, "gin/data/*.gin")))
    assert len(names) > 15
    for name in names:
        text = config.parse([os.path.join(config.ROOT, "gin/base.gin"), name], [
            f"{macro} = 'x'" for macro in re.findall(r"%([A-Z_]+)", open(
                name, encoding="utf-8").read())])
        trust.check(text, "config.gin")
    trust.check(data_gin.text("/x", ["train", "val"], "ab", {
        "keep": "sides", "area_min": 50, "channels": 1}), "data.gin")


@pytest.mark.parametrize("text, named", [
    ("import os\nexperiment.Experiment.model = @os.getcwd", "os"),
    ("from tests import toy\n", "tests.toy"),
    ("import tfvit.storage.files\n", "tfvit.storage.files"),
    ("from tfvit.engine import writers\n"
     "experiment.Experiment.model = @writers.os.getcwd", "writers.os.getcwd"),
    ("from tfvit.engine import writers\nwriters.os.system.command = 'x'",
     "writers.os.system"),
    ("from tfvit.engine import lock as l\nexperiment.Experiment.model = @l.os",
     "tfvit.engine.lock (imported as l)"),
    ("a/b/writers.json.dumps.obj = 1", "a/b/writers.json.dumps"),
    ("experiment.Experiment.actions = [(1, @x/subprocess.run())]",
     "x/subprocess.run"),
    ("MACRO = @evil.thing", "evil.thing"),
    ("include '/tmp/x.gin'", "include '/tmp/x.gin'"),
    ("experiment.Experiment.model = (\n  @os.\n  getcwd)", "@os"),
    # What is tfvit's own, and not meant to be configured.
    ("from tfvit.engine import checkpoint_file\n"
     "experiment.Experiment.on_nan = @checkpoint_file.tidy_up()\n"
     "checkpoint_file.tidy_up.folder = 'VICTIM'", "tfvit.engine.checkpoint_f"),
    ("from tfvit.data import class_names\n"
     "experiment.Experiment.on_nan = @class_names.write()\n"
     "class_names.write.path = 'VICTIM/a'\nclass_names.write.names = ['x']",
     "tfvit.data.class_names"),
    ("experiment.Experiment.model = @class_names.write", "class_names.write"),
    ("from tfvit.weights import load\nload.to_npz.path = 'VICTIM/a'\n"
     "experiment.Experiment.init = @load.to_npz", "load.to_npz"),
    ("experiment.Experiment.on_nan = @run_config.save()\n"
     "run_config.save.workdir = 'VICTIM'", "run_config.save"),
    ("experiment.Experiment.on_nan = @lock.take()\n"
     "lock.take.workdir = 'VICTIM'", "lock.take"),
    ("from tfvit.engine import writers\n"
     "experiment.Experiment.on_nan = @writers.Csv()\n"
     "writers.Csv.workdir = 'VICTIM'", "writers.Csv.workdir"),
    ("from tfvit.engine import writers\n"
     "experiment.Experiment.on_nan = @writers._Lines", "writers._Lines"),
    ("from tfvit.engine import checkpoint\n"
     "experiment.Experiment.init = @checkpoint.Checkpoints",
     "checkpoint.Checkpoints"),
    # What a reader of lines overlooks.
    ("import gin\nexperiment.Experiment.on_nan = @gin.parse_config()", "gin"),
    ("import ginevil", "ginevil"),
    ("import os as vit\nfrom tfvit.models import vit", "os (imported as vit)"),
    ("from tfvit.models import mixer as vit\nfrom tfvit.models import vit",
     "tfvit.models.vit (imported as vit)"),
    ('A = ["""\n#""", @os.getcwd()]', "'\"\"\""),
    ('A = ["""a"b""", @os.getcwd(), "x"]', "'\"\"\""),
    ("A = ['a\\\n#', @os.getcwd()]", '"\'a'),
    ("A = @ os.getcwd()", "an @ without a name"),
    ("A = 1  # \x0cimport os", "'\\x0c'"),
])
def test_what_is_not_ours_is_refused_by_name(text, named, tmp_path):
    path, victim = tmp_path / "config.gin", tmp_path / "victim"
    victim.mkdir()
    (victim / "ckpt-1.tmp").write_text("kept")
    path.write_text(HEAD + text.replace("VICTIM", str(victim)))
    with pytest.raises(ValueError) as error:
        experiment.of_run(str(tmp_path))
    said = str(error.value).replace("says @", "says ")
    assert said.startswith(f"{path} says {named.lstrip('@')}")
    assert said.endswith("add --trust.")
    assert [file.read_text() for file in victim.iterdir()] == ["kept"]


@pytest.mark.parametrize("content, why", [
    (b"", "it has no experiment.Experiment.model"),
    (b"\xff\x00\x93", "it is no text in UTF-8"),
    (HEAD.encode() + b"a.b.c = [1,", "EOF in multi-line statement"),
    (HEAD.encode() + b"experiment.Experiment.model =", "it says 'experiment."),
    (HEAD.encode() + b"experiment.Experiment.model = @vi", "it "),
    (HEAD.encode() + b"experiment.Experiment.model = @vit.vi", "it "),
    (HEAD.encode() + b"experiment.Exper", "it says 'experiment.Exper'"),
])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_damaged_config_is_told(content, why, trusted, tmp_path):
    (tmp_path / "config.gin").write_bytes(content)
    with pytest.raises(ValueError) as error:
        experiment.of_run(str(tmp_path), trust=trusted)
    assert str(error.value).startswith(
        f"{tmp_path}/config.gin is damaged, or is not the config of a run of "
        f"tfvit.train: {why}")



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

"""What of a config may change in a run that has begun."""

import re

import pytest

from tfvit import config
from tfvit.engine import run_changes

OLD = """
# Macros:
FOLDER = '/data/flowers'
STEPS = 100
NAME = 'cifar10'
experiment.Experiment.total_steps = %STEPS
experiment.Experiment.frozen = 'img/.*'
experiment.Experiment.actions = \\
    [(5, @actions.early_stopping)]
actions.early_stopping.patience = 2
schedules.cosine.warmup_steps = 5
train/sources.folder.path = %FOLDER
sources.folder.split = 'train'
sources.tfds.name = %NAME
sources.tfds.data_dir = None
captions.table.path = '/data/captions.csv'
tokenizers.wordpiece.vocab = 'lit/LiT-B16B_2.txt'
load.from_npz.path = '/weights/b16.npz'
"""


def change(before, after):
    assert before in OLD
    return run_changes.check(OLD, OLD.replace(before, after), "run/config.gin")


@pytest.mark.parametrize("before, after, name", [
    ("'/data/flowers'", "'gs://bucket/f2'", "FOLDER"),
    ("path = %FOLDER", "path = '/elsewhere'", "train/sources.folder.path"),
    ("data_dir = None", "data_dir = '/tfds'", "sources.tfds.data_dir"),
    ("/data/captions", "/disk/texts", "captions.table.path"),
    # A file that is held against nothing must keep its name.
    ("lit/LiT", "/home/LiT", "tokenizers.wordpiece.vocab"),
    ("/weights/", "~/", "load.from_npz.path"),
    ("2\\nschedules", "2\\ndecode.ops.skip_corrupt = True\\nschedules",
     "decode.ops.skip_corrupt"),
])
def test_where_things_lie_may_change(before, after, name):
    before, after = (text.replace("\\n", "\n") for text in (before, after))
    assert list(change(before, after)) == [name]


@pytest.mark.parametrize("before, after, said", [
    ("'cifar10'", "'cifar100'",
     "-NAME = 'cifar10'\n+NAME = 'cifar100'\nTo con"),
    ("'img/.*'", "'txt/.*'", "-experiment.Experiment.frozen = 'img/.*'\n+"),
    ("split = 'train'", "split = 'test'", "+sources.folder.split = 'test'\n"),
    ("B_2", "B", "+tokenizers.wordpiece.vocab = 'lit/LiT-B16B.txt'\n"),
    ("b16.npz", "l16.npz", "-load.from_npz.path = '/weights/b16.npz'\n+"),
    ("= 100", "= 200", "-STEPS = 100\n+STEPS = 200\nTo continue that run, take "
     "the change back or add --extend; to start another one, choose a new "),
    ("patience = 2", "patience = 9", "add --extend"),
    ("5, @actions", "9, @actions", "add --extend"),
])
def test_what_the_run_is_may_not(before, after, said):
    with pytest.raises(ValueError, match="(?s)^This run's config differs from "
                       f"the one in run/config.gin .*{re.escape(said)}"):
        change(before, after)


def test_extending_changes_the_length_and_nothing_that_was_learned():
    longer = OLD.replace("= 100", "= 200").replace("patience = 2",
                                                   "patience = 9")
    assert list(run_changes.check(OLD, longer, "run/config.gin", extends=True)
               ) == ["STEPS", "actions.early_stopping.patience"]
    # The warm-up would have been another.
    both = OLD.replace("warmup_steps = 5", "warmup_steps = %STEPS")
    for new in (longer.replace("warmup_steps = 5", "warmup_steps = 9"),
                both.replace("= 100", "= 200")):
        with pytest.raises(ValueError, match="(?s)cosine.warmup_steps.*take .*"
                           "from_run.path = 'run' it begins with") as error:
            run_changes.check(OLD, new, "run/config.gin", extends=True)
        assert "add --extend" not in str(error.value)
    with pytest.raises(ValueError, match="STEPS = 100\n.STEPS = 200\nTo conti"):
        run_changes.check(both, both.replace("= 100", "= 200"),
                          "run/config.gin", extends=True)


def test_a_run_that_is_only_longer_is_told_how():
    old = OLD.replace("%STEPS", "100")
    new = old.replace("total_steps = 100", "total_steps = 310")
    new = new.replace("warmup_steps = 5", "warmup_steps = 31")
    with pytest.raises(ValueError) as error:
        run_changes.check(old, new, "a run/config.gin")
    assert str(error.value).endswith(
        "To make it longer: python -m tfvit.train --gin_file='a run/config.gin'"
        " --workdir='a run' --extend=stretch "
        '--gin_bindings="experiment.Experiment.total_steps = 310"')
    for text in (new.replace("img/", "txt/"),
                 new.replace("steps = 310", "steps = 31")):
        with pytest.raises(ValueError) as error:
            run_changes.check(old, text, "run/config.gin")
        assert "longer" not in str(error.value)


@pytest.mark.parametrize("file, bindings, expected", [
    ("gin/folder.gin", ["FOLDER = '/data/a'", "NUM_CLASSES = 3"],
     {"FOLDER": "'/data/a'"}),
    ("gin/b16_cifar10.gin", ["DATA_DIR = '/tfds'"], {"DATA_DIR": "'/tfds'"}),
    ("gin/b16_cifar10.gin", [], {}),
    ("gin/digits.gin", [], {}),
])
def test_places_are_found_in_the_gin_files(file, bindings, expected):
    assert run_changes.places(config.parse([file], bindings)) == expected


def test_values_are_read_through_macros():
    assert run_changes.literal(OLD, "experiment.Experiment.total_steps") == 100
    assert run_changes.literal(OLD, "experiment.Experiment.actions") is None
    assert run_changes.literal(OLD, "no.such.thing") is None

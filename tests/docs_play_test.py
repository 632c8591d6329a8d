"""The pages' commands on digits and on a folder of photos, as they stand there.

One after the other in one process, with fewer steps. Those that download, wait
for requests or only measure time are run by the tests of what they show.
"""

import os
import re

import numpy as np
from PIL import Image
import pytest

from tests import docs_test
from tests import words_test
from tests.finetuning import photos

SHORT = ["experiment.Experiment.total_steps = 12",
         "experiment.Experiment.log_every = 2",
         "experiment.Experiment.eval_every = 4",
         "experiment.Experiment.checkpoint_every = 4",
         "schedules.cosine.warmup_steps = 2"]
ELSEWHERE = re.compile(
    r"b16|B_?16|b32|lit|LiT|imagenet|coco|cifar|AUGREG|gs://|\b(serve|demo|"
    r"decode_worker|reproduce)\b|bench|seed0|_parquet|_disk|photos-{|hf:|"
    r"end_to_end|"
    r"beside_keras|grid=|augreg --where|records|sweep_lr|gin/folder.gin|aug_light1")
BEFORE = [["train", "--gin_file=gin/digits.gin"]]  # What they start from.


def play():
    """The commands that can be run here, [[word, ...], ...]."""
    found = list(BEFORE)
    for _, (command, *words) in docs_test.COMMANDS:
        words = [command.split(".")[-1], *words]
        if not ELSEWHERE.search(" ".join(words)) and words not in found:
            found.append(words)
    # What is made of a run comes after the run, a run after its data.
    return sorted(found, key=lambda words: (
        words not in BEFORE, words[0] != "prepare",
        words[0] not in ("finetune", "train")))


def changed(words):
    """A command with less to do, on the data of this test."""
    text = re.sub(r"(?<=[\0='])/data/", "", "\0".join(words))
    text = text.replace("total_steps = 1000", "total_steps = 16")
    text = text.replace("(250,", "(4,")
    words = text.split("\0")
    bindings = "".join(words)
    if words[0] == "train" and "finetune.gin" not in bindings:
        words += [f"--gin_bindings={line}" for line in SHORT
                  if line.split(" = ")[0] not in bindings]
    if words[0] == "finetune":
        words += [flag for flag in ("--model=tiny", "--from=none", "--epochs=2",
                                    "--image_size=16")
                  if not any(word.split("=")[0] == flag.split("=")[0]
                             for word in words)]
        if any(word.startswith("--from=runs") for word in words):
            words.remove("--model=tiny")
    if "runs/*" in words:
        at = words.index("runs/*")
        words[at:at + 1] = ["runs/digits", "runs/digits_mixed"]
    return words


@pytest.mark.slow
def test_commands_of_the_pages_run_one_after_the_other(tmp_path):
    photos.draw(tmp_path / "flowers", 12)
    (tmp_path / "photos").mkdir()
    photo = Image.fromarray(np.full([40, 60, 3], 99, np.uint8))
    for name in ("photo.jpg", "photos/a.jpg"):
        photo.save(tmp_path / name)
    commands = [changed(words) for words in play()]
    assert len(commands) > 25
    modules = words_test.COMMANDS
    done = words_test.run_all(
        [(modules[command][0], words) for command, *words in commands],
        cwd=tmp_path)
    for words, (code, _, stderr, _) in zip(commands, done):
        assert code == 0, (" ".join(words), stderr)
        assert "Traceback" not in stderr
    assert len(done) == len(commands)
    for made in ("curves.png", "results.html", "digits.npz", "average.npz",
                 "look/filters.png", "runs/flowers/report/index.html",
                 "runs/digits/report/test/per_class.csv", "sharpness.png",
                 "flowers.png"):
        assert os.path.getsize(tmp_path / made), made

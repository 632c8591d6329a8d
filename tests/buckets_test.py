"""All that commands read and write may lie in a bucket; here in memory.

ram:// is TensorFlow's file system that lives as long as the process does, so
all commands run in one.
"""

import json

import numpy as np
from PIL import Image
import pytest

from tests import words_test
from tests.finetuning import photos

SHORT = [f"--gin_bindings={line}" for line in (
    "experiment.Experiment.total_steps = 4",
    "experiment.Experiment.log_every = 2",
    "experiment.Experiment.eval_every = 4",
    "experiment.Experiment.checkpoint_every = 2",
    "schedules.cosine.warmup_steps = 1")]
RUN, OTHER = "ram://bucket/runs/digits", "ram://bucket/runs/other"
COMMANDS = [
    ["train", "--gin_file=gin/digits.gin", f"--workdir={RUN}", *SHORT],
    ["train", "--gin_file=gin/digits.gin", f"--workdir={RUN}", *SHORT],
    ["train", f"--gin_file={RUN}/config.gin", f"--workdir={OTHER}",
     "--gin_bindings=experiment.Experiment.seed = 1"],
    ["evaluate", f"--workdir={RUN}", "--report=ram://bucket/report"],
    ["predict", "{photo}", f"--model={RUN}", "--features=ram://bucket/f.npy",
     "--sheet=ram://bucket/sheet.png"],
    ["export", f"--workdir={RUN}", "--out={exports}"],
    ["predict", "{photo}", "--model={exports}"],
    ["attention", "{photo}", f"--model={RUN}", "--out=ram://bucket/look"],
    ["results", "ram://bucket/runs", "--png=ram://bucket/curves.png",
     "--html=ram://bucket/results.html"],
    ["export_npz", f"--workdir={RUN}", "--output=ram://bucket/x.npz"],
    ["average", RUN, "--last=2", "--out=ram://bucket/average.npz"],
    ["sharpness", RUN, "--examples=8", "--batch=8", "--png=ram://bucket/s.png"],
    ["check_data", f"--gin_file={RUN}/config.gin",
     "--report=ram://bucket/check.json",
     "--contact_sheet=ram://bucket/contact.png"],
    ["prepare", f"{RUN}/config.gin", "--out=ram://bucket/records"],
    ["finetune", "{folder}", "--model=tiny", "--from=none", "--image_size=16",
     "--epochs=1", "--out=ram://bucket/runs/photos"],
]
MADE = ["report/index.html", "f.npy", "sheet.png", "look/filters.png",
        "curves.png", "results.html", "x.npz", "x.json", "average.npz", "s.png",
        "check.json", "contact.png", "records/data.gin",
        "runs/photos/config.gin", "runs/photos/finetune.gin"]
LIST = f"""
import tensorflow as tf
for name in {MADE!r}:
    assert tf.io.gfile.stat("ram://bucket/" + name).length, name
"""


@pytest.mark.slow
def test_every_command_works_on_a_bucket(tmp_path):
    folder = photos.draw(tmp_path / "shapes", 10)
    photo = tmp_path / "photo.png"
    Image.fromarray(np.full([16, 16, 3], 99, np.uint8)).save(photo)
    (tmp_path / "made.py").write_text(LIST)
    commands = []
    for command, *words in COMMANDS:
        # ram:// cannot rename folders, as buckets and disks can.
        words = [word.format(photo=photo, folder=folder,
                             exports=tmp_path / "exports") for word in words]
        commands.append((words_test.COMMANDS[command][0], words))
    done = words_test.run_all([*commands, ("made", [])], path=tmp_path)
    for command, (code, _, stderr, _) in zip([*commands, "made"], done):
        assert code == 0, (command, stderr)
    evaluated = json.loads(done[3][1].splitlines()[-1])
    assert evaluated["step"] == 4 and evaluated["test/examples"] == 359
    assert "other" in done[8][1] and "digits" in done[8][1]

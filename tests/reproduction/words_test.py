"""What `tfvit reproduce` says of flags and files that cannot be meant so."""

import json
import subprocess
import sys

import pytest

from tfvit import config
from tfvit.reproduction import commands
from tfvit.reproduction import ledger
from tfvit.reproduction import records
from tfvit.reproduction import verdicts

ROWS = {row.id: row for row in ledger.rows()}
RECORD = {"id": "vit-b16", "metric": "accuracy", "expected": 0.8412,
          "tolerance": 0.003, "verdict": "reproduced", "command": "tfvit"}


def said(*flags):
    """The end of what a command says that must not begin."""
    done = subprocess.run([sys.executable, "-m", "tfvit.reproduce", *flags],
                          cwd=config.ROOT, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1 and not done.stdout
    return done.stderr.splitlines()[-1]


def test_folders_must_be_some():
    assert said("--only=vit-b16", "--out=gs://mine/numbers") == (
        "Error: --out=gs://mine/numbers must be a folder of this machine: copy "
        "it afterwards.")
    assert said("--only=vit-b16", "--data_dir=README.md") == (
        "Error: --data_dir=README.md is a file: name the folder that TFDS's "
        "datasets lie in.")


def test_images_are_none_of_training():
    assert said("--train=train-digits", "--images=9").startswith(
        "Error: --images is of rows of weights: ")


def test_a_file_of_records_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / records.NAME).mkdir()
    assert said("--only=vit-b16", f"--out={tmp_path}") == (
        f"Error: {tmp_path}/reproduce.jsonl cannot be read: Is a directory. "
        "Choose another --out.")


@pytest.mark.parametrize("line, why", [
    (b"\xff\xfe", "decode"), (b"", "Expecting value"), (b"[1]", "no object"),
    (b'{"step": 3}', "it has no 'id'"),
    *((json.dumps({k: v for k, v in RECORD.items() if k != key}).encode(),
       f"it has no '{key}'") for key in ("metric", "command", "verdict")),
    (json.dumps({**RECORD, "verdict": "great"}).encode(),
     "'great' is no verdict")])
def test_lines_that_are_no_records_are_named(tmp_path, line, why):
    path = tmp_path / records.NAME
    path.write_bytes(json.dumps(RECORD).encode() + b"\n" + line + b"\n")
    with pytest.raises(ValueError, match=f"line 2, is no .*{why}.*: delete the "
                       "line, or choose another --out."):
        records.read(str(path))


@pytest.mark.parametrize("name, images, part", [
    ("lit-l16l-pets", 3668, 3668), ("lit-l16l-pets", 3669, None),
    ("lit-l16l-coco-img2txt", 5000, None), ("lit-l16l-pets", None, None),
    ("vit-b16", 10_000, 10_000), ("train-digits", 9, None)])
def test_a_split_of_no_more_images_is_the_whole(name, images, part):
    row = ROWS[name]
    assert commands.part_of(row, images) == part
    found = commands.text(row, "out", images=images)
    assert (found == commands.text(row, "out")) == (part is None)
    if not name.startswith("train"):
        metrics = {row.metric: row.expected, "examples": part or row.examples}
        record = records.made(row, "out", {"images": images}, measured={
            "metrics": metrics, "seconds": 1.0, "device": "CPU"})
        assert record["images"] == part
        assert record["verdict"] == (
            verdicts.SO_FAR if part else verdicts.REPRODUCED)

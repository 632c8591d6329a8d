"""Files that mean harm cost little more than good ones; hostile.py tries more."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def tried(*words):
    """What hostile.py found, for each recipe."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.serving.hostile", *words], cwd=ROOT,
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_bombs_take_little_more_than_a_good_file():
    (found,) = tried("--gin=published", "--lies=100", *(
        f"--bombs={name}" for name in (
            "jpeg turned", "jpeg progressive cmyk", "jpeg 100 scans of 1/1",
            "png 16", "png zTXt 7900000", "gif on a canvas", "webp alpha")))
    assert found["files"] == 214 and 50 < found["refused"] < 200
    # The address space ends 300 MB above, where TensorFlow would fail.
    assert 100 < found["MB"][0] <= 300, found
    assert found["seconds"][0] <= 2, found  # 1 where nothing else runs.


@pytest.mark.slow
def test_every_recipe_withstands_bombs_and_lies():
    found = tried("--lies=500")
    assert any("resize_small" in row["ops"] for row in found)
    for row in found:
        assert row["files"] > 1000, row
        assert row["MB"][0] <= 300 and row["seconds"][0] <= 2, row

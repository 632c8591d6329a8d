"""tools.bench_input as a user runs it, with few and small photos."""

import re
import subprocess
import sys

import numpy as np

from tfvit import config

ROOT = config.ROOT


def test_every_way_is_timed_and_compared():
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench_input", "--photos=200x150",
         "--count=40", "--sizes=32", "--rounds=2"],
        cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"200x150: 40 photos, \d+ kB on average", done.stdout)
    rows = re.findall(r"200x150 to 32, (\w+) +([\d.]+) images/s +"
                      r"([\d.]+) x whole +([\d.]+) x decode", done.stdout)
    rates = {name: float(rate) for name, rate, *_ in rows}
    assert rates.keys() == {"whole", "part", "scaled", "decode"}
    for name, rate, whole, decode in rows:
        for multiple, base in ((whole, "whole"), (decode, "decode")):
            np.testing.assert_allclose(float(multiple),
                                       float(rate) / rates[base], atol=0.02)

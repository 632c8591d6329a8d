"""The benchmark of the server, on a small model."""

import json
import subprocess
import sys

import pytest

from tfvit import config
from tfvit.models import vit
from tfvit.weights import load


@pytest.mark.slow
def test_both_servers_are_started_asked_and_measured(tmp_path):
    # Ti/16, the smallest whose arrays say what they are.
    model = vit.vit(num_classes=10, image_size=32, patch_size=16, width=192,
                    depth=12, num_heads=3, mlp_dim=768)
    load.to_npz(model, str(tmp_path / "a.npz"))
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench_serving",
         f"--model={tmp_path}/a.npz", "--servers=flask,float32", "--clients=3",
         "--seconds=0.5", "--rounds=2"],
        cwd=config.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["server"] for report in reports] == ["flask", "float32"]
    for report in reports:
        assert report["errors"] == {} and report["requests"] > 0
        assert 0 < report["p50_ms"] <= report["p99_ms"]

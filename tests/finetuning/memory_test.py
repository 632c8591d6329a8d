"""Batches are divided until they fit."""

import pytest
import tensorflow as tf

from tfvit.finetuning import memory
from tfvit.storage import ram

MIB = 2**20


@pytest.mark.parametrize("limit, parts, needed", [
    (None, 1, 1_110),  # Nobody knows: all at once.
    (10_000, 1, 1_110),
    (1_388, 1, 1_110),  # 80 % of it are 1,110.4.
    (1_387, 2, 620),  # 100 + 2 * 10 of gradients + 1,000 / 2.
    (300, 16, 182),  # 8 parts need 245, more than 240.
    (1, 64, 100 + 20 + 1_000 // 64),  # As small as it gets.
])
def test_as_few_parts_as_fit(limit, parts, needed):
    found = memory.accumulation(64, 1, fixed=100, activations=1_000,
                                gradients=10, limit=limit)
    assert found == (parts, needed)


def test_each_replica_has_its_share():
    # 12 images on 2 replicas: parts of 6, 3, 2 or 1 images.
    assert memory.accumulation(12, 2, fixed=0, activations=60, gradients=0,
                               limit=30)[0] == 3


def test_replicas_of_one_machine_share_it(monkeypatch):
    monkeypatch.setattr(ram, "free", lambda: 900)
    assert memory.available(tf.distribute.OneDeviceStrategy("CPU:0")) == 900
    assert memory.available(
        tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])) == 450


def test_the_gpu_with_least_decides(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '%s\\n' 80000 512\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert memory._of_gpus() == 512 * MIB
    tool.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory._of_gpus() is None

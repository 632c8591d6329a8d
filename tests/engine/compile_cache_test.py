"""What XLA compiled is read by the next run, and never in its way."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.engine import resume_test
from tfvit import config
from tfvit.engine import compile_cache
from tfvit.storage import compiled

ROOT = pathlib.Path(config.ROOT)
FLAG = compiled.FLAG


@pytest.fixture(name="root")
def fixture_root(tmp_path, monkeypatch):
    """Of the cache, for a process that has not begun with it."""
    monkeypatch.setattr(compile_cache, "_folder", None)
    monkeypatch.setenv("TFVIT_CACHE", str(tmp_path))
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    monkeypatch.delenv(compiled.OFF, raising=False)
    return tmp_path / "compiled"


def entry(*lengths):
    """The bytes of a message whose fields 1, 2, ... have these lengths."""
    message = b""
    for number, length in enumerate(lengths, 1):
        size, rest = b"", length
        while rest > 127:
            size, rest = size + bytes([rest & 127 | 128]), rest >> 7
        message += bytes([number << 3 | 2]) + size + bytes([rest])
        message += b"x" * length
    return message


def test_tensorflow_is_told_where_and_nothing_is_written_yet(root):
    compile_cache.set_up()
    flag = os.environ["TF_XLA_FLAGS"].split()[0]
    assert flag.startswith(f"{FLAG}{root}/tensorflow-2.20")
    assert not root.exists() and compile_cache.entries() == 0


@pytest.mark.parametrize("name, value", [
    ("TFVIT_XLA_CACHE", "0"), ("TF_XLA_FLAGS", f"{FLAG}"),
    ("TF_XLA_FLAGS", f"--tf_xla_auto_jit=0 {FLAG}/mine")])
def test_who_says_otherwise_is_obeyed(root, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    before = os.environ["TF_XLA_FLAGS"]
    compile_cache.set_up()
    assert os.environ["TF_XLA_FLAGS"] == before
    assert not root.exists()


def test_what_cannot_be_kept_is_said(root, caplog):
    caplog.set_level("INFO")
    root.write_text("a file in the way")
    compile_cache.set_up()
    assert FLAG not in os.environ["TF_XLA_FLAGS"]
    assert f"not kept in {root}: {root} cannot be written" in caplog.text
    assert compile_cache.entries() is None


def test_a_full_disk_is_spared(root, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(
        2**40, 2**40 - 2**20, 2**20))
    compile_cache.set_up()
    assert "its disk has only 1 MiB left" in caplog.text and not root.exists()


@pytest.mark.parametrize("change", [
    ("XLA_FLAGS", "--xla_cpu_enable_fast_math=true"),
    ("TF_XLA_FLAGS", "--tf_xla_auto_jit=1")])
def test_another_compiler_keeps_elsewhere(monkeypatch, change):
    monkeypatch.delenv(change[0], raising=False)
    before = compile_cache._key("")
    assert before == compile_cache._key("") != compile_cache._key("H100")
    monkeypatch.setenv(*change)
    assert compile_cache._key("") != before


def test_a_torn_entry_is_removed_at_whatever_byte(root):
    folder = root / "tensorflow-of-whichever-kind"
    folder.mkdir(parents=True)
    whole = entry(20, 300, 5)
    assert len(whole) == 2 + 20 + 3 + 300 + 2 + 5
    for size in range(len(whole)):
        (folder / f"{size}.pb").write_bytes(whole[:size])
    (folder / "zeros.pb").write_bytes(bytes(len(whole)))
    (folder / "whole.pb").write_bytes(whole)
    compile_cache._tidy(str(root))
    assert [path.name for path in folder.iterdir()] == ["whole.pb"]


def test_the_oldest_make_room(root, monkeypatch):
    monkeypatch.setattr(compile_cache, "_MOST", 700)
    for age, name in enumerate(("new", "old", "older")):
        path = root / name / "step.pb"
        path.parent.mkdir(parents=True)
        path.write_bytes(entry(20, 250, 5))
        os.utime(path, (10_000 - age, 10_000 - age))
    compile_cache._tidy(str(root))
    assert {path.parent.name for path in root.rglob("*.pb")} == {"new", "old"}


def test_names_are_the_same_whatever_came_before(root, monkeypatch):
    monkeypatch.setattr(compile_cache, "_folder", str(root))
    monkeypatch.setattr(compile_cache, "_BLOCK", 1000)
    found = []
    for came_before in 3, 700, 41:
        for _ in range(came_before):
            compile_cache.ops.uid()
        compile_cache.steady_names()
        found.append(compile_cache.ops.uid() % 1000)
    compile_cache.steady_names(variant=True)
    assert len({*found}) == 1
    assert compile_cache.ops.uid() % 1000 != found[0]


TRAIN = [sys.executable, "-m", "tfvit.train", "--gin_file=gin/digits.gin", *(
    f"--gin_bindings={binding}" for binding in (
        "experiment.Experiment.jit = True",
        "experiment.Experiment.total_steps = 20",
        "experiment.Experiment.batch_size = 16",
        "experiment.Experiment.log_every = 5",
        "experiment.Experiment.eval_every = 10",
        "experiment.Experiment.checkpoint_every = 10",
        "schedules.cosine.warmup_steps = 5",
        "vit.vit.width = 16", "vit.vit.depth = 1"))]


def _train(workdir, cache):
    """What a process logs that trains with this cache."""
    environment = {**os.environ, "TFVIT_CACHE": str(cache)}
    del environment["TFVIT_XLA_CACHE"]
    done = subprocess.run([*TRAIN, f"--workdir={workdir}"], cwd=ROOT,
                          env=environment, stderr=subprocess.PIPE, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert "text_format" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.slow
def test_a_start_reads_what_another_compiled_and_gets_the_same_bits(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert "(XLA's cache: cold)" in _train(first, tmp_path)
    kept = sorted((tmp_path / "compiled").rglob("*.pb"))
    assert len(kept) == 2  # The step and the evaluation.
    # One that goes on has read a checkpoint before, and traces the same.
    shutil.copytree(first, second)
    for path in second.glob("checkpoints/ckpt-20.*"):
        path.unlink()
    log = _train(second, tmp_path)
    assert "from step 10" in log and "(XLA's cache: warm)" in log
    assert sorted((tmp_path / "compiled").rglob("*.pb")) == kept
    assert resume_test.state(second, 20) == resume_test.state(first, 20)
    assert resume_test.metrics(second) == resume_test.metrics(first)
    # A power cut.
    for path in kept:
        path.write_bytes(path.read_bytes()[:-7])
    shutil.rmtree(second)
    log = _train(second, tmp_path)
    assert "which was not whole" in log and "(XLA's cache: cold)" in log
    assert resume_test.state(second, 20) == resume_test.state(first, 20)

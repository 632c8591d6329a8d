"""What a run says of the time until its first step."""

import re
import subprocess
import sys
import time

import pytest

from tests.engine import actions_test
from tfvit import trainer
from tfvit.engine import compile_cache
from tfvit.engine import start_up


def test_every_run_tells_its_parts_and_they_add_up(tmp_path, caplog):
    caplog.set_level("INFO")
    trainer.train(actions_test.EXPERIMENT, tmp_path)
    (line,) = [r.getMessage() for r in caplog.records
               if r.getMessage().startswith("First step after")]
    total = float(re.match(r"First step after ([\d.]+) s: ", line)[1])
    parts = dict(re.findall(r"(?:: |, )([a-z ]+) (\d+\.\d)", line))
    assert list(parts)[-5:] == ["model and evaluators", "weights", "data",
                                "tracing", "first step"]
    assert sum(map(float, parts.values())) == pytest.approx(total, abs=0.4)
    assert "cache" not in line  # XLA compiles nothing here.


def test_the_age_of_a_process_is_known():
    code = ("import time\nuntil = time.monotonic() + 0.3\n"
            "while time.monotonic() < until: pass\n"
            "from tfvit.engine import start_up; print(start_up._age())")
    since = time.monotonic()
    age = float(subprocess.run([sys.executable, "-c", code], check=True,
                               stdout=subprocess.PIPE).stdout)
    assert 0.3 <= age <= time.monotonic() - since + 0.1


def test_only_the_first_run_of_a_process_began_with_it():
    start_up.StartUp(counts_imports=True)
    assert not start_up.StartUp(counts_imports=True).seconds


@pytest.mark.parametrize("before, after, said", [
    (None, None, "off"), (0, 2, "cold"), (2, 2, "warm"), (2, 3, "cold"),
    (0, 0, "cold")])
def test_the_cache_is_warm_if_it_had_everything(monkeypatch, before, after,
                                                said):
    monkeypatch.setattr(compile_cache, "entries", lambda: before)
    begun = start_up.StartUp()
    monkeypatch.setattr(compile_cache, "entries", lambda: after)
    assert begun.cache() == said

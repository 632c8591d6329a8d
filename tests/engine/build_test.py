"""One place builds a run, so that what is timed is what trains."""

import ast
import dataclasses
import pathlib
import re

import gin
import numpy as np
import pytest

from tests import toy
from tfvit import benchmark
from tfvit import config
from tfvit import experiment
from tfvit import trainer
from tfvit.engine import build
from tfvit.engine import step

ROOT = pathlib.Path(config.ROOT)
PARTS = ("model", "optimizer", "objective", "strategy")


def test_nothing_else_makes_a_model_or_an_optimizer_of_an_experiment():
    """Calls such as exp.model(), of what is an experiment by its name."""
    places = {}
    for folder in ("tfvit", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(
                        node.func, ast.Attribute) and node.func.attr in PARTS:
                    owner = ast.unparse(node.func.value)
                    if owner.split(".")[-1] in ("exp", "experiment"):
                        places.setdefault(node.func.attr, set()).add(
                            str(path.relative_to(ROOT)))
    assert places == {part: {"tfvit/engine/build.py"} for part in PARTS}


@pytest.fixture(name="traced")
def fixture_traced(monkeypatch):
    """Texts of the train steps that are made, as graphs."""
    found = []

    def make(real=step.make_train_step, **arguments):
        train = real(**arguments)

        def call(iterator, n, stop=False):
            del stop
            graph = train.trace(iterator).graph.as_graph_def()
            # Functions are numbered through the process.
            found.append(sorted(re.sub(
                r'_\d+|"\d+"|CustomGradient-\d+', "", str(part)) for part in
                                [*graph.node, *graph.library.function]))
            raise StopIteration(n)

        call.trace = train.trace
        return call

    monkeypatch.setattr(build.step_lib, "make_train_step", make)
    return found


def test_benchmark_times_the_step_that_train_runs(tmp_path, traced):
    config.parse(["gin/digits.gin"], ["vit.vit.depth = 1"])
    exp = gin.get_configurable(experiment.Experiment)()
    for start in (lambda: trainer.train(exp, str(tmp_path)),
                  lambda: benchmark.measure(exp, steps=1, matmul=8)):
        with pytest.raises(StopIteration):
            start()
    train, timed = traced
    assert len(str(train)) > 100_000 and train == timed


def test_building_for_inference_leaves_random_numbers_alone():
    np.random.seed(3)
    expected = np.random.RandomState(3).rand()
    build.build(dataclasses.replace(toy.EXPERIMENT, seed=7), training=False)
    assert np.random.rand() == expected

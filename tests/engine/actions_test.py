"""What is done between updates: cadences, early stopping, one's own."""

import contextlib
import dataclasses
import functools
import http.server
import json
import pathlib
import re
import types

import gin
import pytest

from tests import local_server
from tests import toy
from tests.engine import resume_test
from tfvit import config
from tfvit import experiment
from tfvit import trainer
from tfvit.engine import actions
from tfvit.engine import checkpoint
from tfvit.engine import checkpoint_file
from tfvit.engine import dry_run
from tfvit.engine import stopping
from tfvit.engine import writers
from tfvit.evaluators import classification
from tfvit.evaluators import metrics
from tfvit.models import vit


class Scripted:
    """An evaluator that gives the next of its values at each run."""

    def __init__(self, values, metric, **_):
        self._values = iter(values)
        self._metric = metric

    def run(self, poll):
        poll()
        return {self._metric: next(self._values)}


def scripted(values, metric="loss"):
    return functools.partial(Scripted, values, metric)


def lines(workdir, metric):
    """[(step, value)] of metrics.jsonl."""
    found = map(json.loads,
                (workdir / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line[metric]) for line in found if metric in line]


EXPERIMENT = dataclasses.replace(
    toy.EXPERIMENT, log_every=1, eval_every=2, checkpoint_every=5,
    model=functools.partial(vit.vit, num_classes=toy.NUM_CLASSES, image_size=8,
                            patch_size=8, width=4, depth=1, num_heads=1,
                            mlp_dim=4))


def test_each_evaluator_has_its_own_cadence(tmp_path):
    exp = dataclasses.replace(
        EXPERIMENT, evaluator_every={"rare": 8}, evaluators={
            "often": scripted([.1] * 10), "rare": scripted([.2, .3, .4])})
    assert trainer.train(exp, tmp_path) == {"often": {"loss": .1},
                                            "rare": {"loss": .4}}
    assert [step for step, _ in lines(tmp_path, "often/loss")] == [
        2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert lines(tmp_path, "rare/loss") == [(8, .2), (16, .3), (20, .4)]


def test_an_evaluation_of_other_data_than_before_is_told(caplog):
    counts = iter([13, 13, 12])
    run = types.SimpleNamespace(
        state=types.SimpleNamespace(averaged=contextlib.nullcontext),
        evaluate=lambda *_: {"val/examples": next(counts)})
    values = {}
    training = types.SimpleNamespace(
        clock=types.SimpleNamespace(pause=lambda: None), run=run, step=5,
        poll=None, values=values, report=values.update, memory={"last": {}})
    for _ in range(2):
        actions.evaluate(training, {}, only=None)
    assert "other data" not in caplog.text
    actions.evaluate(training, {}, only=None)
    assert "val/examples is 12, and was 13" in caplog.text


@pytest.mark.parametrize("found, best", [
    ([(1.0, 2.0), (0.9, 0.1), (1.0, 0.5), (1.0, 0.7)], 3),
    ([(0.5, 1.0), (0.6, 9.0), (0.6, 9.0)], 2),
    ([(1.0, None), (1.0, 0.5)], 1)])
def test_of_equals_the_one_with_the_smaller_loss_is_kept(found, best):
    memory, saved = {}, []
    training = types.SimpleNamespace(
        values={}, measured={}, memory={},
        writers=types.SimpleNamespace(positions=dict),
        checkpoints=types.SimpleNamespace(save_best=lambda: saved.append(
            training.step)))
    for training.step, values in enumerate(found, 1):
        for name, value in zip(("val/accuracy", "val/loss"), values):
            if value is not None:
                training.values[name] = value
                training.measured[name] = training.step
        actions.keep_best(training, memory, metric="val/accuracy")
        memory = json.loads(json.dumps(memory))  # As a checkpoint holds it.
    assert saved[-1] == memory["step"] == best


def test_a_finished_run_is_told_and_compiles_nothing(tmp_path, caplog):
    caplog.set_level("INFO")
    exp = dataclasses.replace(EXPERIMENT, total_steps=4,
                              evaluators={"val": scripted([0.5, 0.25])})
    result = trainer.train(exp, tmp_path)
    assert "Compiling" in caplog.text
    caplog.clear()
    assert trainer.train(exp, tmp_path) == result == {"val": {"loss": 0.25}}
    assert "Compiling" not in caplog.text
    assert (f"{tmp_path} has all its 4 steps already; --extend makes it longer."
            in caplog.text)


def assert_nothing_is_left(exp, workdir, result):
    """A finished run, started again, evaluates and writes nothing."""
    before = (workdir / "metrics.jsonl").read_text()
    idle = dataclasses.replace(exp, evaluators=dict.fromkeys(
        exp.evaluators, scripted([])))
    assert str(trainer.train(idle, workdir)) == str(result)
    assert (workdir / "metrics.jsonl").read_text() == before


def stopping_early(values, metric="loss", **arguments):
    return dataclasses.replace(
        EXPERIMENT, evaluators={"val": scripted(values, metric),
                                "rare": scripted([5.0, 6.0])},
        evaluator_every={"rare": 20},
        actions=[(2, functools.partial(
            actions.early_stopping, metric=f"val/{metric}", **arguments))])


@pytest.mark.parametrize("values, arguments, end", [
    ([1.0, 0.9, 0.95, 0.91], {"patience": 2}, 8),
    ([1.0, 0.9, 0.89, 0.885], {"patience": 2, "min_delta": 0.02}, 8),
    ([1.0, float("nan"), float("nan")], {"patience": 2}, 6),
    ([float("nan")] * 3, {"patience": 3}, 6),
])
def test_early_stopping_ends_a_run_as_if_it_were_the_last_step(
        values, arguments, end, tmp_path):
    exp = stopping_early(values, **arguments)
    result = trainer.train(exp, tmp_path)
    assert checkpoint.steps(tmp_path)[-1] == end
    assert [step for step, _ in lines(tmp_path, "val/loss")][-1] == end
    # What is due at the end is done, too.
    assert lines(tmp_path, "rare/loss") == [(end, 5.0)]
    assert result["rare"] == {"loss": 5.0}
    assert_nothing_is_left(exp, tmp_path, result)


def test_early_stopping_of_an_accuracy_waits_for_a_larger_one(tmp_path):
    exp = stopping_early([.5, .6, .7, .65, .7, .6], "accuracy", patience=3)
    trainer.train(exp, tmp_path)
    assert checkpoint.steps(tmp_path)[-1] == 12


def test_early_stopping_that_cannot_work_says_so(tmp_path):
    with pytest.raises(ValueError, match="patience=0 must be a whole number"):
        actions.early_stopping(metric="val/loss", patience=0)
    exp = dataclasses.replace(stopping_early([1.0] * 10, patience=2), actions=[
        (2, functools.partial(actions.early_stopping, metric="val/accurcy",
                              patience=2))])
    with pytest.raises(ValueError, match="'val/accurcy' is not among the "
                       "metrics: val/loss"):
        trainer.train(exp, tmp_path)


class Named(Scripted):
    """One that says what it will report."""
    metric_names = ("accuracy", "loss")


def watching(knob, metric, evaluator=Named, **more):
    changes = {"best_metric": metric} if knob == "best_metric" else {
        "actions": [(2, functools.partial(actions.early_stopping,
                                          metric=metric, patience=2))]}
    return dataclasses.replace(EXPERIMENT, **changes, **more, evaluators={
        "val": functools.partial(evaluator, [.5] * 20, "accuracy"),
        "rare": functools.partial(evaluator, [.5] * 20, "accuracy")})


@pytest.mark.parametrize("run", [
    trainer.train, lambda exp, workdir: dry_run.report(exp, str(workdir))])
@pytest.mark.parametrize("knob, metric, meant", [
    ("best_metric", "val/accurcy", "val/accuracy"),
    ("best_metric", "val/los", "val/loss"),
    ("early_stopping", "val/Accuracy", "val/accuracy"),
    ("early_stopping", "vall/loss", "val/loss"),
    ("early_stopping", "accuracy", "val/accuracy"),
    ("early_stopping", "train/lossy", "train/loss"),
])
def test_a_misspelt_metric_is_known_before_training(run, knob, metric, meant,
                                                    tmp_path):
    with pytest.raises(ValueError, match=f"{knob}.*={metric!r} is not among "
                       f".* Did you mean {meant!r}"):
        run(watching(knob, metric), tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()
    assert not checkpoint.steps(tmp_path)


def test_metrics_of_training_and_of_ones_own_actions_can_be_watched(tmp_path):

    def reporting():
        return lambda training, memory: training.report({"mine/size": 3.0})

    exp = watching("early_stopping", "mine/size")
    other = watching("early_stopping", "train/grad_norm")
    exp = dataclasses.replace(
        exp, actions=[(2, reporting), *other.actions, *exp.actions])
    trainer.train(exp, tmp_path)
    assert checkpoint.steps(tmp_path)[-1] <= 6


def test_an_evaluator_that_does_not_say_is_checked_when_it_reports(tmp_path):
    exp = watching("best_metric", "val/accurcy", Scripted)
    with pytest.raises(ValueError, match="is not among the metrics: "
                       "val/accuracy. Did you mean 'val/accuracy'"):
        trainer.train(exp, tmp_path)
    assert lines(tmp_path, "val/accuracy") == [(2, .5)]


def test_a_run_that_is_stopped_remembers_how_patient_it_was(tmp_path):
    values = [1.0, 1.1, 1.2, 1.3]
    stop = stopping_early(values, patience=3)
    trainer.train(stop, tmp_path / "whole")
    assert checkpoint.steps(tmp_path / "whole")[-1] == 8

    class Preempted(Scripted):

        def run(self, poll):
            raise stopping.Preempted("now")

    first = dataclasses.replace(stop, evaluator_every={"rare": 5}, evaluators={
        "val": scripted(values[:2]),
        "rare": functools.partial(Preempted, [], "")})
    with pytest.raises(stopping.Preempted):
        trainer.train(first, tmp_path / "parts")
    assert checkpoint.steps(tmp_path / "parts")[-1] == 5
    trainer.train(stopping_early(values[2:], patience=3), tmp_path / "parts")
    assert resume_test.state(tmp_path / "parts", 8) == resume_test.state(
        tmp_path / "whole", 8)


def test_a_signal_during_the_last_evaluation_leaves_it_to_the_next_start(
        tmp_path):

    class Preempted(Scripted):

        def run(self, poll):
            raise stopping.Preempted("now")

    exp = dataclasses.replace(EXPERIMENT, eval_every=20, checkpoint_every=20,
                              evaluators={"val": scripted([0.25])})
    with pytest.raises(stopping.Preempted, match="Saved step 20"):
        trainer.train(dataclasses.replace(exp, evaluators={
            "val": functools.partial(Preempted, [], "")}), tmp_path)
    result = trainer.train(exp, tmp_path)
    assert result == {"val": {"loss": 0.25}}
    assert lines(tmp_path, "val/loss") == [(20, 0.25)]
    assert_nothing_is_left(exp, tmp_path, result)


def test_a_run_without_evaluators_ends(tmp_path):
    exp = dataclasses.replace(EXPERIMENT, evaluators={})
    assert trainer.train(exp, tmp_path) == {}
    assert checkpoint.steps(tmp_path)[-1] == 20


@pytest.mark.parametrize("steps", [1, 3])
def test_early_stopping_counts_evaluations_at_any_cadence(steps, tmp_path):
    exp = dataclasses.replace(
        stopping_early([1.0, 1.1, 1.2, 1.3, 1.4], patience=2), actions=[
            (steps, functools.partial(actions.early_stopping, patience=2,
                                      metric="val/loss"))])
    trainer.train(exp, tmp_path)
    assert checkpoint.steps(tmp_path)[-1] == {1: 6, 3: 9}[steps]


def test_what_an_earlier_version_remembered_is_understood():
    memory = {"logged": 5, "evaluated": 4, "metrics_bytes": 70,
              "best": {"value": 0.5, "step": 4}, "last": {"val/loss": 1.0},
              "window": {}}
    checkpoint_file.upgrade(memory)
    assert memory == {
        "done": {"log": 5, "evaluate": 4}, "writers": {"Jsonl": 70},
        "actions": {"keep_best": {"value": 0.5, "step": 4}},
        "last": {"val/loss": 1.0}, "window": {}}


class Listener(http.server.BaseHTTPRequestHandler):
    """Keeps the JSON of what is posted."""

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.server.posted.append(json.loads(self.rfile.read(length)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Says nothing."""


@pytest.mark.slow
def test_the_action_of_the_page_posts_and_stops(tmp_path, monkeypatch):
    page = (pathlib.Path(config.ROOT) / "tools/docs/train.md").read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page, re.M | re.S)
    (code,) = (block for block in blocks if "def post(" in block)
    (bindings,) = (block for block in blocks if "mine.post" in block)
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "mine.gin").write_text(bindings)
    monkeypatch.syspath_prepend(tmp_path)
    with local_server.answering(Listener, "localhost") as server:
        server.posted = []
        config.parse(["gin/digits.gin", str(tmp_path / "mine.gin")], [
            f"mine.post.url = 'http://localhost:{server.server_port}/'",
            "vit.vit.depth = 1", "vit.vit.width = 8"])
        exp = gin.get_configurable(experiment.Experiment)()
        accuracies = iter([0.5, 0.98, 0.99])
        monkeypatch.setattr(classification.Classification, "run", lambda *_:
                            {"accuracy": next(accuracies)})
        result = trainer.train(exp, str(tmp_path / "run"))
    assert result == {"test": {"accuracy": 0.98}}
    assert checkpoint.steps(tmp_path / "run") == [250, 500]
    assert [(p["step"], p["test/accuracy"]) for p in server.posted] == [
        (250, 0.5), (500, 0.98)]
    assert server.posted[0]["train/loss"] > 0


def test_a_run_reports_to_the_writers_it_lists(tmp_path):
    exp = dataclasses.replace(EXPERIMENT, writers=[writers.Csv])
    trainer.train(exp, tmp_path)
    assert "20,test/accuracy," in (tmp_path / "metrics.csv").read_text()
    assert not list(tmp_path.glob("events.*"))


@pytest.mark.parametrize("field, value, message", [
    ("evaluator_every", {"vl": 10}, "'vl' is no evaluator; there are: test"),
    ("evaluator_every", {"test": 7}, "'test'\\]=7 must be .*log_every=5"),
    ("actions", [10, max], "10 must be a pair"),
    ("actions", [(0, max)], "number of steps"),
    ("writers", ["csv"], "'csv' must be a class of engine.writers"),
])
def test_what_cannot_be_done_between_updates_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(toy.EXPERIMENT, **{field: value})


@pytest.mark.parametrize("metric, value, best, better", [
    ("val/loss", 1.0, 2.0, True), ("val/loss", 2.0, 1.0, False),
    ("val/accuracy", 2.0, 1.0, True), ("val/accuracy", 1.0, 1.0, False),
    ("val/xent", 0.5, 0.6, True), ("val/top1_error", 0.1, 0.2, True),
    ("val/accuracy", float("nan"), None, False),
    ("val/accuracy", 0.1, float("nan"), True),
    ("val/loss", float("nan"), 3.0, False), ("val/loss", 3.0, None, True),
    ("val/loss", float("inf"), None, False), ("val/accuracy", float("inf"), 1.0,
                                              False),
    ("loss_cases/accuracy", 0.5, 0.4, True), ("val/lossless", 0.5, 0.4, True),
    ("sharp/top_eigenvalue", 79.0, 23.0, False), ("val/NLL", 1.0, 2.0, True),
])
def test_which_value_is_better(metric, value, best, better):
    assert metrics.is_better(metric, value, best) is better

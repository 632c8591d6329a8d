"""--dry_run: sizes and costs against sums done by hand."""

import dataclasses
import functools
import pathlib

import pytest
import tensorflow as tf

from tests import toy
from tfvit.engine import cost
from tfvit.engine import dry_run

N, D, MLP, DEPTH = 5, 8, 16, 2  # Of the toy model: 2 x 2 patches and a token.


def load_nothing(model, *, path):
    del model, path
    raise AssertionError("A dry run loads nothing.")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Reports without and with rematerialisation, and the workdir."""
    workdir = tmp_path_factory.mktemp("dry")
    exp = dataclasses.replace(
        toy.EXPERIMENT, batch_size=8, ema_decay=0.9,
        init=functools.partial(load_nothing, path="x.npz"))
    remat = dataclasses.replace(
        exp, model=functools.partial(exp.model, remat=True))
    return *(dry_run.report(e, str(workdir)) for e in (exp, remat)), workdir


def test_a_dry_run_counts_parameters_and_work(reports):
    report, _, workdir = reports
    block = 4 * (D + 1) * D + (D + 1) * MLP + (MLP + 1) * D + 4 * D
    parameters = (DEPTH * block + (3 * 4 * 4 + 1) * D + D + N * D + 2 * D +
                  (D + 1) * toy.NUM_CLASSES)
    assert report["parameters"] == report["trained parameters"] == parameters
    assert report["memory of weights"] == 4 * parameters
    assert report["memory of moving averages"] == 4 * parameters
    assert report["memory of optimizer slots"] == 2 * parameters  # bfloat16.
    products = DEPTH * (N * (4 * D * D + 2 * D * MLP) + 2 * N * N * D)
    products += 4 * 48 * D + D * toy.NUM_CLASSES
    assert report["forward FLOPs per image"] == 2 * products
    assert report["training FLOPs per image"] == pytest.approx(6 * products)
    assert report["steps per epoch"] == 22 / 8
    assert report["starts from"] == "load_nothing(path='x.npz')"
    assert not list(pathlib.Path(workdir).iterdir())
    assert "parameters" in dry_run.table(report)


def test_rematerialisation_saves_memory_and_costs_a_forward_pass(reports):
    plain, remat, _ = reports
    assert (remat["memory of activations"] <
            0.75 * plain["memory of activations"])
    assert (1.2 < remat["training FLOPs per image"] /
            plain["training FLOPs per image"] < 1.35)


def test_a_checkpoint_is_what_would_be_loaded(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "ckpt-5.index").touch()
    start = dry_run._start(toy.EXPERIMENT, str(tmp_path))
    assert start == "this run's checkpoint of step 5"


def test_the_peak_is_what_lives_at_once():

    @tf.function
    def f(x):  # 400 bytes a tensor; of y, z and w never more than two live.
        y = tf.exp(x)
        z = tf.reshape(tf.exp(y), [10, 10])  # A view.
        return tf.exp(z)

    graph = f.get_concrete_function(tf.TensorSpec([100])).graph
    assert cost.peak_bytes(graph) == 800


def test_convolutions_are_counted():

    @tf.function
    def f(images, kernel):
        return tf.nn.conv2d(images, kernel, 2, "SAME")

    graph = f.get_concrete_function(tf.TensorSpec([2, 8, 8, 3]),
                                    tf.TensorSpec([3, 3, 3, 5])).graph
    assert cost.flops(graph) == 2 * 2 * 4 * 4 * 3 * 3 * 3 * 5

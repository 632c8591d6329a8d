"""Tests for adapt."""

import os

import numpy as np
from PIL import Image
import pytest

from tests import torch_judges
from tfvit.weights import adapt

GOLDENS = os.path.join(os.path.dirname(__file__), "..", "goldens")


@pytest.mark.parametrize("case", [
    "4_6_cls", "4_6_nocls", "14_24_cls", "24_14_cls", "7_12_cls", "12_7_nocls"
])
def test_position_embeddings_are_resized_as_in_the_original(case):
    golden = np.load(os.path.join(GOLDENS, "posemb.npz"))
    _, new, cls = case.split("_")
    result = adapt.resize_posemb(golden[f"{case}/in"],
                                 new_grid=(int(new), int(new)),
                                 has_cls_old=cls == "cls",
                                 has_cls_new=cls == "cls")
    np.testing.assert_allclose(result, golden[f"{case}/out"], atol=1e-6)
    assert result.dtype == np.float32


def test_grids_need_not_be_square():
    """A plane stays the same plane, with its corners where they were."""

    def plane(h, w):
        y, x = np.mgrid[:h, :w] / np.reshape([h - 1, w - 1], [2, 1, 1])
        return (2 * y - 3 * x).astype(np.float32).reshape(1, h * w, 1)

    result = adapt.resize_posemb(plane(2, 6),
                                 old_grid=(2, 6),
                                 new_grid=(5, 3),
                                 has_cls_old=False,
                                 has_cls_new=False)
    np.testing.assert_allclose(result, plane(5, 3), atol=1e-6)


@pytest.mark.parametrize("old, new, expected", [(True, True, [9, 1, 2, 3, 4]),
                                                (True, False, [1, 2, 3, 4]),
                                                (False, True, [0, 1, 2, 3, 4]),
                                                (False, False, [1, 2, 3, 4])])
def test_the_class_tokens_entry_is_kept_dropped_or_zero(old, new, expected):
    table = np.array([9, 1, 2, 3, 4], np.float32)[0 if old else 1:]
    result = adapt.resize_posemb(table[None, :, None],
                                 new_grid=(2, 2),
                                 has_cls_old=old,
                                 has_cls_new=new)
    np.testing.assert_array_equal(result[0, :, 0], expected)


@pytest.mark.parametrize("count, grid", [(6, None), (6, (2, 2)), (6, (6,))])
def test_a_wrong_grid_is_an_error_that_names_the_knob(count, grid):
    with pytest.raises(ValueError, match="6 position.*file_grid"):
        adapt.grid_of(count, grid)


@pytest.mark.parametrize("channels", [1, 6])
def test_other_channels_give_grey_images_the_same_response(channels):
    kernel = np.random.default_rng(0).normal(size=[2, 2, 3, 5])
    result = adapt.resize_channels(kernel, channels)
    assert result.shape == (2, 2, channels, 5)
    np.testing.assert_allclose(result.sum(2), kernel.sum(2), atol=1e-12)


def test_channels_repeat_in_turn():
    kernel = np.arange(3, dtype=np.float32).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(
        adapt.resize_channels(kernel, 4).ravel(),
        np.array([0, 1, 2, 0]) * 0.75)


@pytest.mark.parametrize("grid", torch_judges.GRIDS.values())
def test_antialiased_bicubic_is_pillows(grid):
    result = adapt.resize_posemb(
        torch_judges.table(), old_grid=(6, 7), method="bicubic_antialias",
        new_grid=grid, has_cls_old=False, has_cls_new=False)
    for i in range(3):
        image = Image.fromarray(torch_judges.table()[0, :, i].reshape(6, 7))
        expected = image.resize(grid[::-1], Image.Resampling.BICUBIC)
        np.testing.assert_allclose(result[0, :, i].reshape(grid), expected,
                                   atol=2e-6)


def test_bicubic_has_the_weights_of_pytorch():
    # Of a quarter of a pixel, with the slope -0.75; at the edge it is repeated.
    row = adapt._cubic(4, 8, -0.75)
    np.testing.assert_allclose(
        row[3], [-0.10546875, 0.87890625, 0.26171875, -0.03515625])
    np.testing.assert_allclose(row[7], [0, 0, -0.10546875, 1.10546875])


@pytest.mark.slow
@pytest.mark.skipif(not torch_judges.LIVE, reason="needs torch")
@pytest.mark.parametrize("method", ["bicubic", "bicubic_antialias"])
@pytest.mark.parametrize("grid", torch_judges.GRIDS.values())
def test_bicubic_is_pytorchs(method, grid):
    result = adapt.resize_posemb(
        torch_judges.table(), old_grid=(6, 7), method=method, new_grid=grid,
        has_cls_old=False, has_cls_new=False)
    np.testing.assert_allclose(
        result, torch_judges.resized(grid, method != "bicubic"), atol=2e-6)


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="posemb_method='cubic' is not one of"):
        adapt.resize_posemb(torch_judges.table(), new_grid=(2, 2),
                            old_grid=(6, 7), has_cls_old=False,
                            has_cls_new=False, method="cubic")

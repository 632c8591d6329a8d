"""Tests of the pictures."""

from numpy import testing
import numpy as np
from PIL import Image

from tfvit.inference import figures

RNG = np.random.default_rng(0)


def test_heat_brightens_where_it_is_high():
    heat = np.array([[0.0, 0.5], [0.0, 0.25]])
    drawn = figures.overlay(np.zeros([4, 6, 3]), heat)
    testing.assert_allclose(drawn[:2, 3:], 0.5)  # White-hot, half of it.
    testing.assert_allclose(drawn[:, :3], 0.0)
    testing.assert_allclose(drawn[2:, 3:], np.broadcast_to(
        [0.5, 0.25, 0.0], [2, 3, 3]))


def test_components_span_the_filters_in_order():
    directions = np.linalg.qr(RNG.normal(size=[12, 2]))[0]  # [p * q * c, 2]
    mix = np.linalg.qr(RNG.normal(size=[5, 2]))[0]
    kernel = (directions * [3.0, 1.0]) @ mix.T  # [12, D = 5]
    found = figures.components(kernel.reshape(2, 2, 3, 5), count=2)
    for component, direction in zip(found, directions.T):
        centred = component.ravel() - 0.5
        cosine = centred @ direction / np.linalg.norm(centred)
        testing.assert_allclose(abs(cosine), 1, atol=1e-6)
        testing.assert_allclose(np.abs(centred).max(), 0.5)


def test_similarity_is_the_cosine_at_its_place():
    table = RNG.normal(size=[6, 4])
    maps = figures.similarity(table, (2, 3))
    a, b = table[4], table[2]  # At (1, 1) and (0, 2).
    testing.assert_allclose(
        maps[1, 1, 0, 2], a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    picture = figures.mosaic(maps)
    assert picture.shape == (2 * 3, 3 * 4)
    testing.assert_allclose(picture[3:5, 4:7], maps[1, 1])
    assert np.isnan(picture[2]).all()


def test_a_sheet_shows_every_image(tmp_path):
    path = tmp_path / "sheet.png"
    colours = np.eye(3)[:, None, None] * np.ones([1, 8, 8, 1])
    figures.sheet(path, [*colours, None], ["r", "g", "b", "none"], columns=2)
    drawn = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    for colour in np.eye(3) * 255:
        assert (drawn == colour).all(axis=1).mean() > 0.1


def test_a_thumbnail_of_a_line_keeps_a_pixel_of_its_width():
    line = RNG.integers(0, 256, [1, 3_000, 3]).astype(np.uint8)
    small = figures.thumbnail(line, 100)
    means = line.reshape(1, 100, 30, 3).mean(axis=2)
    testing.assert_allclose(small, means, atol=1)
    assert small.dtype == np.uint8
    assert figures.thumbnail(line.transpose(1, 0, 2), 100).shape == (100, 1, 3)
    testing.assert_array_equal(figures.thumbnail(line[:, :9], 100), line[:, :9])

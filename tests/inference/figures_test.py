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


def test_formulas_and_signs_without_a_font_are_drawn_as_they_are(
        tmp_path, recwarn):
    plain, odd = tmp_path / "a.png", tmp_path / "b.png"
    image = np.full([4, 4, 1], 255, np.uint8)
    figures.sheet(plain, [image], ["x"])
    # As a formula the first would be none, and the last is of no script.
    figures.sheet(odd, [image], ["$\\frac$ 100 $ \U000fff00"])
    assert not [w for w in recwarn if "lyph" in str(w.message)]
    drawn = [np.asarray(Image.open(file).convert("L")) for file in (plain, odd)]
    assert drawn[0].shape == drawn[1].shape
    assert (drawn[1] < 128).sum() > (drawn[0] < 128).sum()


def test_what_no_font_has_is_known():
    assert figures.drawable(["rose", "\u00dcber \n", "\U000fff00 a"]) == [
        True, True, False]


def test_long_names_lose_their_middle():
    assert figures.shortened("a\n b", 5) == "a b"
    short = figures.shortened("IMG_2023_11_02_with_a_long_name_0012.jpg", 20)
    assert len(short) == 20
    assert short.startswith("IMG_2023_") and short.endswith("_0012.jpg")


def test_a_long_caption_is_broken_within_its_word(tmp_path):
    figures.sheet(tmp_path / "a.png", [np.ones([4, 4, 3])], ["x" * 100])
    figures.sheet(tmp_path / "b.png", [np.ones([4, 4, 3])], ["x"])
    long, short = (Image.open(tmp_path / f"{name}.png") for name in "ab")
    assert long.width == short.width and long.height > short.height
    # Nothing is cut off at the sides.
    dark = np.asarray(long.convert("L")) < 128
    assert not dark[:, :2].any() and not dark[:, -2:].any()

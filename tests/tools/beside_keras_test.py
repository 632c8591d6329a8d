"""One code trains our models and Keras' own."""

import numpy as np
import pytest

from tests.finetuning import photos
from tools import beside_keras


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos.draw(tmp_path_factory.mktemp("photos"), 12)


def test_both_take_the_same_images(folder):
    train, test, names = beside_keras.data(folder, 32)
    assert names == sorted(photos.CLASSES)
    images, labels = next(iter(train))
    assert images.shape == (29, 32, 32, 3) and labels.shape == (29,)
    assert -1 <= np.min(images) < np.max(images) <= 1
    assert next(iter(test))[1].shape == (7,)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
def test_both_are_trained_saved_and_loaded(folder):
    rows = beside_keras.compare(str(folder), name="tiny", image_size=32,
                                epochs=1)
    assert [row["model"] for row in rows] == ["tiny", "MobileNetV2"]
    # The body of Keras' MobileNetV2 with alpha = 0.35, and 3 classes.
    assert rows[1]["parameters"] == 410_208 + 3 * 1_281
    for row in rows:
        assert 0 <= row["accuracy"] <= 1 and row["seconds"] > 0
        assert row["reloaded"] == 0


def test_a_frozen_body_is_not_trained(folder):
    train, test, names = beside_keras.data(folder, 32)
    body = beside_keras.bodies("tiny", 32, pretrained=False)["tiny"]
    before = [value.copy() for value in body.get_weights()]
    model, _, _ = beside_keras.train(body, train, test, len(names), epochs=1,
                                     freeze=True)
    assert len(model.trainable_weights) == 2
    for value, other in zip(body.get_weights(), before):
        np.testing.assert_array_equal(value, other)

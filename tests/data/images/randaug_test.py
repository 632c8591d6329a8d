"""Policies: what is drawn, how often, and from the seed alone."""
import functools

import numpy as np
import pytest
import tensorflow as tf

from tfvit.data.images import pixels
from tfvit.data.images import randaug

RNG = np.random.RandomState(0)
IMAGE = np.kron(RNG.randint(20, 250, (4, 5, 3)), np.ones((6, 6, 1)))
IMAGE = IMAGE.astype(np.uint8)  # [24, 30, 3]


def many(op, count):
    """The op's results for the seeds (0, 1), (1, 1), ..., in tf.data."""
    dataset = tf.data.Dataset.range(count).map(
        lambda i: op(IMAGE, tf.stack([i, 1])), num_parallel_calls=2)
    assert dataset.element_spec.shape == IMAGE.shape
    return [image.numpy() for image in dataset]


@functools.cache
def outcomes(magnitude, compat):
    """{name: its possible results, as bytes} for the 15 that are few."""
    level = magnitude / 10
    threshold = int(level * 256) % (256 if compat else 1_000)
    contrast = pixels.contrast_of_the_papers if compat else pixels.contrast
    enhance = level * 1.8 + 0.1
    both = lambda op, most: [op(IMAGE, sign * level * most) for sign in (1, -1)]
    results = {
        "AutoContrast": [pixels.autocontrast(IMAGE)],
        "Equalize": [pixels.equalize(IMAGE)],
        "Invert": [255 - IMAGE],
        "Rotate": both(pixels.rotate, 30),
        "Posterize": [pixels.posterize(IMAGE, int(level * 4))],
        "Solarize": [pixels.solarize(IMAGE, threshold)],
        "SolarizeAdd": [pixels.solarize_add(IMAGE, int(level * 110))],
        "Color": [pixels.color(IMAGE, enhance)],
        "Contrast": [contrast(IMAGE, enhance)],
        "Brightness": [pixels.brightness(IMAGE, enhance)],
        "Sharpness": [pixels.sharpness(IMAGE, enhance)],
        "ShearX": both(pixels.shear_x, 0.3),
        "ShearY": both(pixels.shear_y, 0.3),
        "TranslateX": both(pixels.translate_x, 20),
        "TranslateY": both(pixels.translate_y, 20),
    }
    return {k: {np.array(i).tobytes() for i in v} for k, v in results.items()}


# Not magnitude 5, where four of the operations leave the image as it is.
@pytest.mark.parametrize("magnitude, compat", [(4, False), (7, True)])
def test_one_layer_is_one_of_sixteen_equally_often(magnitude, compat):
    op = functools.partial(randaug.randaugment, layers=1, magnitude=magnitude,
                           cutout=10, translate=20, compat_contrast=compat,
                           compat_solarize=compat)
    count = 480
    known = outcomes(magnitude, compat)
    counts = dict.fromkeys([*known, "Cutout"], 0)
    signs = {name: set() for name in known}
    for image in many(op, count):
        data = image.tobytes()
        names = [name for name, results in known.items() if data in results]
        if not names:  # Cutout: only grey pixels differ.
            assert (image[(image != IMAGE).any(-1)] == 128).all()
        for name in names[:1]:
            signs[name].add(data)
        counts[(names or ["Cutout"])[0]] += 1
    assert signs == known  # Each sign was seen.
    expected = count / 16
    chi = sum((n - expected)**2 / expected for n in counts.values())
    assert chi < 37.7, counts  # 15 degrees of freedom, p = 0.001.


def test_a_second_layer_works_on_the_result_of_the_first():
    one = many(functools.partial(randaug.randaugment, layers=1, magnitude=4), 40)
    two = many(functools.partial(randaug.randaugment, layers=2, magnitude=4), 40)
    differ = [not np.array_equal(a, b) for a, b in zip(one, two)]
    assert 30 <= sum(differ) <= 40


@pytest.mark.parametrize("op", [
    functools.partial(randaug.randaugment, layers=2, magnitude=15),
    functools.partial(randaug.autoaugment, policy="imagenet"),
])
def test_eager_execution_and_tf_data_agree(op):
    for i, image in enumerate(many(op, 12)):
        np.testing.assert_array_equal(image, op(IMAGE, [i, 1]))


def test_float_images_are_truncated():
    op = functools.partial(randaug.randaugment, layers=1, magnitude=5)
    wide = IMAGE.astype(np.float32) + 0.9
    np.testing.assert_array_equal(op(wide, [3, 1]), op(IMAGE, [3, 1]))


def test_solarize_at_magnitude_ten_inverts_all_only_in_the_compatible_way():
    make = randaug._operations  # pylint: disable=protected-access
    for compat, expected in (False, IMAGE), (True, 255 - IMAGE):
        solarize = make(1, 1, False, compat)["Solarize"]
        np.testing.assert_array_equal(solarize(IMAGE, 10, [0, 0]), expected)


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn", "v0"])
def test_every_policy_runs_and_changes_most_images(policy):
    op = functools.partial(randaug.autoaugment, policy=policy)
    changed = [not np.array_equal(image, IMAGE) for image in many(op, 50)]
    assert 25 <= sum(changed) <= 50


def test_an_unknown_policy_is_named():
    with pytest.raises(ValueError, match="policy = 'v9'.*imagenet, cifar10"):
        randaug.autoaugment(IMAGE, [0, 0], policy="v9")

"""RandAugment (arXiv 1909.13719) and AutoAugment (arXiv 1805.09501).

Ops as in ops.py: pure functions of (image, seed), from uint8 [H, W, 3], or
float, which is clipped to 0..255 and truncated, to uint8 [H, W, 3].
"""
from collections.abc import Callable

from official.vision.ops import augment
import tensorflow as tf

from tfvit.data.images import batchwise
from tfvit.data.images import ops
from tfvit.data.images import pixels

# big_vision's, from TensorFlow's TPU models.
_NAMES = ("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize",
          "Solarize", "Color", "Contrast", "Brightness", "Sharpness", "ShearX",
          "ShearY", "TranslateX", "TranslateY", "Cutout", "SolarizeAdd")
_POLICIES = ("imagenet", "cifar10", "svhn", "v0")


@batchwise.also_of_batches
def randaugment(image,
                seed,
                *,
                layers: int,
                magnitude: float,
                cutout: float = 40,
                translate: float = 100,
                compat_contrast: bool = False,
                compat_solarize: bool = False) -> tf.Tensor:
    """Applies `layers` operations, each drawn from 16 and always applied.

    Even magnitude 0 changes images: "invert" has no magnitude, "posterize"
    keeps no bits and "solarize" inverts everything.

    Args:
      image: uint8 or float [H, W, 3], see above.
      seed: integer [2].
      layers: number of operations.
      magnitude: of all of them, nominally 0..10; AugReg goes up to 20.
      cutout: half the side of Cutout's square at magnitude 10, in pixels.
      translate: shift at magnitude 10, in pixels.
      compat_contrast: see pixels.contrast_of_the_papers; True for the
        operation that the published models were trained with.
      compat_solarize: take Solarize's threshold modulo 256. The reference
        compares it with bytes, where the 256 of magnitude 10 becomes 0 in
        TensorFlow, so that everything is inverted, and nothing otherwise.
    """
    image = _bytes(image)
    operations = _operations(cutout, translate, compat_contrast,
                             compat_solarize)
    if batchwise.is_batch(image):
        for layer in range(layers):
            image = _layer_of_batch(image, batchwise.fold_in(seed, layer),
                                    magnitude, operations, cutout, translate)
        return image
    for layer in range(layers):
        choice, argument = _seeds(seed, layer)
        number = tf.random.stateless_uniform([], choice, 0, len(_NAMES),
                                             tf.int32)
        image = _select(number, [
            lambda i, name=name: operations[name](i, magnitude, argument)
            for name in _NAMES
        ], image)
    return image


def _layer_of_batch(images, seeds, magnitude, operations, cutout, translate):
    """One operation for each of the images [b, H, W, 3], all at once."""
    choice, sign, row, column = (
        batchwise.uniform(seeds, 4)[:, i, tf.newaxis, tf.newaxis]
        for i in range(4))  # [b, 1, 1]
    number = tf.cast(choice * len(_NAMES), tf.int32)
    return apply_to_batch(images, number, tf.where(sign < 0.5, -1., 1.),
                          (row, column), magnitude, operations, cutout,
                          translate)


def apply_to_batch(images, number, sign, at, magnitude, operations, cutout,
                   translate):
    """Applies to each image the operation of its number in _NAMES.

    All are computed of all images: the elementwise ones are one loop over the
    pixels for XLA, and all moves are one gather.

    Args:
      images: uint8 [b, H, W, 3].
      number: int32 [b, 1, 1].
      sign: of moves, 1 or -1, float32 [b, 1, 1].
      at: row and column of Cutout, 0..1, float32 [b, 1, 1] each.
      magnitude, cutout, translate: see randaugment.
      operations: see _operations.
    """
    height, width = images.shape[1:3]
    level = sign * magnitude / 10
    moves = {
        "Rotate": pixels.rotation(images, level * 30),
        "ShearX": [1., level * 0.3, 0., 0., 1., 0.],
        "ShearY": [1., 0., 0., level * 0.3, 1., 0.],
        "TranslateX": [1., 0., level * translate, 0., 1., 0.],
        "TranslateY": [1., 0., 0., 0., 1., level * translate],
    }
    matrix = [tf.constant(m) for m in (1., 0., 0., 0., 1., 0.)]
    for name, move in moves.items():
        here = number == _NAMES.index(name)
        matrix = [tf.where(here, new, old) for new, old in zip(move, matrix)]
    result = pixels.affine(images, matrix)  # The image itself where none moves.
    for i, name in enumerate(_NAMES):
        if name in moves:
            continue
        if name == "Cutout":
            row, column = (tf.cast(tf.floor(place * side), tf.int32)
                           for place, side in zip(at, (height, width)))
            new = pixels.cutout(images, row, column,
                                int(magnitude / 10 * cutout))
        else:
            new = operations[name](images, magnitude, None)
        result = tf.where((number == i)[..., tf.newaxis], new, result)
    return result


def autoaugment(image,
                seed,
                *,
                policy: str,
                cutout: float = 100,
                translate: float = 250,
                compat_contrast: bool = False) -> tf.Tensor:
    """Applies one of a policy's 25 pairs of operations.

    Args:
      image: uint8 or float [H, W, 3], see above.
      seed: integer [2].
      policy: "imagenet", "cifar10", "svhn" or "v0", as tf-models-official
        lists them.
      cutout, translate, compat_contrast: see randaugment.

    Raises:
      ValueError: there is no such policy.
    """
    if policy not in _POLICIES:
        raise ValueError(f"randaug.autoaugment.policy = {policy!r} is none of "
                         f"{', '.join(_POLICIES)}.")
    name = {"imagenet": "reduced_imagenet", "cifar10": "reduced_cifar10"}
    pairs = getattr(augment.AutoAugment, f"policy_{name.get(policy, policy)}")()
    operations = _operations(cutout, translate, compat_contrast, False)
    choice, rest = _seeds(seed, 0)

    def apply(image, pair):
        for position, (name, probability, level) in enumerate(pair):
            coin, argument = _seeds(rest, position)
            image = tf.cond(
                tf.random.stateless_uniform([], coin) < probability,
                lambda image=image, name=name, level=level, argument=argument:
                operations[name](image, level, argument),
                lambda image=image: image)
        return image

    number = tf.random.stateless_uniform([], choice, 0, len(pairs), tf.int32)
    return _select(number, [lambda i, pair=pair: apply(i, pair)
                            for pair in pairs], _bytes(image))


def _operations(cutout, translate, compat_contrast,
                compat_solarize) -> dict[str, Callable]:
    """Makes {name: (image, level, seed) -> image}."""

    def plain(op):
        return lambda image, level, seed: op(image)

    def enhance(op):
        return lambda image, level, seed: op(image, level / 10 * 1.8 + 0.1)

    def whole(op, most):
        return lambda image, level, seed: op(image, int(level / 10 * most))

    def signed(op, most):
        return lambda image, level, seed: op(image, _sign(seed) *
                                             (level / 10 * most))

    def solarize(image, threshold):
        return pixels.solarize(image,
                               threshold % 256 if compat_solarize else threshold)

    contrast = (pixels.contrast_of_the_papers
                if compat_contrast else pixels.contrast)
    return {
        "AutoContrast": plain(pixels.autocontrast),
        "Equalize": plain(pixels.equalize),
        "Invert": plain(pixels.invert),
        "Rotate": signed(pixels.rotate, 30),
        "Posterize": whole(pixels.posterize, 4),
        "Solarize": whole(solarize, 256),
        "SolarizeAdd": whole(pixels.solarize_add, 110),
        "Color": enhance(pixels.color),
        "Contrast": enhance(contrast),
        "Brightness": enhance(pixels.brightness),
        "Sharpness": enhance(pixels.sharpness),
        "ShearX": signed(pixels.shear_x, 0.3),
        "ShearY": signed(pixels.shear_y, 0.3),
        "TranslateX": signed(pixels.translate_x, translate),
        "TranslateY": signed(pixels.translate_y, translate),
        "Cutout": lambda image, level, seed: _cutout(image, seed,
                                                     int(level / 10 * cutout)),
    }


def _cutout(image, seed, half):
    height_width = tf.cast(tf.shape(image)[:2], tf.float32)
    at = tf.floor(tf.random.stateless_uniform([2], seed) * height_width)
    row, column = tf.unstack(tf.cast(at, tf.int32))
    return pixels.cutout(image, row, column, half)


def _select(number, branches, image):
    """Applies one of the branches to the image."""
    shape = image.shape
    image = tf.switch_case(number, [
        lambda branch=branch: branch(image) for branch in branches
    ])
    return tf.ensure_shape(image, shape)


def _seeds(seed, number):
    """Makes two seeds of one and a number."""
    seed = tf.random.experimental.stateless_fold_in(seed, number)
    return tf.unstack(tf.random.experimental.stateless_split(seed, 2))


def _sign(seed):
    return tf.where(tf.random.stateless_uniform([], seed) < 0.5, -1., 1.)


def _bytes(image):
    image = tf.convert_to_tensor(image)
    if image.shape[-1] not in (None, 3):
        raise ValueError(f"randaug works on colours: images have 3 channels, "
                         f"not {image.shape[-1]}. Leave it out of "
                         "pipeline.train.ops of grey images.")
    return image if image.dtype == tf.uint8 else ops.to_uint8(image)

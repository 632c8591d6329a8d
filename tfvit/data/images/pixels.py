"""What RandAugment and AutoAugment do to pixels, uint8 [H, W, 3].

The operations are those of Python's PIL (arXiv 1805.09501, table 6). All are
deterministic; randaug.py draws their arguments.
"""
import math

import tensorflow as tf

GREY = 128  # What moving an image leaves behind.


def autocontrast(image):
    """Stretches each channel to 0..255."""
    values = tf.cast(image, tf.float32)
    low = tf.reduce_min(values, [0, 1])
    high = tf.reduce_max(values, [0, 1])
    scale = 255. / (high - low)  # inf for a flat channel, which stays.
    stretched = _to_uint8(values * scale - low * scale)
    return tf.where(high > low, stretched, image)


def equalize(image):
    """Makes the histogram of each channel flat."""
    channels = [_equalize(channel) for channel in tf.unstack(image, axis=-1)]
    return tf.stack(channels, -1)


def _equalize(channel):
    values = tf.cast(channel, tf.int32)
    counts = tf.histogram_fixed_width(values, [0, 255], nbins=256)
    # PIL: the brightest value does not count towards the step.
    step = (tf.size(values) - counts[tf.reduce_max(values)]) // 255
    below = tf.cumsum(counts, exclusive=True)
    table = (below + step // 2) // tf.maximum(step, 1)
    # Nothing lies below 0, whatever the rounding.
    table = tf.concat([[0], tf.clip_by_value(table[1:], 0, 255)], 0)
    return tf.where(step > 0, tf.cast(tf.gather(table, values), tf.uint8),
                    channel)


def invert(image):
    """Takes 255 - image."""
    return 255 - image


def posterize(image, bits: int):
    """Keeps the highest `bits` of 8."""
    return image // 2**(8 - bits) * 2**(8 - bits) if bits else image * 0


def solarize(image, threshold: int):
    """Inverts what is at least `threshold`; from 256 on, nothing."""
    return tf.where(tf.cast(image, tf.int32) < threshold, image, 255 - image)


def solarize_add(image, addition: int):
    """Brightens what is below 128."""
    values = tf.cast(image, tf.int32)
    brighter = tf.cast(tf.clip_by_value(values + addition, 0, 255), tf.uint8)
    return tf.where(values < 128, brighter, image)


def color(image, factor: float):
    """From grey (0) over the image (1) to stronger colours."""
    return _blend(_grey(image), image, factor)


def contrast(image, factor: float):
    """From the mean grey (0) over the image (1) to more contrast."""
    grey = tf.cast(_grey(image)[..., 0], tf.float32)
    mean = tf.floor(tf.reduce_mean(grey) + 0.5)
    return _blend(tf.fill(tf.shape(image), mean), image, factor)


def contrast_of_the_papers(image, factor: float):
    """As contrast, but from H * W / 256 instead of the mean grey.

    The reference code divides the sum of the grey histogram, which is the
    number of pixels, by its length; above 65,280 pixels that is white.
    """
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    mean = tf.floor(tf.minimum(height * width / 256., 255.))
    return _blend(tf.fill(tf.shape(image), mean), image, factor)


def brightness(image, factor: float):
    """From black (0) over the image (1) to brighter."""
    return _blend(tf.zeros_like(image), image, factor)


def sharpness(image, factor: float):
    """From smoothed (0) over the image (1) to sharper; the border stays."""
    kernel = tf.constant([[1., 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    kernel = tf.tile(kernel[..., tf.newaxis, tf.newaxis], [1, 1, 3, 1])
    values = tf.cast(image, tf.float32)[tf.newaxis]
    smooth = tf.nn.depthwise_conv2d(values, kernel, [1] * 4, "VALID")[0]
    rows, columns = tf.shape(image)[0], tf.shape(image)[1]
    edge = [[1, 1], [1, 1], [0, 0]]
    inside = tf.pad(tf.ones([rows - 2, columns - 2, 1], tf.bool), edge)
    smooth = tf.where(inside, tf.pad(_to_uint8(smooth), edge), image)
    return _blend(smooth, image, factor)


def rotate(image, degrees):
    """Turns counterclockwise around the middle."""
    radians = degrees * (math.pi / 180)
    sin, cos = tf.sin(radians), tf.cos(radians)
    x, y = [(tf.cast(n, tf.float32) - 1) / 2
            for n in (tf.shape(image)[1], tf.shape(image)[0])]
    return _affine(
        image, [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y])


def shear_x(image, level):
    """Moves each row to the left, by `level` times its number."""
    return _affine(image, [1., level, 0., 0., 1., 0.])


def shear_y(image, level):
    """Moves each column up, by `level` times its number."""
    return _affine(image, [1., 0., 0., level, 1., 0.])


def translate_x(image, pixels):
    """Moves the image to the left."""
    return _affine(image, [1., 0., pixels, 0., 1., 0.])


def translate_y(image, pixels):
    """Moves the image up."""
    return _affine(image, [1., 0., 0., 0., 1., pixels])


def cutout(image, row, column, half: int):
    """Greys a square of 2 * half pixels, cut at the border."""
    rows = tf.range(tf.shape(image)[0])[:, tf.newaxis]
    columns = tf.range(tf.shape(image)[1])[tf.newaxis]
    inside = ((rows >= row - half) & (rows < row + half) &
              (columns >= column - half) & (columns < column + half))
    return tf.where(inside[..., tf.newaxis], tf.constant(GREY, image.dtype),
                    image)


def _affine(image, matrix):
    """Looks pixel (x, y) up at matrix [2, 3] times (x, y, 1)."""
    matrix = tf.stack([tf.cast(m, tf.float32) for m in [*matrix, 0., 0.]])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=matrix[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=float(GREY),
        interpolation="NEAREST",
        fill_mode="CONSTANT")[0]


def _grey(image):
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))


def _blend(first, second, factor):
    """Goes from `first` (0) to `second` (1) and beyond."""
    first, second = (tf.cast(t, tf.float32) for t in (first, second))
    return _to_uint8(first + factor * (second - first))


def _to_uint8(values):
    return tf.cast(tf.clip_by_value(values, 0., 255.), tf.uint8)

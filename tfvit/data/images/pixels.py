"""What RandAugment and AutoAugment do to pixels, uint8 [H, W, 3].

Batches [b, H, W, 3] are taken alike, by operations that XLA compiles; what is of
an image, such as a row, is then a tensor of them. The operations are those of Python's PIL (arXiv 1805.09501, table 6). All are
deterministic; randaug.py draws their arguments.
"""
import math

import tensorflow as tf

from tfvit.data.images import batchwise

GREY = 128  # What moving an image leaves behind.


def autocontrast(image):
    """Stretches each channel to 0..255."""
    values = tf.cast(image, tf.float32)
    low = tf.reduce_min(values, [-3, -2], keepdims=True)
    high = tf.reduce_max(values, [-3, -2], keepdims=True)
    scale = 255. / (high - low)  # inf for a flat channel, which stays.
    stretched = _to_uint8(values * scale - low * scale)
    return tf.where(high > low, stretched, image)


def equalize(image):
    """Makes the histogram of each channel flat."""
    if batchwise.is_batch(image):
        return _equalize_batch(image)
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


def _equalize_batch(images):
    """_equalize, of all channels of all images at once."""
    values = tf.cast(tf.transpose(images, [0, 3, 1, 2]), tf.int32)
    flat = tf.reshape(values, [*values.shape[:2], -1])  # [b, 3, H * W]
    # XLA keeps nothing of the 256 comparisons but their sum.
    counts = tf.reduce_sum(tf.cast(
        flat[..., tf.newaxis, :] == tf.range(256)[:, tf.newaxis], tf.int32), -1)
    most = tf.reduce_max(flat, -1, keepdims=True)
    brightest = tf.gather(counts, most, batch_dims=2)  # [b, 3, 1]
    step = (flat.shape[-1] - brightest) // 255
    below = tf.cumsum(counts, axis=-1, exclusive=True)
    table = (below + step // 2) // tf.maximum(step, 1)
    table = tf.where(tf.range(256) > 0, tf.clip_by_value(table, 0, 255), 0)
    table = tf.where(step > 0, table, tf.range(256))
    flat = tf.gather(table, flat, batch_dims=2)
    return tf.transpose(tf.cast(tf.reshape(flat, values.shape), tf.uint8),
                        [0, 2, 3, 1])


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
    mean = tf.floor(tf.reduce_mean(grey, [-2, -1], keepdims=True) + 0.5)
    return _blend(mean[..., tf.newaxis], image, factor)


def contrast_of_the_papers(image, factor: float):
    """As contrast, but from H * W / 256 instead of the mean grey.

    The reference code divides the sum of the grey histogram, which is the
    number of pixels, by its length; above 65,280 pixels that is white.
    """
    height, width = tf.unstack(tf.cast(tf.shape(image)[-3:-1], tf.float32))
    mean = tf.floor(tf.minimum(height * width / 256., 255.))
    return _blend(mean, image, factor)


def brightness(image, factor: float):
    """From black (0) over the image (1) to brighter."""
    return _blend(tf.zeros_like(image), image, factor)


def sharpness(image, factor: float):
    """From smoothed (0) over the image (1) to sharper; the border stays."""
    kernel = tf.constant([[1., 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    kernel = tf.tile(kernel[..., tf.newaxis, tf.newaxis], [1, 1, 3, 1])
    images = image if batchwise.is_batch(image) else image[tf.newaxis]
    smooth = tf.nn.depthwise_conv2d(tf.cast(images, tf.float32), kernel, [1] * 4,
                                    "VALID")
    rows, columns = tf.shape(images)[1], tf.shape(images)[2]
    edge = [[0, 0], [1, 1], [1, 1], [0, 0]]
    inside = tf.pad(tf.ones([1, rows - 2, columns - 2, 1], tf.bool), edge)
    smooth = tf.where(inside, tf.pad(_to_uint8(smooth), edge), images)
    return _blend(tf.reshape(smooth, tf.shape(image)), image, factor)


def rotate(image, degrees):
    """Turns counterclockwise around the middle."""
    return affine(image, rotation(image, degrees))


def rotation(image, degrees):
    """The matrix of rotate, for `affine`."""
    radians = degrees * (math.pi / 180)
    sin, cos = tf.sin(radians), tf.cos(radians)
    x, y = [(tf.cast(n, tf.float32) - 1) / 2
            for n in (tf.shape(image)[-2], tf.shape(image)[-3])]
    return [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y]


def shear_x(image, level):
    """Moves each row to the left, by `level` times its number."""
    return affine(image, [1., level, 0., 0., 1., 0.])


def shear_y(image, level):
    """Moves each column up, by `level` times its number."""
    return affine(image, [1., 0., 0., level, 1., 0.])


def translate_x(image, pixels):
    """Moves the image to the left."""
    return affine(image, [1., 0., pixels, 0., 1., 0.])


def translate_y(image, pixels):
    """Moves the image up."""
    return affine(image, [1., 0., 0., 0., 1., pixels])


def cutout(image, row, column, half: int):
    """Greys a square of 2 * half pixels, cut at the border."""
    rows = tf.range(tf.shape(image)[-3])[:, tf.newaxis]
    columns = tf.range(tf.shape(image)[-2])[tf.newaxis]
    inside = ((rows >= row - half) & (rows < row + half) &
              (columns >= column - half) & (columns < column + half))
    return tf.where(inside[..., tf.newaxis], tf.constant(GREY, image.dtype),
                    image)


def affine(image, matrix):
    """Looks pixel (x, y) up at matrix [2, 3] times (x, y, 1).

    The matrix is a list of its 6 numbers; of a batch, each is [b] or of all.
    """
    if batchwise.is_batch(image):
        return _affine_batch(image, matrix)
    matrix = tf.stack([tf.cast(m, tf.float32) for m in [*matrix, 0., 0.]])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=matrix[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=float(GREY),
        interpolation="NEAREST",
        fill_mode="CONSTANT")[0]


def _affine_batch(images, matrix):
    """ImageProjectiveTransformV3, which XLA does not have, as a gather."""
    batch, height, width, channels = images.shape
    matrix = [tf.reshape(tf.cast(m, tf.float32), [-1, 1, 1]) for m in matrix]
    x = tf.range(width, dtype=tf.float32)[tf.newaxis, tf.newaxis]
    y = tf.range(height, dtype=tf.float32)[tf.newaxis, :, tf.newaxis]
    column = _nearest(matrix[0] * x + matrix[1] * y + matrix[2])  # [b, H, W]
    row = _nearest(matrix[3] * x + matrix[4] * y + matrix[5])
    inside = ((column >= 0) & (column < width) & (row >= 0) & (row < height))
    place = tf.cast(tf.where(inside, row * width + column, 0.), tf.int32)
    place = tf.broadcast_to(place, [batch, height, width])
    found = tf.gather(tf.reshape(images, [batch, height * width, channels]),
                      place, batch_dims=1)
    return tf.where(inside[..., tf.newaxis], found,
                    tf.constant(GREY, images.dtype))


def _nearest(values):
    """Rounds halves away from 0, as C does; tf.round does to even ones."""
    whole = tf.math.sign(values) * tf.floor(tf.abs(values))
    return tf.where(tf.abs(values - whole) == 0.5,
                    whole + tf.math.sign(values), tf.round(values))


def _grey(image):
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))


def _blend(first, second, factor):
    """Goes from `first` (0) to `second` (1) and beyond."""
    first, second = (tf.cast(t, tf.float32) for t in (first, second))
    return _to_uint8(first + factor * (second - first))


def _to_uint8(values):
    return tf.cast(tf.clip_by_value(values, 0., 255.), tf.uint8)

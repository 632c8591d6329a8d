"""Image operations, in the order a recipe lists them.

`op(image)` always does the same; `op(image, seed)` is random, and a pure
function of its seed, an integer [2] tensor. An image is uint8 or float
[H, W, C] with values from 0 to 255; the decode ops also take the bytes of an
image file, a string []. `size` is an int or (height, width), in pixels.

Numbers and methods are those of the vision_transformer and big_vision input
pipelines where they have the operation. What is marked `also_of_batches` may be
in Experiment.device_ops, too: see batchwise.py.
"""
import tensorflow as tf

from tfvit.data.images import batchwise
from tfvit.data.images import formats
from tfvit.data.images import headers

MAX_ASPECT = 16.0  # See resize_small.


def decode(image, *, channels: int = 3, upright: bool = False) -> tf.Tensor:
    """Decodes JPEG, PNG, GIF, BMP or WebP bytes into uint8 [H, W, channels].

    Grey images are repeated, colours become grey for one channel, alpha is
    dropped, 16-bit PNG is reduced to 8 bits, and of an animated GIF the first
    frame is taken. Arrays pass through, with their channels adapted alike.

    Args:
      image: bytes of an image file, or uint8 [H, W, c].
      channels: 1 or 3.
      upright: turn an image as the EXIF orientation in its file says, in which
        cameras note how they were held. The papers' pipelines do not.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are none of these formats, are
        cut short, are an animated WebP, or a BMP that is compressed or has 16
        bits.
    """
    image = tf.convert_to_tensor(image)
    if image.dtype != tf.string:
        return formats.with_channels(image, channels)
    if not upright:
        return formats.decode(image, channels)
    # First: where decoding fails, what goes on beside it is cancelled, and for
    # that tf.data would give up all examples instead of the one.
    way = headers.orientation(image)
    with tf.control_dependencies([way]):
        pixels = formats.turn(formats.decode(image, channels), way)
    return tf.ensure_shape(pixels, [None, None, channels])


def decode_and_inception_crop(image,
                              seed,
                              *,
                              size,
                              area_min: float = 5,
                              area_max: float = 100,
                              aspect_min: float = 0.75,
                              aspect_max: float = 1.33,
                              scaled_decoding: bool = False,
                              channels: int = 3,
                              upright: bool = False) -> tf.Tensor:
    """Cuts out a random part, resizes it to float32 [size, size, channels].

    Of a JPEG file only the part is decoded, with the same pixels as decoding
    all of it.

    Args:
      image: bytes of an image file, or uint8 [H, W, C].
      seed: integer [2].
      size: of the result.
      area_min: smallest part, in percent of the image's area.
      area_max: largest part, in percent.
      aspect_min: smallest width / height of the part.
      aspect_max: largest width / height.
      scaled_decoding: decode a JPEG's part at 1/2, 1/4 or 1/8 of its size where
        that still has the pixels of the result. Faster for large photos, but
        not what the published models saw: it averages where resizing alone
        leaves pixels out, and moves the part by up to a pixel of the result.
      channels, upright: see decode. The part is one of the upright image.
    """
    image = tf.convert_to_tensor(image)

    def window(shape):
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros([0, 0, 4]),
            seed,
            min_object_covered=0.,
            aspect_ratio_range=(aspect_min, aspect_max),
            area_range=(area_min / 100, area_max / 100),
            use_image_if_no_bounding_boxes=True)
        return tf.concat([begin[:2], extent[:2]], 0)  # top left height width

    def decode_all():
        pixels = decode(image, channels=channels, upright=upright)
        top, left, height, width = tf.unstack(window(tf.shape(pixels)))
        return pixels[top:top + height, left:left + width]

    def decode_some():
        sides = tf.image.extract_jpeg_shape(image)[:2]
        way = headers.orientation(image) if upright else tf.constant(1)
        box = formats.before_turn(window(tf.concat(
            [formats.turned_sides(sides, way), [channels]], 0)), sides, way)
        least = formats.turned_sides(pair(size), way)  # In the file's axes.
        return formats.turn(decode_box(box, least), way)

    def decode_box(box, least):
        if not scaled_decoding:
            return decode_part(image, box, channels=channels)
        shrinks = tf.reduce_min(box[2:] // least)
        ratio = tf.reduce_sum([tf.cast(shrinks >= r, tf.int32)
                               for r in (2, 4, 8)])  # Of 2.
        return tf.switch_case(ratio, [
            lambda r=r: decode_part(image, box, ratio=r, channels=channels)
            for r in (1, 2, 4, 8)
        ])

    if image.dtype == tf.string:
        part = tf.cond(tf.io.is_jpeg(image), decode_some, decode_all)
    else:
        part = decode_all()
    return resize(tf.ensure_shape(part, [None, None, channels]), size=size)


def decode_part(image, box, *, ratio: int = 1, channels: int = 3) -> tf.Tensor:
    """Decodes a part of a JPEG at 1 / ratio of its size, uint8 [h, w, c].

    The pixels are those of decoding all of it at that size, then cropping.

    Args:
      image: the file, string [].
      box: top, left, height and width in the image, int32 [4].
      ratio: 1, 2, 4 or 8. Above 1, h = height // ratio and w alike, and the
        middle moves by half a pixel of the result at most.
      channels: 1 or 3.
    """
    # The decoder makes sides of ceil(side / ratio) and crops afterwards.
    sides = -(-tf.image.extract_jpeg_shape(image)[:2] // ratio)
    height, width = tf.unstack(box[2:] // ratio)
    top, left = tf.unstack(
        (2 * box[:2] + box[2:] - box[2:] // ratio * ratio + ratio) //
        (2 * ratio))
    # A column more on both sides: where colours have half the resolution, the
    # first and the last one decode otherwise for lack of a neighbour.
    begin = tf.maximum(left - 1, 0)
    end = tf.minimum(left + width + 1, sides[1])
    part = formats.part_of_jpeg(
        image, tf.stack([top, begin, height, end - begin]), channels, ratio)
    return part[:, left - begin:left - begin + width]


def resize(image, *, size, method: str = "bilinear", antialias: bool = False):
    """Resizes to float32 [h, w, C] without keeping the aspect ratio.

    Args:
      image: [H, W, C].
      size: h = w, or (h, w).
      method: one of tf.image.resize, such as "bicubic".
      antialias: see tf.image.resize.
    """
    image = tf.image.resize(image, pair(size), method, antialias=antialias)
    return tf.cast(image, tf.float32)


def resize_small(image,
                 *,
                 smaller_size: int,
                 method: str = "area",
                 antialias: bool = False,
                 max_aspect: float = MAX_ASPECT):
    """Resizes the smaller side to smaller_size, keeping the aspect ratio.

    Args:
      image: see above.
      smaller_size: in pixels.
      method, antialias: see tf.image.resize.
      max_aspect: largest longer side / smaller side of the result, at least 1.
        Of an image beyond it only the middle is resized, at the same scale:
        what a central crop of up to that aspect leaves. A file of 1 x 3,000
        pixels would else become gigabytes.

    Raises:
      ValueError: max_aspect is below 1.
    """
    if max_aspect < 1:
        raise ValueError(f"ops.resize_small.max_aspect = {max_aspect} must be "
                         "1 or more: longer side / smaller side.")
    image = middle(image, max_aspect)
    height_width = tf.cast(tf.shape(image)[:2], tf.float32)
    factor = smaller_size / tf.reduce_min(height_width)
    target = tf.cast(tf.round(height_width * factor), tf.int32)
    channels = image.shape[-1]
    image = tf.image.resize(image, target, method, antialias=antialias)
    return tf.ensure_shape(tf.cast(image, tf.float32), [None, None, channels])


def central_crop(image, *, size):
    """Takes the [h, w, C] in the middle; `size` is h = w, or (h, w)."""
    height, width = pair(size)
    _require_size(image, size, "ops.central_crop.size")
    top = (tf.shape(image)[0] - height) // 2
    left = (tf.shape(image)[1] - width) // 2
    image = image[top:top + height, left:left + width]
    return tf.ensure_shape(image, [height, width, image.shape[-1]])


def random_crop(image, seed, *, size):
    """Takes [h, w, C] at a random place; `size` is h = w, or (h, w)."""
    _require_size(image, size, "ops.random_crop.size")
    return tf.image.stateless_random_crop(image,
                                          (*pair(size), image.shape[-1]),
                                          seed=seed)


def random_shift(image, seed, *, pixels: int):
    """Moves the image up to `pixels` in each direction and fills with 0."""
    shape = image.shape
    padding = [[pixels, pixels], [pixels, pixels], [0, 0]]
    image = tf.image.stateless_random_crop(tf.pad(image, padding),
                                           tf.shape(image),
                                           seed=seed)
    return tf.ensure_shape(image, shape)


@batchwise.also_of_batches
def flip_lr(image, seed):
    """Mirrors left to right, every other time."""
    if batchwise.is_batch(image):
        turned = batchwise.uniform(seed, 1)[:, :, tf.newaxis, tf.newaxis] < 0.5
        return tf.where(turned, tf.reverse(image, [2]), image)
    return tf.image.stateless_random_flip_left_right(image, seed)


def to_uint8(image, *, nearest: bool = False):
    """Clips to 0..255 and makes whole numbers of it.

    Args:
      image: see above.
      nearest: round to the nearest, which moves no mean; else down, as
        big_vision does after each resize.
    """
    image = tf.clip_by_value(image, 0, 255)
    if nearest and image.dtype.is_floating:
        image = tf.round(image)
    return tf.cast(image, tf.uint8)


def value_range(image, *, low: float = -1., high: float = 1.):
    """Maps 0..255 to low..high, in float32."""
    image = (tf.cast(image, tf.float32) - 127.5) / 127.5
    return image * ((high - low) / 2) + (high + low) / 2


def middle(image, max_aspect):
    """What of an image has the aspect ratio, around the same middle."""
    sides = tf.shape(image)[:2]
    most = tf.cast(tf.reduce_min(sides), tf.float32) * max_aspect
    over = tf.maximum(sides - tf.cast(most, tf.int32), 0)
    begin = (over + 1) // 2  # As much on either side: the middle stays.
    end = sides - begin
    channels = image.shape[-1]
    image = tf.convert_to_tensor(image)[begin[0]:end[0], begin[1]:end[1]]
    return tf.ensure_shape(image, [None, None, channels])


def _require_size(image, size, knob):
    tf.debugging.assert_greater_equal(
        tf.shape(image)[:2],
        pair(size),
        message=f"{knob} = {size} exceeds the image: resize it before.")


def pair(size) -> tuple[int, int]:
    """(height, width) of a size."""
    return (size, size) if isinstance(size, int) else tuple(size)

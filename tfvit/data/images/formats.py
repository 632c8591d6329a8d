"""From the bytes of an image file to its pixels, right or refused by name.

What TensorFlow's decoders get wrong, or cannot be asked, is put right here, in
the graph: palettes of BMP, the place of a GIF's frame on its canvas, WebP.
"""
import functools

import tensorflow as tf

from tfvit.data.images import headers

# Autograph finds nothing here, but takes seconds for it.
_as_it_is = tf.autograph.experimental.do_not_convert
_MOST = 2**29 // 3  # Pixels; TensorFlow's own limit for JPEG, PNG and BMP.
_TURN_DOWN, _TURN_LEFT = (3, 4, 7, 8), (2, 3, 6, 7)  # EXIF orientations.


@_as_it_is
def decode(image, channels: int) -> tf.Tensor:
    """Decodes the bytes of a file [] into uint8 [H, W, channels].

    Raises:
      tf.errors.InvalidArgumentError: it is none of the formats, or see below.
    """
    usual = headers.starts(image, b"\x89PNG")
    if channels != 1:  # Else a JPEG may be of CMYK.
        usual |= headers.starts(image, b"\xff\xd8\xff")
    return tf.cond(usual, lambda: _by_tensorflow(image, channels),
                   lambda: _unusual(channels)(image))


@functools.lru_cache(maxsize=None)
def _unusual(channels):
    """decode for what takes more than a call of TensorFlow's decoder."""
    return headers.apart(lambda image: tf.case([
        (headers.starts(image, b"GIF8"), lambda: _gif(image, channels)),
        (headers.starts(image, b"BM"), lambda: _bmp(image, channels)),
        (headers.starts(image, b"WEBP", 8), lambda: _webp(image, channels)),
        (headers.starts(image, b"\xff\xd8\xff"),
         lambda: _jpeg(image, channels)),
    ], default=lambda: _others(image, channels)))


def with_channels(pixels, channels: int) -> tf.Tensor:
    """Repeats grey, makes grey of colours, or drops what is beyond them."""
    if pixels.shape[-1] == 1:
        return tf.repeat(pixels, channels, axis=-1)
    if channels == 1:
        return tf.image.rgb_to_grayscale(pixels[..., :3])
    return pixels[..., :channels]


@_as_it_is
def part_of_jpeg(image, window, channels: int, ratio: int = 1) -> tf.Tensor:
    """Decodes top, left, height and width [4] of a JPEG at 1 / ratio."""
    return _of_jpeg(image, channels, lambda channels: tf.image.
                    decode_and_crop_jpeg(image, window, channels=channels,
                                         ratio=ratio))


@_as_it_is
def turn(pixels, orientation) -> tf.Tensor:
    """Turns [H, W, C] as an EXIF orientation, int32 [], asks for."""

    # Eight times as fast as slices of step -1, which are the same.
    mirrored = tf.stack([_is_one_of(orientation, _TURN_DOWN),
                         _is_one_of(orientation, _TURN_LEFT), False])

    def turned():
        lying = tf.cond(orientation >= 5,
                        lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
        return tf.raw_ops.Reverse(tensor=lying, dims=mirrored)

    shape = [None, None, pixels.shape[-1]]
    return tf.ensure_shape(
        tf.cond(orientation > 1, turned, lambda: pixels), shape)


def turned_sides(sides, orientation) -> tf.Tensor:
    """Height and width [2] after `turn`."""
    return tf.where(orientation >= 5, sides[::-1], sides)


@_as_it_is
def before_turn(box, sides, orientation) -> tf.Tensor:
    """Where a part of the turned image lies in that of the file.

    Args:
      box: top, left, height and width in the turned image, int32 [4].
      sides: height and width in the file, int32 [2].
      orientation: EXIF's, int32 [].
    """
    begin, extent = box[:2], box[2:]
    mirrored = tf.stack([_is_one_of(orientation, _TURN_DOWN),
                         _is_one_of(orientation, _TURN_LEFT)])
    far = turned_sides(sides, orientation) - begin - extent
    begin = tf.where(mirrored, far, begin)
    return tf.where(orientation >= 5,
                    tf.concat([begin[::-1], extent[::-1]], 0),
                    tf.concat([begin, extent], 0))


def _is_one_of(orientation, values):
    return tf.reduce_any(orientation == values)


def _jpeg(image, channels):
    return _of_jpeg(image, channels, lambda channels: tf.io.decode_image(
        image, channels, expand_animations=False))


def _of_jpeg(image, channels, decode_as):
    """decode_as(channels), which cannot make grey of CMYK."""
    if channels != 1:
        return tf.ensure_shape(decode_as(channels), [None, None, channels])
    return tf.cond(
        tf.image.extract_jpeg_shape(image)[2] == 4,
        lambda: with_channels(tf.ensure_shape(
            decode_as(3), [None, None, 3]), 1),
        lambda: tf.ensure_shape(decode_as(1), [None, None, 1]))


def _others(image, channels):
    which = headers.foreign(image)
    image = _require(which == 0, tf.strings.join([
        "It is ", tf.gather(headers.FOREIGN, which), ". ", headers.ADVICE]),
                     image)
    return _by_tensorflow(image, channels)


def _by_tensorflow(image, channels):
    pixels = tf.io.decode_image(image, channels, expand_animations=False)
    return tf.ensure_shape(pixels, [None, None, channels])


def _gif(image, channels):
    """The first frame, at its place on the canvas.

    TensorFlow's decoder decodes all frames, into an array as large as the
    largest. So it is handed a file with the first frame alone, at the corner.
    Transparent pixels are black, as it makes them; what a frame without them
    leaves free has the first colour, as in Pillow.
    """
    found = headers.gif(image)
    image = _require_few(image, tf.reduce_prod(found["canvas"]))
    begin, end = found["begin"], found["end"]
    length = tf.cast(tf.strings.length(image), tf.int64)
    rest = tf.minimum(begin + 5, length)
    alone = tf.strings.join([
        tf.strings.substr(image, 0, tf.cast(begin + 1, tf.int32)), b"\0" * 4,
        tf.strings.substr(image, rest, tf.maximum(end - rest, 0)), b";"])
    # What is cut short stays so, for the decoder to say it.
    alone = tf.where((begin > 0) & (end <= length), alone, image)
    pixels = _by_tensorflow(alone, 3)
    free = tf.cast(headers.read(image, found["palette"], 3), tf.uint8)
    free = tf.where(found["transparent"], tf.zeros_like(free), free)
    canvas, (top, left, height, width) = found["canvas"], tf.unstack(
        found["frame"])

    def placed():

        def fill(*sides):
            return tf.broadcast_to(free, tf.stack([*sides, 3]))

        inside = tf.concat([fill(height, left), pixels, fill(
            height, canvas[1] - left - width)], 1)
        return tf.concat([fill(top, canvas[1]), inside, fill(
            canvas[0] - top - height, canvas[1])], 0)

    pixels = tf.cond(tf.reduce_all(found["frame"][2:] == canvas),
                     lambda: pixels, placed)
    return with_channels(tf.ensure_shape(pixels, [None, None, 3]), channels)


def _bmp(image, channels):
    """With its palette, which TensorFlow leaves out; some kinds are refused."""
    header, bits, packing = (headers.little(image, at, length)
                             for at, length in ((14, 4), (28, 2), (30, 4)))
    usual = tf.reduce_all(headers.read(image, 54, 12) == [
        0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])  # Masks of blue last.
    plain = packing == 0
    small = (bits == 1) | (bits == 4) | (bits == 8)
    known = (header >= 40) & tf.where(
        bits == 32, plain | ((packing == 3) & usual),
        plain & (small | (bits == 24)))
    image = _require(known, tf.strings.join([
        "It is a BMP of ", tf.strings.as_string(bits), " bits, header of ",
        tf.strings.as_string(header), " bytes, compression ",
        tf.strings.as_string(packing), ", which is not read: save it with 24 "
        "bits, or as PNG."]), image)
    pixels = tf.cond(small, lambda: _bmp_of_palette(image, bits),
                     lambda: _by_tensorflow(image, 3))
    return with_channels(pixels, channels)


def _bmp_of_palette(image, bits):
    begin, header, width, height, colours = (
        headers.little(image, at, 4) for at in (10, 14, 18, 22, 46))
    flipped = headers.signed(height) > 0
    height = tf.abs(headers.signed(height))
    image = _require_few(image, height * width)
    row = (width * bits + 31) // 32 * 4  # Bytes.
    length = tf.cast(tf.strings.length(image), tf.int64)
    image = _require((height * width > 0) & (begin + row * height <= length),
                     "The BMP is cut short.", image)
    rows = tf.reshape(tf.io.decode_raw(tf.strings.substr(
        image, begin, row * height), tf.uint8), [height, row, 1])
    per_byte = 8 // bits
    shifts = tf.cast(8 - bits * tf.range(1, per_byte + 1), tf.uint8)
    numbers = tf.bitwise.right_shift(rows, shifts) & tf.cast(
        2**bits - 1, tf.uint8)
    numbers = tf.reshape(numbers, [height, row * per_byte])[:, :width]
    numbers = tf.cond(flipped, lambda: numbers[::-1], lambda: numbers)
    palette = tf.reshape(headers.read(image, 14 + header, 4 * 256), [256, 4])
    colours = tf.where(colours > 0, colours, 2**bits)
    palette *= tf.cast(tf.range(256, dtype=tf.int64) < colours,
                       tf.int64)[:, tf.newaxis]
    palette = tf.cast(palette[:, 2::-1], tf.uint8)  # Blue comes first.
    return tf.ensure_shape(tf.gather(palette, tf.cast(numbers, tf.int32)),
                           [None, None, 3])


def _webp(image, channels):
    # TensorFlow's WebP decoder refuses channels=3 for files with alpha, and
    # with any other value it corrupts memory on animated ones: those are told
    # by a flag in the extended header and go to the call that just fails.
    flags = headers.read(image, 20, 1)[0]
    animated = headers.starts(image, b"VP8X", 12) & (flags // 2 % 2 > 0)

    def still():
        pixels = tf.io.decode_image(image, 0, expand_animations=False)
        return tf.ensure_shape(pixels[..., :3], [None, None, 3])

    return with_channels(
        tf.cond(animated, lambda: _by_tensorflow(image, 3), still), channels)


def _require_few(image, pixels):
    return _require(pixels <= _MOST, tf.strings.join([
        "The image has ", tf.strings.as_string(pixels), " pixels, more than "
        f"{_MOST:,}."]), image)


def _require(condition, message, value):
    """The value, or an InvalidArgumentError with the message."""
    # Not tf.debugging.Assert, which says more and, eagerly, something else.
    check = tf.raw_ops.Assert(condition=condition, data=[message], summarize=1)
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(value)

"""How much it takes to decode a file, from its bytes, undecoded.

A small file can be made so that its few bytes are read a thousand times, or
unpack to much that is no pixel. What that costs was measured for each of the
decoders, in memory and in time; see tests/serving/bombs.py for such files.
"""
import tensorflow as tf

from tfvit.data.images import headers

ADVICE = ("Save it as a plain JPEG (not progressive) or PNG (8 bits, not "
          "interlaced).")
_SCANS = 50  # Of a JPEG take as long as its pixels; programs make some ten.
_SCAN = 8  # Bytes, at least.
_PHOTO = 16  # Most pixels for a byte of one.
_TEXTS = 20  # Most compressed ones of a PNG; 8 MB can be in each.
_SMALL = 100_000  # Bytes, whose texts unpack in a third of a second.
_HUGE = 2**40


def effort(image, pixels) -> tf.Tensor:
    """Returns height x width, and more where decoding takes more, int64 [].

    A pixel of a plain file takes up to six bytes; it counts twice where it
    takes more, such as in a progressive JPEG, which is held as a whole.

    Args:
      image: the file, string [].
      pixels: headers.num_pixels of it.

    Raises:
      tf.errors.InvalidArgumentError: see headers.num_pixels.
    """
    return tf.case([
        (headers.starts(image, b"\xff\xd8\xff"), lambda: _jpeg(image, pixels)),
        (headers.starts(image, b"\x89PNG"), lambda: _png(image, pixels)),
    ],
                   default=lambda: pixels * tf.where(
                       headers.starts(image, b"BM"), tf.constant(1, tf.int64),
                       2))


def most(image, pixels) -> tf.Tensor:
    """Returns what `effort` is at most, which costs nothing to know."""
    length = tf.strings.length(image)
    times = tf.maximum(4, length // (_SCANS * _SCAN))
    return pixels * tf.cast(times, tf.int64) + tf.where(
        length > _SMALL, tf.constant(_HUGE, tf.int64), 0)


def _jpeg(image, pixels):
    colours = tf.cast(tf.image.extract_jpeg_shape(image)[2], tf.uint8)
    # Their headers: length, colours, two bytes for each, first frequency, last.
    # In the midst of other data this is no marker, but for previews in EXIF.
    scans = _split(image, b"\xff\xda")[1:]
    heads = tf.io.decode_raw(tf.strings.substr(scans, 0, 13), tf.uint8,
                             fixed_length=13)
    count = tf.minimum(heads[:, 2], 4)
    last = tf.gather(heads, tf.cast(count, tf.int32) * 2 + 4, axis=1,
                     batch_dims=1)
    whole = tf.reduce_any((heads[:, 2] < colours) | (last < 63))
    times = tf.maximum(tf.size(scans, tf.int64) // _SCANS, 2)
    # Turning takes two copies. Of photos there are others, which are large.
    turned = (headers.orientation(image) > 1) & (
        tf.cast(tf.strings.length(image), tf.int64) < pixels // _PHOTO)
    return pixels * tf.where(whole, times, 1) + tf.where(
        turned, pixels // 2, 0)


def _png(image, pixels):
    head = headers.read(image, 24, 5)  # Bits, colours, ..., ..., interlaced.
    texts = tf.cond(
        tf.strings.length(image) < _SMALL, lambda: 0,
        lambda: tf.size(_split(image, b"zTXt")) + tf.size(
            _split(image, b"iTXt")) - 2)
    return (pixels * tf.where(head[0] > 8, tf.constant(2, tf.int64), 1) *
            tf.where(head[4] > 0, tf.constant(2, tf.int64), 1) +
            tf.where(texts > _TEXTS, tf.constant(_HUGE, tf.int64), 0))


def _split(image, text):
    return tf.raw_ops.StringSplitV2(input=[image], sep=text).values

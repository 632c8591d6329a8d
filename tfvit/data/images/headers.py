"""What an image file is, from its bytes, undecoded and in the graph.

`image` is the whole file, a string []. Everything is made of TensorFlow's
standard ops, for tf.data as for a SavedModel. Loops over the parts of a file
end after so many steps, whatever the file says.
"""
import functools

import numpy as np
import tensorflow as tf

# What cannot be decoded, though other programs can: 0 is everything else.
FOREIGN = ("", "HEIC", "AVIF", "TIFF", "JPEG XL", "JPEG 2000", "PSD", "PDF")
ADVICE = "TensorFlow does not read it: convert it to JPEG or PNG."
_MAGIC = (  # (number in FOREIGN, where, bytes)
    *((1, 4, b"ftyp" + brand) for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    *((2, 4, b"ftyp" + brand) for brand in (b"avif", b"avis")),
    *((3, 0, magic) for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (4, 0, b"\xff\x0a"), (4, 4, b"JXL "), (5, 4, b"jP  "), (6, 0, b"8BPS"),
    (7, 0, b"%PDF"))

# Traced once, whoever asks; and loops are fast when called eagerly, too. Not
# inlined: where tf.cond does not take a function's branch, the executor would
# still go over each of its nodes, which costs a millisecond an image.
apart = functools.partial(
    tf.function, input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False, experimental_attributes={"_noinline": True})

_STEPS = 10_000  # Parts of a file; photos have some ten, large PNGs thousands.
_BLOCKS = 100_000  # Of a GIF's frame, 255 bytes each.
_COMMENTS = 20_000  # Blocks before it.
_AT_A_TIME = 16
_ORIENTATION = 0x0112  # Tag of EXIF.
# Bytes of a value of each type of TIFF 6.0 and its supplements; 0: unknown.
_UNITS = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 0])


def read(image, at, length: int) -> tf.Tensor:
    """Returns int64 [length] bytes from `at` on, zeros beyond the end."""
    at = tf.minimum(tf.cast(at, tf.int64), _length(image))
    piece = tf.strings.substr(image, at, tf.constant(length, tf.int64))
    raw = tf.io.decode_raw(piece, tf.uint8, fixed_length=length)
    return tf.ensure_shape(tf.cast(raw, tf.int64), [length])


def little(image, at, length: int) -> tf.Tensor:
    """Returns the unsigned number there, lowest byte first, int64 []."""
    return _number(read(image, at, length), True)


def starts(image, text: bytes, at=0) -> tf.Tensor:
    """Tells whether these bytes are there, bool []."""
    at = tf.minimum(tf.cast(at, tf.int64), _length(image))
    return tf.strings.substr(image, at, len(text) + 0 * at) == text


def signed(number) -> tf.Tensor:
    """Makes an int64 of an unsigned number of 32 bits that means a signed."""
    return number - number // 2**31 * 2**32


@apart
def num_pixels(image) -> tf.Tensor:
    """Returns height x width of an encoded image [], int64, undecoded.

    0 for bytes that are no image. A file can be small and its image huge, so
    that decoding it would take all memory.

    Raises:
      tf.errors.InvalidArgumentError: the bytes begin like a JPEG and are none.
    """

    def jpeg():
        shape = tf.cast(tf.image.extract_jpeg_shape(image), tf.int64)
        return shape[0] * shape[1]

    def webp():  # https://developers.google.com/speed/webp/docs/riff_container
        # Fields of 14 or 24 bits, each minus one but those of a VP8 frame.
        bits = little(image, 21, 4)
        return tf.case([
            (starts(image, b"VP8X", 12), lambda: (little(image, 24, 3) + 1) *
             (little(image, 27, 3) + 1)),
            (starts(image, b"VP8L", 12), lambda: (bits % 2**14 + 1) *
             (bits // 2**14 % 2**14 + 1)),
        ],
                       default=lambda: (little(image, 26, 2) % 2**14) *
                       (little(image, 28, 2) % 2**14))

    def png():
        return (_number(read(image, 16, 4), False) *
                _number(read(image, 20, 4), False))

    return tf.case([
        (starts(image, b"\xff\xd8\xff"), jpeg),
        (starts(image, b"\x89PNG"), png),
        (starts(image, b"GIF8"), lambda: tf.reduce_prod(gif(image)["canvas"])),
        (starts(image, b"BM"), lambda: little(image, 18, 4) * tf.abs(
            signed(little(image, 22, 4)))),
        (starts(image, b"WEBP", 8), webp),
    ],
                   default=lambda: tf.constant(0, tf.int64))


@apart
def foreign(image) -> tf.Tensor:
    """Returns which of FOREIGN a file is, int32 []; 0 for none of them."""
    return tf.reduce_max(tf.stack([
        tf.where(starts(image, magic, at), number, 0)
        for number, at, magic in _MAGIC]))


@apart
def gif(image) -> dict[str, tf.Tensor]:
    """Finds the first frame of a GIF, by https://www.w3.org/Graphics/GIF.

    Returns:
      {"canvas": height and width, which hold the frame, int64 [2]; "frame":
      its top, left, height and width, int64 [4]; "begin": where its descriptor
      lies, 0 if there is none; "end": where its data end; "transparent":
      whether it has a transparent colour, bool []; "palette": where its colours
      lie; else int64 []}.
    """
    # Zeros as far as a block at the end of the file may say that it reaches.
    data = tf.io.decode_raw(tf.strings.join([image, b"\0" * 256]), tf.uint8)
    last = _length(image)

    def byte(at):
        at = tf.cast(at, tf.int64)
        return tf.cast(data[tf.minimum(at, last)], tf.int64)

    def table(flags):  # Bytes of the colours that flags announce.
        return tf.where(flags >= 128, 3 * 2**(flags % 8 + 1), 0)

    def skip(at, most):
        """Leaves out blocks up to an empty one; what is left of `most`, too."""

        def next_blocks(at, most):
            for _ in range(_AT_A_TIME):
                size = tf.cast(tf.gather(data, at), tf.int64)
                at += size + tf.minimum(size, 1)  # Stays at an empty one.
            return at, most - _AT_A_TIME

        at, most = tf.while_loop(lambda at, most: (byte(at) > 0) & (most > 0),
                                 next_blocks, [tf.minimum(at, last), most])
        return at + 1, most

    def extension(at, transparent, most):
        control = byte(at + 1) == 0xf9
        transparent = tf.where(control, byte(at + 3) % 2, transparent)
        at, most = skip(at + 2, most - _AT_A_TIME)
        return at, transparent, most

    at, transparent, _ = tf.while_loop(
        lambda at, _, most: (byte(at) == 0x21) & (at < last) & (most > 0),
        extension, [13 + table(byte(10)), tf.constant(0, tf.int64), _COMMENTS])
    found = (byte(at) == 0x2c) & (at + 10 <= last)
    flags = byte(at + 9)
    left, top, width, height = [
        tf.where(found, byte(at + i) + 256 * byte(at + i + 1), 0)
        for i in (1, 3, 5, 7)]
    return {
        "canvas": tf.stack([
            tf.maximum(little(image, 8, 2), top + height),
            tf.maximum(little(image, 6, 2), left + width)]),
        "frame": tf.stack([top, left, height, width]),
        "begin": tf.where(found, at, 0),
        "end": skip(at + 11 + table(flags), _BLOCKS)[0],
        "transparent": transparent > 0,
        "palette": tf.where(flags >= 128, at + 10, 13),
    }


def orientation(image) -> tf.Tensor:
    """Returns the EXIF orientation of a JPEG, PNG or WebP file, int32 [].

    1 to 8, and 1 where there is none or the EXIF is broken. Only EXIF is read:
    no XMP, nor the texts in which old versions of ImageMagick hide it in PNG.
    """
    # Most files do not even have the name of what is looked for.
    name = tf.where(starts(image, b"\xff\xd8\xff"), b"Exif",
                    tf.where(starts(image, b"\x89PNG"), b"eXIf", b"EXIF"))
    pieces = tf.raw_ops.StringSplitV2(input=[image], sep=name, maxsplit=1)
    return tf.cond(tf.size(pieces.values) > 1, lambda: _orientation(image),
                   lambda: tf.constant(1))


@apart
def _orientation(image):
    name = b"Exif\0\0"

    def jpeg(at):
        head = read(image, at, 4)
        marker, size = head[1], _number(head[2:], False)
        exif = (marker == 0xe1) & starts(image, name, at + 4)
        bare = (marker == 1) | ((marker >= 0xd0) & (marker <= 0xd7))
        step = tf.where(marker == 0xff, tf.ones_like(size),  # A filler.
                        tf.where(~bare, 2 + size, 2))
        ends = (head[0] != 0xff) | (marker == 0xda) | (marker == 0xd9)
        return exif, ends, at + 4, size - 2, at + step

    def png(at):
        size = _number(read(image, at, 4), False)
        return (starts(image, b"eXIf", at + 4), starts(image, b"IEND", at + 4),
                at + 8, size, at + size + 12)

    def webp(at):
        size = little(image, at + 4, 4)
        return (starts(image, b"EXIF", at), tf.constant(False), at + 8, size,
                at + 8 + size + size % 2)

    def find(part, begin):

        def step(at, _):
            exif, ends, *_, after = part(at)
            goes_on = ~exif & ~ends & (after < _length(image))
            return tf.where(goes_on, after, at), goes_on

        at, _ = tf.while_loop(lambda at, goes_on: goes_on, step,
                              [tf.constant(begin, tf.int64), True],
                              maximum_iterations=_STEPS)
        exif, _, begin, size, _ = part(at)
        # Where there is no EXIF, an empty one.
        begin = tf.minimum(begin, _length(image))
        exif = tf.strings.substr(image, begin, tf.where(exif, size, 0))
        for _ in range(2):  # Some writers say it twice, in any format.
            start = len(name) * tf.cast(starts(exif, name), tf.int64)
            exif = tf.strings.substr(exif, start, _length(exif))
        return _tiff_orientation(exif)

    extended = starts(image, b"VP8X", 12) & (read(image, 20, 1)[0] // 8 % 2 > 0)
    return tf.case([
        (starts(image, b"\xff\xd8\xff"), lambda: find(jpeg, 2)),
        (starts(image, b"\x89PNG"), lambda: find(png, 8)),
        (starts(image, b"WEBP", 8) & extended, lambda: find(webp, 12)),
    ],
                   default=lambda: tf.constant(1))


def _tiff_orientation(tiff):
    """The orientation of the first directory of a TIFF file; else 1."""
    ordered = starts(tiff, b"II*\0")

    def number(digits):
        return _number(digits, ordered)

    at = number(read(tiff, 4, 4))
    size = 12 * number(read(tiff, at, 2))
    raw = tf.io.decode_raw(tf.strings.substr(
        tiff, tf.minimum(at + 2, _length(tiff)), size), tf.uint8)
    entries = tf.cast(tf.reshape(raw[:tf.size(raw) // 12 * 12], [-1, 12]),
                      tf.int64)
    kind, count, value = (number(entries[:, 2:4]), number(entries[:, 4:8]),
                          number(entries[:, 8:]))
    sizes = count * tf.gather(_UNITS, tf.minimum(kind, len(_UNITS) - 1))
    # What follows a value beyond the end of the file is not to be trusted.
    outside = (sizes > 4) & (value + sizes > _length(tiff))
    sound = tf.cumsum(tf.cast(outside, tf.int64)) == 0
    short = (kind == 3) | (kind == 8)
    value = tf.where(short, number(entries[:, 8:10]), value)
    right = (sound & (number(entries[:, :2]) == _ORIENTATION) &
             (short | (kind == 4) | (kind == 9)) & (sizes > 0) & (sizes <= 4))
    # The first one counts; 1 stands behind all.
    value = tf.concat([tf.boolean_mask(value, right), [1]], 0)[0]
    is_tiff = ordered | starts(tiff, b"MM\0*")
    return tf.where(is_tiff & (value >= 1) & (value <= 8),
                    tf.cast(value, tf.int32), 1)


def _number(digits, lowest_first):
    """Makes numbers [...] of bytes, int64 [..., n]."""
    weights = 256**np.arange(digits.shape[-1], dtype=np.int64)
    weights = tf.where(lowest_first, weights, weights[::-1])
    return tf.reduce_sum(digits * weights, -1)


def _length(image):
    return tf.cast(tf.strings.length(image), tf.int64)

"""How large an image is, from the first bytes of its file, in the graph."""
import tensorflow as tf

_LENGTH = 32  # Bytes; no header but JPEG's has its size further back.


def num_pixels(image) -> tf.Tensor:
    """Returns height x width of an encoded image [], int64, undecoded.

    0 for bytes that are no image. A file can be small and its image huge, so
    that decoding it would take all memory.

    Raises:
      tf.errors.InvalidArgumentError: the bytes begin like a JPEG and are none.
    """
    padded = tf.strings.join(
        [tf.strings.substr(image, 0, _LENGTH), b"\0" * _LENGTH])
    header = tf.io.decode_raw(tf.strings.substr(padded, 0, _LENGTH), tf.uint8)
    header = tf.ensure_shape(tf.cast(header, tf.int64), [_LENGTH])

    def little(at, length):
        return tf.add_n([header[at + i] * 256**i for i in range(length)])

    def big(at):
        return tf.add_n([header[at + i] * 256**(3 - i) for i in range(4)])

    def signed(value):  # A negative height means: upside down.
        return tf.abs(value - value // 2**31 * 2**32)

    def starts(text, at=0):
        return tf.strings.substr(padded, at, len(text)) == text

    def jpeg():
        shape = tf.cast(tf.image.extract_jpeg_shape(image), tf.int64)
        return shape[0] * shape[1]

    def webp():  # https://developers.google.com/speed/webp/docs/riff_container
        return tf.case([
            (starts(b"VP8X", 12), lambda: (little(24, 3) + 1) *
             (little(27, 3) + 1)),
            (starts(b"VP8L", 12), lambda: (little(21, 4) % 2**14 + 1) *
             (little(21, 4) // 2**14 % 2**14 + 1)),
        ],
                       default=lambda: (little(26, 2) % 2**14) *
                       (little(28, 2) % 2**14))

    return tf.case([
        (starts(b"\xff\xd8\xff"), jpeg),
        (starts(b"\x89PNG"), lambda: big(16) * big(20)),
        (starts(b"GIF8"), lambda: little(6, 2) * little(8, 2)),
        (starts(b"BM"), lambda: little(18, 4) * signed(little(22, 4))),
        (starts(b"WEBP", 8), webp),
    ],
                   default=lambda: tf.constant(0, tf.int64))

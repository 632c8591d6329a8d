"""Small files that mean to cost much memory or time, by their formats' rules.

Made by hand: what makes images does not make these. `pixels` is how many the
header promises, in a shape that is about square.
"""
import functools
import io
import math
import struct
import zlib

from PIL import Image

LIMIT = 1_000_000  # Bytes of a file.


def sides(pixels):
    """(height, width), multiples of 8."""
    width = math.isqrt(pixels) // 8 * 8
    return pixels // width // 8 * 8, width


def jpeg(pixels, *, progressive=False, scans=1, components=3, apart=False,
         segments=0, exif=0, upside=1):
    """A grey JPEG whose blocks take one or two bits each.

    Args:
      pixels: see above.
      progressive: the first scan has what does not vary, and each further one
        of `scans`, for all blocks, nothing.
      scans: how many.
      components: 1, 3 or 4.
      apart: a sequential file with a scan for each component.
      segments: empty comments.
      exif: bytes of EXIF, of empty entries.
      upside: the orientation that EXIF says.
    """
    height, width = sides(pixels)
    blocks = height * width // 64
    numbers = range(1, components + 1)

    def segment(marker, body):
        return struct.pack(">HH", 0xff00 + marker, len(body) + 2) + body

    def scan(which, first, last, data):
        return segment(0xda, bytes([len(which)]) + b"".join(
            bytes([n, 0]) for n in which) + bytes([first, last, 0])) + data

    # Codes: 0 is "0 in the next DC" or "the end of a block"; 10 of AC tables
    # is the end of 2^14 and as many blocks as the next 14 bits say.
    tables = segment(0xc4, b"\0" + bytes([1] + [0] * 15) + b"\0")
    tables += segment(0xc4, b"\x10" + bytes([1, 1] + [0] * 14) + b"\0\xe0")
    parts = [b"\xff\xd8", segment(0xfe, b"") * segments]
    if exif or upside > 1:
        entry = struct.pack("<HHLHH", 0x0112, 3, 1, upside, 0)
        parts.append(segment(0xe1, b"Exif\0\0II*\0\x08\0\0\0" + struct.pack(
            "<H", exif // 12 + 1) + bytes(exif // 12 * 12) + entry))
    parts += [segment(0xdb, b"\0" + b"\1" * 64), segment(
        0xc2 if progressive else 0xc0, struct.pack(
            ">BHHB", 8, height, width, components) + b"".join(
                bytes([n, 0x11, 0]) for n in numbers)), tables]
    if progressive:
        parts.append(scan(numbers, 0, 0, bytes(blocks * components // 8 + 1)))
        bits = "10" + 14 * "1"
        run = int(bits * (blocks // (2**15 - 1) + 1), 2)
        run = run.to_bytes(2 * (blocks // (2**15 - 1) + 1), "big")
        run = run.replace(b"\xff", b"\xff\0")
        parts += [scan([1 + i % components], 1, 63, run)
                  for i in range(scans - 1)]
    else:
        data = bytes(2 * blocks // 8 + 1)
        parts += ([scan([n], 0, 63, data) for n in numbers] if apart else [
            scan(numbers, 0, 63, data * components)])
    return b"".join(parts) + b"\xff\xd9"


def png(pixels, *, bits=8, colours=2, interlaced=False, shape=None,
        before=()):
    """A black PNG.

    Args:
      pixels, shape: of the image, or its (height, width).
      bits: of each value.
      colours: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
      interlaced: in seven passes.
      before: (kind, data) of chunks before the pixels.
    """
    height, width = shape or sides(pixels)
    depth = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
              (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    size = 0
    for left, top, right, down in passes if interlaced else [(0, 0, 1, 1)]:
        columns = -(-(width - left) // right)
        rows = -(-(height - top) // down)
        size += rows * (1 + -(-columns * depth // 8)) if columns > 0 else 0
    squeeze, data = zlib.compressobj(9), b""
    for begin in range(0, size, 2**24):
        data += squeeze.compress(bytes(min(2**24, size - begin)))
    chunks = [(b"IHDR", struct.pack(">LLBBBBB", width, height, bits, colours,
                                    0, 0, interlaced)), *before]
    if colours == 3:
        chunks.append((b"PLTE", bytes(3 * 2**bits)))
    chunks += [(b"IDAT", data + squeeze.flush()), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(body)) + kind + body +
        struct.pack(">L", zlib.crc32(kind + body)) for kind, body in chunks)


def texts(kind, count, size):
    """Chunks that unpack to `size` bytes each: zTXt, iTXt or iCCP."""
    packed = zlib.compress(bytes(size), 9)
    head = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}
    return [(kind, head[kind] + packed)] * count


def gif(pixels, *, place=(0, 0), canvas=None, extensions=0, blocks=0,
        frames=1):
    """A GIF of one colour.

    Args:
      pixels: of the frame.
      place: its left and top.
      canvas: (height, width) of the header; None for those of the frame.
      extensions: empty comments before it.
      blocks: bytes of a comment, each in a block of its own.
      frames: how many, all alike.
    """
    file = io.BytesIO()
    Image.new("P", sides(pixels)[::-1]).save(file, "GIF")
    data = file.getvalue()
    size = 13 + 3 * 2**(data[10] % 8 + 1)
    at = data.index(b"\x2c", size)
    comments = b"\x21\xfe\0" * extensions
    if blocks:
        comments += b"\x21\xfe" + b"\1a" * blocks + b"\0"
    header = data[:6] + struct.pack("<HH", *(canvas or sides(pixels))[::-1])
    frame = b"\x2c" + struct.pack("<HH", *place) + data[at + 5:-1]
    return header + data[10:size] + comments + frame * frames + b";"


def bmp(pixels, bits):
    """A BMP of one colour, of 1, 4 or 8 bits."""
    height, width = sides(pixels)
    row = (width * bits + 31) // 32 * 4
    begin = 54 + 4 * 2**bits
    return struct.pack(
        "<2sLLLLllHHLLllLL", b"BM", begin + row * height, 0, begin, 40, width,
        height, 1, bits, 0, 0, 0, 0, 0, 0) + bytes(begin - 54 + row * height)


def webp(pixels, *, alpha=False):
    """A lossless WebP of one colour, which takes no bits at all."""
    height, width = sides(pixels)
    bits = 0x2f | (width - 1) << 8 | (height - 1) << 22 | alpha << 36
    # No transform, cache nor groups; five codes of one symbol, 0, each.
    bits |= sum(1 << 43 + 4 * i for i in range(5))
    data = bits.to_bytes(9, "little") + bytes(1)
    body = b"WEBPVP8L" + struct.pack("<L", len(data)) + data
    return b"RIFF" + struct.pack("<L", len(body)) + body


def all_of(pixels, names=()):
    """{name: bytes}, at most LIMIT each; large images are of `pixels`.

    `names` says which; none for all.
    """
    line = pixels // 4
    found = {
        "jpeg": lambda: jpeg(pixels),
        "jpeg turned": lambda: jpeg(pixels, upside=6),
        "jpeg grey": lambda: jpeg(pixels, components=1),
        "jpeg cmyk": lambda: jpeg(pixels, components=4),
        "jpeg apart": lambda: jpeg(pixels, apart=True),
        "jpeg progressive": lambda: jpeg(pixels, progressive=True),
        "jpeg progressive turned": lambda: jpeg(pixels, progressive=True, upside=8),
        "jpeg progressive cmyk": lambda: jpeg(pixels, progressive=True, components=4),
        "jpeg segments": lambda: jpeg(64, segments=200_000),
        "jpeg exif": lambda: jpeg(64, exif=65_000),
        "png": lambda: png(pixels),
        "png 16": lambda: png(pixels, bits=16, colours=6),
        "png palette": lambda: png(pixels, bits=1, colours=3),
        "png interlaced": lambda: png(pixels, interlaced=True),
        "png interlaced 16": lambda: png(pixels, bits=16, colours=6, interlaced=True),
        "png tall": lambda: png(0, colours=0, shape=(line, 1)),
        "png wide": lambda: png(0, colours=0, shape=(1, line)),
        "png 3 high": lambda: png(0, colours=0, shape=(3, line // 3)),
        "gif": lambda: gif(pixels),
        "gif placed": lambda: gif(pixels // 4, place=(9, 9)),
        "gif on a canvas": lambda: gif(64, canvas=sides(pixels)),
        "gif frames": lambda: gif(pixels // 20, frames=60),
        "gif extensions": lambda: gif(64, extensions=300_000),
        "gif blocks": lambda: gif(64, blocks=490_000),
        "bmp 1": lambda: bmp(min(pixels, 7_500_000), 1),
        "bmp 8": lambda: bmp(min(pixels, 900_000), 8),
        "webp": lambda: webp(pixels),
        "webp alpha": lambda: webp(pixels, alpha=True),
    }
    for scans in (10, 100, 1_000, 5_000):
        for share in (1, 10, 100):
            found[f"jpeg {scans} scans of 1/{share}"] = functools.partial(
                jpeg, pixels // share, progressive=True, scans=scans)
    for kind in (b"zTXt", b"iTXt", b"iCCP"):
        for size in (100_000, 7_900_000):
            count = min(120, 800_000 // len(texts(kind, 1, size)[0][1]))
            found[f"png {kind.decode()} {size}"] = functools.partial(
                png, 64, before=texts(kind, count, size))
    made = {name: make() for name, make in found.items()
            if not names or name in names}
    return {name: data for name, data in made.items() if len(data) <= LIMIT}

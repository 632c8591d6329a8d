"""Lists what lies in tar files, and where: their members' first bytes.

What the standard library's tarfile lists, several times as fast: names of any
length (GNU's, POSIX's pax, ustar's prefix) and sizes of any. Compressed files
have no places in them to read from.
"""
from collections.abc import Callable, Iterator

_BLOCK = 512  # Bytes.
_FILES = b"0\0007"  # Types of members that are plain files.
_MOST = 2**20  # Bytes of a header's text.
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def members(read: Callable[[int, int], bytes], size: int, name: str,
            begin: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yields (name, first byte, number of bytes) of each plain file inside.

    Args:
      read: (first byte, number of bytes) -> the bytes.
      size: of what is read, in bytes.
      name: to call it in errors.
      begin: where the tar begins in it.

    Raises:
      ValueError: it is no tar file, a compressed one, or cut short.
    """
    place, override = begin, {}
    while place + _BLOCK <= size:
        header = read(place, _BLOCK)
        if header[:257].count(0) == 257:  # The end, or what was filled up.
            if place == begin and header.count(0) != _BLOCK:
                raise ValueError(f"{name} is no tar file.")
            return
        _check(header, place == begin, name)
        kind, length = header[156:157], _number(header[124:136], name)
        data, place = place + _BLOCK, place + _BLOCK + -(-length //
                                                         _BLOCK) * _BLOCK
        if place > size and data + length > size:
            raise ValueError(f"{name} is cut short: a part of it ends after "
                             f"{data + length:,} bytes, the file after "
                             f"{size:,}.")
        if kind in b"xgLK":
            if length > _MOST:
                raise ValueError(f"{name} is no tar file that can be read.")
            text = read(data, length)
            if kind == b"L":
                override["path"] = text.rstrip(b"\0").decode(
                    "utf-8", "surrogateescape")
            elif kind == b"x":
                override |= _pax(text)
            continue
        if "size" in override:
            length = int(override["size"])
            place = data + -(-length // _BLOCK) * _BLOCK
        if kind in _FILES:
            yield override.get("path") or _name(header), data, length
        override = {}


def _check(header, first, name):
    """Raises ValueError where a header's checksum is wrong."""
    if first and header.startswith(_PACKED):
        raise ValueError(f"{name} is compressed, so that nothing in it can be "
                         "read alone: unpack it (gunzip, or the like; images "
                         "are compressed anyway).")
    total = sum(header) - sum(header[148:156]) + 8 * 32
    try:
        right = int(header[148:156].strip(b"\0 ") or b"0", 8) == total
    except ValueError:
        right = False
    if not right:
        raise ValueError(f"{name} is no tar file." if first else
                         f"{name} is damaged: what should begin another part "
                         "of it does not.")


def _number(field, name):
    if field[0] & 0x80:  # GNU's way for more than 8 GiB.
        return int.from_bytes(field, "big") & ~(0x80 << 88)
    try:
        return int(field.strip(b"\0 ") or b"0", 8)
    except ValueError:
        raise ValueError(f"{name} is damaged: {field!r} is no size.") from None


def _name(header):
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0":  # GNU's own format has no prefix there.
        prefix = header[345:500].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    return name.decode("utf-8", "surrogateescape")


def _pax(text):
    """{key: value} of records "length key=value\\n"."""
    found = {}
    while text.strip(b"\0"):
        length, _, rest = text.partition(b" ")
        record, text = text[len(length) + 1:int(length) - 1], text[int(length):]
        key, _, value = record.partition(b"=")
        found[key.decode()] = value.decode("utf-8", "surrogateescape")
    return found

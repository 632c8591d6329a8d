"""TPU slices by their names, and what their chips can do.

A slice is v5e:2x4, its chips' version and how they are laid out, or as Google
Cloud sells it: v5e-8, v4-32, v5litepod-256.
"""

import dataclasses
import math
import re


@dataclasses.dataclass(frozen=True)
class Chip:
    """What TPUStrategy takes for one device: a chip; of a v3, half a chip.

    Attributes:
      tflops: products of bfloat16 at the peak, 1e12 / s.
      gbps: of its memory, 1e9 bytes / s.
      gib: memory that the compiler (libtpu 0.0.42) gives to one program.
      ici_gbps: what it sends to all its neighbours together, 1e9 bytes / s: of
        a pod's "all-reduce bandwidth" its share where that is published, else
        half of the chip's "bidirectional ICI bandwidth".
      devices: of one chip.
      cores: of one chip; Google Cloud's names count them, or chips.
      dims: of the layout, 2 or 3.
      pod: the most chips that are connected.
      source: where these are published.
    """
    tflops: float
    gbps: float
    gib: float
    ici_gbps: float
    devices: int
    cores: int
    dims: int
    pod: int
    source: str


_DOCS = "https://cloud.google.com/tpu/docs/"
CHIPS = {
    # 123 TFLOP/s and 900 GB/s a chip of two devices; 340 TB/s for 1,024 chips.
    "v3": Chip(61.5, 450, 15.48, 166, 2, 2, 2, 1024, _DOCS + "v3"),
    # 1.1 PB/s for 4,096 chips.
    "v4": Chip(275, 1200, 30.75, 268, 1, 2, 3, 4096, _DOCS + "v4"),
    # 51.2 TB/s for 256 chips.
    "v5e": Chip(197, 819, 15.75, 200, 1, 1, 2, 256, _DOCS + "v5e"),
    # 1,200 GB/s both ways.
    "v5p": Chip(459, 2765, 95.74, 600, 1, 2, 3, 8960, _DOCS + "v5p"),
    # 102.4 TB/s for 256 chips.
    "v6e": Chip(918, 1600, 31.25, 400, 1, 1, 2, 256, _DOCS + "v6e"),
}
_OTHER_NAMES = {"v5litepod": "v5e", "v5lite": "v5e"}
_EXAMPLES = "v5e:2x4, v4:2x2x2, or a type such as v5e-8"


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are connected.

    Attributes:
      name: such as v5e:2x4, as libtpu has it.
      chip: a Chip.
      chips: their number.
      replicas: how many TPUStrategy has on it.
    """
    name: str
    chip: Chip
    chips: int

    @property
    def replicas(self):
        return self.chips * self.chip.devices


def named(text):
    """The Slice of a name.

    Raises:
      ValueError: there is no such.
    """
    found = re.fullmatch(r"(\w+)(?::([\dx]+)|-(\d+))", text.strip().lower())
    version = found and _OTHER_NAMES.get(found[1], found[1])
    if not found or version not in CHIPS:
        raise ValueError(f"{text!r} is no slice, which is one of "
                         f"{', '.join(CHIPS)} and a layout: {_EXAMPLES}.")
    chip = CHIPS[version]
    if found[3]:
        chips = int(found[3]) // chip.cores
        # Layouts double one side after the other, the last one first.
        shape = _layout(chips, chip.dims)
        if chips * chip.cores != int(found[3]) or not shape:
            counted = "cores" if chip.cores > 1 else "chips"
            raise ValueError(
                f"{text}: {found[3]} {counted} are no slice of "
                f"{version}; give its layout, such as "
                f"{version}:{'2x2x2' if chip.dims == 3 else '2x4'}.")
    else:
        shape = [int(side or 0) for side in found[2].split("x")]
        if len(shape) != chip.dims or not all(shape):
            raise ValueError(
                f"{text}: chips of {version} lie in {chip.dims} "
                f"dimensions, such as "
                f"{version}:{'2x2x2' if chip.dims == 3 else '2x4'}.")
        if math.prod(shape) > 1 and any(side % 2 for side in shape[:2]):
            raise ValueError(f"{text}: hosts of 2x2 chips make up a slice, so "
                             "its two first sides are even.")
    if math.prod(shape) > chip.pod:
        raise ValueError(f"{text}: a pod of {version} has {chip.pod:,} chips.")
    return Slice(f"{version}:{'x'.join(map(str, shape))}", chip,
                 math.prod(shape))


def _layout(chips, dims):
    """Sides of the usual slice of so many chips, a power of two; else None."""
    if chips == 1:
        return [1] * dims
    if chips < 4 or chips & (chips - 1):
        return None
    # 2x2, 2x4, 4x4, ...; 2x2x1, 2x2x2, 2x2x4, 2x4x4, ...
    power = chips.bit_length() - 1
    if dims == 2:
        return [2**(power // 2), 2**(power - power // 2)]
    if power == 2:
        return [2, 2, 1]
    return sorted(2**((power + i) // 3) for i in range(3))

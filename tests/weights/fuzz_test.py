"""Damages a file in random ways: loading succeeds or raises ValueError.

TFVIT_FUZZ=2000 sets the number of damaged files.
"""

import io
import os
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from tfvit.models import vit
from tfvit.weights import load

CASES = int(os.environ.get("TFVIT_FUZZ", "100"))
MAX_SECONDS, MAX_BYTES = 5.0, 32 * 2**20  # The intact file has 0.1 MB.
GOLDEN = os.path.join(os.path.dirname(__file__), "..", "goldens",
                      "vit_token_released_names.npz")


@pytest.fixture(scope="module")
def model():
    return vit.vit(num_classes=10,
                   image_size=32,
                   patch_size=8,
                   width=24,
                   depth=2,
                   num_heads=3,
                   mlp_dim=48)


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN) as file:
        return {k.removeprefix("params/"): v for k, v in file.items()}


def truncated(data, rng):
    return data[:rng.integers(len(data))]


def flipped(data, rng):
    data = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def garbled(data, rng):
    """Overwrites a few bytes, mostly in the directory at the end."""
    data = bytearray(data)
    tail = len(data) // rng.choice([1, 8, 64])
    start = len(data) - 1 - rng.integers(tail)
    data[start:start + 8] = rng.bytes(len(data[start:start + 8]))
    return bytes(data)


def lying_directory(data, rng):
    """Writes a huge number over one of the sizes in the zip directory."""
    data = bytearray(data)
    starts = [i for i in range(len(data)) if data[i:i + 4] == b"PK\1\2"]
    field = rng.choice([20, 24, 42])  # Packed size, size, offset.
    struct.pack_into("<I", data,
                     rng.choice(starts) + field,
                     int(rng.choice([0, 2**20, 2**31, 2**32 - 1])))
    return bytes(data)


def rezip(data, edit, method=zipfile.ZIP_DEFLATED):
    """Applies edit(name, bytes) -> [(name, bytes), ...] to every member."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(
            result, "w", method) as new:
        for name in old.namelist():
            for edited in edit(name, old.read(name)):
                new.writestr(*edited)
    return result.getvalue()


def chosen(data, rng):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return rng.choice(archive.namelist())


def renamed(data, rng):
    victim = chosen(data, rng)
    name = rng.choice([
        "x.npy", "../../x.npy", "\N{SNOWMAN}.npy", "x", ".npy",
        victim.replace("_0/", "/"), "opt/target/" + victim,
        "Mixer/encoderblock_0/token_mixing_phase_0/kernel1.npy"
    ])
    return rezip(data, lambda n, b: [(name if n == victim else n, b)])


def reshaped(data, rng):
    victim = chosen(data, rng)
    shape = rng.choice([
        "()", "(0,)", "(-1, 4)", "(10000000000000,)", "(24, 0)",
        "(1000000000, 0)", "((1,),)", "(2.5,)", "(" * 50, "None", "(9**9**9,)",
        "(True, 24)"
    ])
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"
    header = (b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) +
              header.encode())
    return rezip(data, lambda n, b: [(n, header + b[128:]
                                      if n == victim else b)])


def bomb(data, rng):
    """Adds a megabyte or more of zeros, with and without a true header."""
    zeros = io.BytesIO()
    np.lib.format.write_array(zeros, np.zeros(2**rng.integers(18, 24), "<f4"))
    zeros = zeros.getvalue()[rng.choice([0, 128]):]
    victim = chosen(data, rng)
    return rezip(data, lambda n, b: [(n, zeros if n == victim else b)])


def doubled(data, rng):
    victim = chosen(data, rng)
    return rezip(data, lambda n, b: [(n, b)] * (1 + (n == victim)))


DAMAGES = [
    truncated, flipped, garbled, lying_directory, renamed, reshaped, bomb,
    doubled
]


@pytest.mark.parametrize("case", range(CASES))
@pytest.mark.filterwarnings("ignore:Duplicate name", "ignore:Reading `.npy`")
def test_a_damaged_file_loads_or_raises_value_error(model, arrays, tmp_path,
                                                    case):
    rng = np.random.default_rng(case)
    write = np.savez if case % 2 else np.savez_compressed
    path = str(tmp_path / "x.npz")
    write(path, **arrays)
    with open(path, "rb") as file:
        data = DAMAGES[case % len(DAMAGES)](file.read(), rng)
    with open(path, "wb") as file:
        file.write(data)
    start = time.monotonic()
    tracemalloc.start()
    try:
        load.from_npz(model, path=path, reset_head=False)
    except ValueError as error:
        assert path in str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MAX_BYTES + len(data)
    assert time.monotonic() - start < MAX_SECONDS

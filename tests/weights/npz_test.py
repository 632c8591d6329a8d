"""Tests for npz: what is written comes back, what is broken is refused."""

import io
import os
import zipfile

import ml_dtypes
import numpy as np
import pytest

from tfvit.weights import npz


@pytest.fixture(scope="module")
def tree():
    rng = np.random.default_rng(0)
    return {
        "head/kernel": rng.normal(size=[5, 3]).astype(np.float32),
        "head/bias": np.zeros([0], np.float32),
        "t": np.float32(2.3),
        "step": np.arange(4),
    }


def npy(array, **kwargs):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **kwargs)
    return stream.getvalue()


def npy_claiming(shape, dtype="<f4", data=b""):
    """An .npy whose header says whatever it is told to."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {
        "descr": dtype,
        "fortran_order": False,
        "shape": shape
    })
    return stream.getvalue() + data


def write_zip(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)


def test_saved_arrays_come_back_with_shape_dtype_and_bits(path, tree):
    npz.save(path, tree)
    with npz.load(path) as file:
        assert set(file) == set(tree)
        for name, array in tree.items():
            assert file[name].dtype == array.dtype
            assert file[name].shape == file.shapes[name] == array.shape
            assert file[name].tobytes() == array.tobytes()


def test_numpy_reads_what_save_writes(path, tree):
    npz.save(path, tree)
    np.testing.assert_array_equal(
        np.load(path)["head/kernel"], tree["head/kernel"])


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_files_that_numpy_wrote_are_read(path, tree, write):
    write(path, **tree)
    with npz.load(path) as file:
        np.testing.assert_array_equal(file["head/kernel"], tree["head/kernel"])
        np.testing.assert_array_equal(file["t"], tree["t"])


def test_the_same_tree_gives_the_same_bytes(path, tree):
    npz.save(path, tree)
    first = open(path, "rb").read()
    npz.save(path, dict(reversed(tree.items())))
    assert open(path, "rb").read() == first


def test_a_failed_save_leaves_the_old_file_and_no_other(path, tree):
    npz.save(path, tree)
    before = open(path, "rb").read()
    with pytest.raises(ValueError):
        npz.save(path, {"a": np.ones(3), "b": np.array([object()])})
    assert open(path, "rb").read() == before
    assert os.listdir(os.path.dirname(path)) == ["weights.npz"]


@pytest.mark.parametrize("array", [
    np.arange(12, dtype=np.float32).reshape(3, 4).T,
    np.arange(6, dtype=">f4").reshape(2, 3),
    np.arange(3_000_000, dtype=np.float16),
])
def test_unusual_storage_is_undone(path, array):
    np.savez(path, x=array)
    with npz.load(path) as file:
        result = file["x"]
    np.testing.assert_array_equal(result, array)
    assert result.flags.c_contiguous and result.dtype.isnative


def test_bfloat16_stored_as_two_bytes_becomes_float32(path):
    values = np.array([[1.0, -2.5], [3e38, np.inf]], ml_dtypes.bfloat16)
    write_zip(path, [("x.npy", npy_claiming((2, 2), "|V2", values.tobytes()))])
    with npz.load(path) as file:
        assert file.dtypes["x"] == file["x"].dtype == np.float32
        np.testing.assert_array_equal(file["x"], values.astype(np.float32))


def test_bfloat16_arrays_can_be_saved(path):
    values = np.array([1.0, -2.5], ml_dtypes.bfloat16)
    npz.save(path, {"x": values})
    np.testing.assert_array_equal(npz.load(path)["x"], [1.0, -2.5])


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="no/such.npz"):
        npz.load("no/such.npz")


def pickled():
    return npy(np.array([{}], dtype=object), allow_pickle=True)


TEN_TB = (10**13 // 4,)
BROKEN = {
    "empty": b"",
    "text": b"<html>404</html>" * 100,
    "pickled object": [("x.npy", pickled())],
    "bare pickle": [("x.npy", b"\x80\x04\x95")],
    "structured": [("x.npy", npy(np.zeros(2, "i4,f4")))],
    "string": [("x.npy", npy(np.array(["a"])))],
    "not an array": [("x.npy", npy(np.ones(2))), ("readme.txt", b"hello")],
    "claims 10 TB": [("x.npy", npy_claiming(TEN_TB, data=b"1234"))],
    "negative shape": [("x.npy", npy_claiming((-1, 4), data=b"1234"))],
    "negative product": [("x.npy", npy_claiming((-1, -1), data=b"1234"))],
    "too short": [("x.npy", npy_claiming((2,), data=b"1234"))],
    "too long": [("x.npy", npy_claiming((2,), data=b"1234" * 3))],
    "deep header": [("x.npy", b"\x93NUMPY\1\0\x28\x23" + b"(" * 9000)],
    "long header": [("x.npy", b"\x93NUMPY\2\0\xff\xff\xff\xff" + b" " * 99)],
    "version 9": [("x.npy", b"\x93NUMPY\x09\x00" + npy(np.ones(2))[8:])],
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_by_name(path, case):
    if isinstance(BROKEN[case], bytes):
        open(path, "wb").write(BROKEN[case])
    else:
        write_zip(path, BROKEN[case])
    with pytest.raises(ValueError, match=f"{path} is not an intact .npz"):
        npz.load(path)


def test_a_truncated_file_is_refused(path, tree):
    npz.save(path, tree)
    data = open(path, "rb").read()
    open(path, "wb").write(data[:-1])
    with pytest.raises(ValueError, match="not an intact"):
        npz.load(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_numpy_does_not_write_are_refused(path, method):
    write_zip(path, [("x.npy", npy(np.zeros(10)))], method)
    with pytest.raises(ValueError, match="compressed in a way"):
        npz.load(path)


def test_a_zip_bomb_is_refused_although_its_header_is_right(path, monkeypatch):
    monkeypatch.setattr(npz, "_FREE_BYTES", 2**16)
    write_zip(path, [("x.npy", npy(np.zeros(2**20)))], zipfile.ZIP_DEFLATED)
    assert os.path.getsize(path) < 2**14
    with pytest.raises(ValueError, match="claim to hold"):
        npz.load(path)


def test_flipped_bits_are_found_when_the_array_is_read(path, tree):
    npz.save(path, {"x": np.ones(100_000, np.float32)})
    data = bytearray(open(path, "rb").read())
    data[200_000] ^= 1
    open(path, "wb").write(data)
    with npz.load(path) as file, pytest.raises(ValueError, match="x: .*CRC"):
        file["x"]

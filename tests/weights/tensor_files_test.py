"""Files of tensors are read without being trusted."""

import json
import struct

import numpy as np
import pytest

from tfvit.weights import tensor_files

safe_numpy = pytest.importorskip("safetensors.numpy",
                                 reason="needs safetensors")


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return str(path)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def test_half_precision_is_widened(path):
    bits = np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16
    half = np.array([0.25, 8.0], np.float16)
    name = write(path, {"b": entry("BF16", offsets=(0, 4)),
                        "h": entry("F16", offsets=(4, 8))},
                 bits.astype("<u2").tobytes() + half.tobytes())
    with tensor_files.load(name) as file:
        assert file.dtypes["b"] == file["b"].dtype == np.float32
        np.testing.assert_array_equal(file["b"], [1.5, -2.0])
        out = np.empty(2, np.float32)
        file.read_into("h", out)
        np.testing.assert_array_equal(out, half)


@pytest.mark.parametrize("header, data", [
    ({"a": entry()}, b"1234567"),  # Cut short.
    ({"a": entry()}, b"123456789"),
    ({"a": entry(offsets=(0, 2**62))}, b"12345678"),
    ({"a": entry(offsets=(8, 0))}, b"12345678"),
    ({"a": entry(shape=(3,))}, b"12345678"),
    ({"a": entry(shape=(2**40, 2**40))}, b"12345678"),
    ({"a": entry(shape=(-1, -2))}, b"12345678"),
    ({"a": entry(), "b": entry()}, b"12345678"),  # The same bytes twice.
    ({"a": entry("F31")}, b"12345678"),
    ({"a": {}}, b"12345678"),
    ({}, b""),
    (b"{" * 100_000, b""),
    (b"\xff\xfe", b""),
])
def test_a_header_that_lies_is_refused(header, data, path):
    with pytest.raises(ValueError, match="x.safetensors is not an intact file"):
        tensor_files.load(write(path, header, data))


def test_a_header_longer_than_the_file_is_refused(path):
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(ValueError, match="not an intact file"):
        tensor_files.load(path)


def test_what_are_no_weights_is_refused(path):
    with pytest.raises(ValueError, match="holds F8_E4M3"):
        tensor_files.load(write(path, {"a": entry("F8_E4M3", offsets=(0, 2))},
                                b"12"))


def test_parts_are_read_as_one(tmp_path):
    for i in range(2):
        safe_numpy.save_file({f"a{i}": np.full(3, i, np.float32)},
                             tmp_path / f"m-{i}.safetensors")
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {
        "a0": "m-0.safetensors", "a1": "m-1.safetensors"}}))
    with tensor_files.load(index) as file:
        assert [float(file[name][0]) for name in sorted(file)] == [0.0, 1.0]
    for wrong, words in [({"a0": "../m-0.safetensors"}, "in its own folder"),
                         ({"a0": 3}, "in its own folder"),
                         ({"a9": "m-0.safetensors"}, "does not have it"),
                         ({"a0": "m-7.safetensors"}, "There is no file")]:
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            tensor_files.load(index)


def test_a_pickle_needs_torch_and_runs_nothing(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"cos\nsystem\n(S'touch %s/ran'\ntR." % str(
        tmp_path).encode())
    with pytest.raises(ValueError, match="torch alone reads safely|not an "
                       "intact file"):
        tensor_files.load(path)
    assert not (tmp_path / "ran").exists()


def test_torchs_own_files_are_read(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    path = tmp_path / "pytorch_model.bin"
    torch.save({"state_dict": {"a": torch.ones(2, dtype=torch.bfloat16)}}, path)
    with tensor_files.load(path) as file:
        np.testing.assert_array_equal(file["a"], np.ones(2, np.float32))

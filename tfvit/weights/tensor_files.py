"""Opens PyTorch's weights: `.safetensors`, and `.bin` where torch is installed.

The safetensors package checks that header, offsets and size of a file agree;
here, that there are numbers alone, whose index names no file elsewhere. `.bin`
files are pickles, of which torch's `weights_only` reads tensors and no code.
"""

import collections.abc
import contextlib
import json
import math
import os
import re

import numpy as np

INDEX = ".index.json"  # Behind the name of a file that is in several parts.
_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float32,
           "BF16": np.float32}
_WHOLE = {"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
          "U8": np.uint8, "BOOL": np.bool_}
_KINDS = {**_FLOATS, **_WHOLE}  # As what each is given back.
_MAX_INDEX = 2**24  # Bytes of a JSON file; the largest there are have 0.1 MB.


class Tensors(collections.abc.Mapping):
    """Arrays by name; each access reads one array. Half precision is widened.

    Attributes:
      path: of the file, or the index of its parts.
      shapes: {name: shape}, known without reading the arrays.
      dtypes: {name: numpy dtype} as they are returned.
      notes: {}, as of an npz.Npz.
    """

    def __init__(self, path, read, shapes, dtypes, close):
        self.path, self.notes = path, {}
        self.shapes, self.dtypes = shapes, dtypes
        self._read, self._close = read, close

    def __getitem__(self, name):
        array = np.asarray(self._read(name))
        array = array.astype(self.dtypes[name], copy=False)
        if array.shape != self.shapes[name]:
            raise ValueError(f"{self.path} is broken: {name} has another shape "
                             "than its header says.")
        return array

    def read_into(self, name, out):
        """Reads an array into `out` [its size], in C order."""
        out[:] = self[name].ravel()

    def __iter__(self):
        return iter(self.shapes)

    def __contains__(self, name):
        return name in self.shapes  # Mapping's own would read the array.

    def __len__(self):
        return len(self.shapes)

    def __enter__(self):
        return self

    def __exit__(self, *unused_exception):
        self._close()


def load(path):
    """Opens a local file, or the index of its parts, as Tensors.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is broken, holds more than numbers, or needs a package that
        is not installed.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path}.")
    if path.endswith(INDEX):
        return _parts(path)
    return (_bin if path.endswith((".bin", ".pth", ".pt")) else _safe)(path)


def save(path, arrays):
    """Writes {name: float32 array} as `.safetensors`; the same bytes each time.

    Raises:
      ValueError: the safetensors package is not installed.
    """
    _package()
    from safetensors import numpy as safe_numpy

    # What PyTorch's libraries look for before they take it.
    safe_numpy.save_file({name: np.array(array, order="C")
                          for name, array in sorted(arrays.items())}, path,
                         metadata={"format": "pt"})


def read_json(path):
    """The dict that a JSON file holds.

    Raises:
      ValueError: it is no such file, or a huge one.
    """
    try:
        if os.path.getsize(path) > _MAX_INDEX:
            raise ValueError(f"{os.path.getsize(path)} bytes are too many")
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if not isinstance(found, dict):
            raise ValueError("it holds no {...}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is broken: {error}.") from error
    return found


def _package():
    try:
        import safetensors
    except ImportError as error:
        raise ValueError("Files of Hugging Face and timm need the package "
                         "safetensors: pip install tfvit[hub]") from error
    return safetensors


def _safe(path):
    safetensors = _package()
    try:
        # Closed with the last reference to it.
        file = safetensors.safe_open(path, framework="np")
        kinds = {name: file.get_slice(name) for name in file.keys()}
        shapes = {name: tuple(one.get_shape()) for name, one in kinds.items()}
        dtypes = {name: one.get_dtype() for name, one in kinds.items()}
    # Whatever a parser of untrusted bytes stumbles over means the same.
    except Exception as error:  # pylint: disable=broad-except
        raise _broken(path, error) from error
    odd = sorted(name for name, kind in dtypes.items() if kind not in _KINDS)
    if odd:
        raise ValueError(f"{path}: {odd[0]} holds {dtypes[odd[0]]}, which is "
                         "none of the numbers that weights have.")
    if not shapes:
        raise _broken(path, "it is empty")

    def read(name):
        try:
            return file.get_tensor(name)
        # As above.
        except Exception as error:  # pylint: disable=broad-except
            raise _broken(path, f"{name}: {error}") from error

    return Tensors(path, read, shapes, {
        name: np.dtype(_KINDS[kind]) for name, kind in dtypes.items()},
                   lambda: None)


def _parts(path):
    """The parts that an index names, all of the same folder, as one."""
    of = read_json(path).get("weight_map")
    if not isinstance(of, dict) or not of or not all(
            isinstance(file, str) and re.fullmatch(r"[\w.-]+", file) and
            file.endswith((".safetensors", ".bin")) for file in of.values()):
        raise ValueError(f"{path} is no index of files in its own folder.")
    folder = os.path.dirname(path)
    with contextlib.ExitStack() as stack:
        parts = {file: stack.enter_context(load(os.path.join(folder, file)))
                 for file in sorted(set(of.values()))}
        lost = sorted(name for name, file in of.items()
                      if name not in parts[file])
        if lost:
            raise ValueError(f"{path} names {lost[0]} of {of[lost[0]]}, which "
                             "does not have it.")
        close = stack.pop_all().close
    shapes, dtypes = ({name: getattr(parts[file], kind)[name]
                       for name, file in of.items()}
                      for kind in ("shapes", "dtypes"))
    return Tensors(path, lambda name: parts[of[name]][name], shapes, dtypes,
                   close)


def _bin(path):
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"{path} is a pickle, which torch alone reads safely: install "
            "torch, or take a .safetensors file of the same weights."
        ) from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("state_dict", "model"):  # As training scripts save.
            if isinstance(found, dict) and isinstance(found.get(key), dict):
                found = found[key]
        found = {name: value for name, value in dict(found).items()
                 if isinstance(value, torch.Tensor) and isinstance(name, str)}
        shapes = {name: tuple(value.shape) for name, value in found.items()}
        if any(value.layout != torch.strided or value.is_complex() or
               value.is_quantized for value in found.values()):
            raise ValueError("some of it is no plain array")
    # As in _safe: unpickling stumbles in a hundred ways.
    except Exception as error:  # pylint: disable=broad-except
        raise _broken(path, str(error).splitlines()[0]) from error
    if not found or sum(map(math.prod, shapes.values())) == 0:
        raise _broken(path, "it holds no tensors")
    dtypes = {name: np.dtype(np.float32 if value.is_floating_point() else
                             np.int64) for name, value in found.items()}

    def read(name):
        value = found[name].detach()
        return (value.float() if value.is_floating_point() else
                value.long()).numpy()

    return Tensors(path, read, shapes, dtypes, found.clear)


def _broken(path, why):
    return ValueError(f"{path} is not an intact file of tensors ({why}); "
                      "remove it and fetch it again.")

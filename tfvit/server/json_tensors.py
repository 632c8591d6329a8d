"""Tensors as TensorFlow Serving's REST API writes them in JSON.

https://www.tensorflow.org/tfx/serving/api_rest: rows ("instances") or columns
("inputs"), {"b64": ...} for bytes, NaN and Infinity as Python's json has them.
"""

import base64
import json

import numpy as np

from tfvit.server import status

_EXACT = {np.dtype(np.float64): "%.17g"}  # Digits that bring the value back.


def parse(body):
    """Bytes of a request -> its JSON object, a dict.

    Raises:
      Status: it is none.
    """
    try:
        request = json.loads(body)
    except RecursionError as error:
        raise status.invalid("JSON Parse error: nested too deeply.") from error
    except ValueError as error:
        raise status.invalid(f"JSON Parse error: {error}.") from error
    if not isinstance(request, dict):
        raise status.invalid("The JSON of a request must be an object, with "
                             "'instances' or 'inputs'.")
    return request


def inputs(request, specs):
    """Tensors of a request.

    Args:
      request: of parse.
      specs: {input name: (numpy dtype, object for strings; shape as a tuple,
        None for what is not known, or None)}.

    Returns:
      ({input name: array}, whether they came as rows).

    Raises:
      Status: they are not what the specs say.
    """
    has_rows = "instances" in request
    if has_rows == ("inputs" in request):
        raise status.invalid("A request must have either 'instances' or "
                             "'inputs'.")
    values = _columns(request["instances"], specs) if has_rows else (
        _named(request["inputs"], specs))
    arrays = {}
    for name, (dtype, shape) in specs.items():
        try:
            arrays[name] = _array(values[name], dtype)
        except ValueError as error:
            raise status.invalid(f"Input {name!r}: {error}") from error
        _check_shape(name, arrays[name].shape, shape)
    return arrays, has_rows


def _columns(instances, specs):
    """{name: list} of rows."""
    if not isinstance(instances, list):
        raise status.invalid("'instances' must be a list.")
    names = set(specs)
    named = [_is_object(instance) for instance in instances]
    if not any(named):
        if len(names) > 1:
            raise status.invalid(
                "'instances' must be objects, as there are several inputs: "
                f"{', '.join(sorted(names))}.")
        return {next(iter(names)): instances}
    for i, instance in enumerate(instances):
        if not named[i] or set(instance) != names:
            raise status.invalid(
                f"Failed to process element: {i} of 'instances' list: its keys "
                f"must be {', '.join(sorted(names))}.")
    return {name: [instance[name] for instance in instances] for name in names}


def _named(values, specs):
    """{name: value} of columns."""
    if not _is_object(values):
        if len(specs) > 1:
            raise status.invalid(
                "'inputs' must be an object, as there are several inputs: "
                f"{', '.join(sorted(specs))}.")
        return {next(iter(specs)): values}
    missing = sorted(set(specs) - set(values))
    if missing:
        raise status.invalid(f"Missing named input: {missing[0]} in 'inputs' "
                             "object.")
    return values


def _is_object(value):
    """Whether it is a JSON object that does not stand for bytes."""
    return isinstance(value, dict) and not (
        len(value) == 1 and isinstance(value.get("b64"), str))


def _array(value, dtype):
    """Nested lists -> array; ValueError says why not."""
    if dtype == object:
        return _strings(value)
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError("the lists are not of equal lengths.") from error
    wanted = np.dtype(dtype)
    if found.size and found.dtype.kind not in {
            "f": "iuf", "b": "b"}.get(wanted.kind, "iu"):
        raise ValueError(f"not all values are of type {wanted.name}.")
    with np.errstate(over="ignore", invalid="ignore"):
        made = found.astype(wanted)
    same = (np.isinf(made) == np.isinf(found) if wanted.kind == "f" else
            made == found)
    if not np.all(same):
        raise ValueError(f"a value does not fit into {wanted.name}.")
    return made


def _strings(value):
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat = value if shape else [value]
    for size in shape[1:]:
        if any(not isinstance(part, list) or len(part) != size
               for part in flat):
            raise ValueError("the lists are not of equal lengths.")
        flat = [item for part in flat for item in part]
    array = np.empty(len(flat), object)
    for i, item in enumerate(flat):
        array[i] = _bytes(item)
    return array.reshape(shape)


def _bytes(item):
    if isinstance(item, str):
        return item.encode()  # A lone surrogate is a ValueError, too.
    if not isinstance(item, dict) or _is_object(item):
        raise ValueError("not all values are strings or "
                         "{\"b64\": \"...\"}.")
    text = item["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise ValueError("a \"b64\" is not base64 (of + and /).") from error


def _check_shape(name, shape, wanted):
    if wanted is None:
        return
    if len(shape) != len(wanted) or any(
            size is not None and size != found
            for size, found in zip(wanted, shape)):
        text = ", ".join("?" if size is None else str(size) for size in wanted)
        raise status.invalid(f"Input {name!r} must have shape [{text}], not "
                             f"{list(shape)}.")


def outputs(arrays, has_rows):
    """{output name: array} -> bytes of the answer's JSON.

    Raises:
      Status: rows are asked for, but the arrays do not have equally many.
    """
    if not has_rows:
        texts = {name: _text(name, array) for name, array in arrays.items()}
        return f'{{"outputs": {_object(texts)}}}'.encode()
    sizes = {array.shape[:1] for array in arrays.values()}
    if len(sizes) != 1 or () in sizes:
        raise status.invalid("The outputs have no common number of rows: ask "
                             "with 'inputs' instead of 'instances'.")
    texts = {name: [_text(name, row) for row in array]
             for name, array in arrays.items()}
    rows = [_object(dict(zip(texts, row))) for row in zip(*texts.values())]
    return f'{{"predictions": [{", ".join(rows)}]}}'.encode()


def _object(texts):
    """A JSON object; of one value, the value alone."""
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "{" + ", ".join(f"{json.dumps(name)}: {text}"
                           for name, text in texts.items()) + "}"


def _text(name, value):
    """JSON of an array or of one of its elements."""
    if isinstance(value, (bytes, str)):
        value = np.array(value, object)
    value = np.asarray(value)
    if value.ndim > 1:
        return "[" + ", ".join(_text(name, part) for part in value) + "]"
    parts = _scalars(name, value.reshape(-1))
    return "[" + ", ".join(parts) + "]" if value.ndim else parts[0]


def _scalars(name, array):
    """JSON of each element of an array [N]."""
    kind = array.dtype.kind
    if kind == "O":
        binary = name.endswith("_bytes")
        return [json.dumps({"b64": base64.b64encode(item).decode()} if binary
                           else item.decode(errors="replace"))
                for item in array]
    if kind in "iub":
        return [json.dumps(item) for item in array.tolist()]
    digits = _EXACT.get(array.dtype, "%.9g")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        return [json.dumps(float(digits % item)) for item in array.tolist()]
    texts = [digits % item for item in array.tolist()]
    # Always a decimal number: clients tell the type by it.
    return [text if "." in text or "e" in text else text + ".0"
            for text in texts]

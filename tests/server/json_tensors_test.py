"""The examples of www.tensorflow.org/tfx/serving/api_rest, and worse."""

import json

import numpy as np
import pytest

from tfvit.server import json_tensors
from tfvit.server import status

ONE = {"x": (np.float32, (None,))}
THREE = {"tag": (object, (None,)), "signal": (np.int64, (None, 5)),
         "sensor": (np.float32, (None, 2, 2))}
ROWS = """{"instances": [
  {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
  {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]}]}"""
COLUMNS = """{"inputs": {
  "tag": ["foo", "bar"],
  "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
  "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]]}}"""


def read(text, specs):
    return json_tensors.inputs(json_tensors.parse(text), specs)


@pytest.mark.parametrize("text, has_rows", [(ROWS, True), (COLUMNS, False)])
def test_the_documents_example_is_the_same_by_rows_and_by_columns(text,
                                                                  has_rows):
    arrays, rows = read(text, THREE)
    assert rows == has_rows
    assert arrays["tag"].tolist() == [b"foo", b"bar"]
    assert arrays["signal"].dtype == np.int64
    np.testing.assert_array_equal(arrays["signal"],
                                  [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]])
    np.testing.assert_array_equal(arrays["sensor"],
                                  [[[1, 2], [3, 4]], [[4, 5], [6, 8]]])


@pytest.mark.parametrize("text", [
    '{"instances": [1.0, 2.0, 5.0]}', '{"inputs": [1, 2, 5]}',
    '{"instances": [{"x": 1}, {"x": 2}, {"x": 5}]}',
    '{"inputs": {"x": [1, 2, 5], "more": 3}}'])
def test_one_input_needs_no_name(text):
    arrays, _ = read(text, ONE)
    np.testing.assert_array_equal(arrays["x"], np.float32([1, 2, 5]))


def test_numbers_that_json_has_not():
    arrays, _ = read('{"instances": [NaN, Infinity, -Infinity]}', ONE)
    np.testing.assert_array_equal(arrays["x"],
                                  np.float32([np.nan, np.inf, -np.inf]))


@pytest.mark.parametrize("encoded", ["aW1hZ2UgYnl0ZXM=", "aW1hZ2UgYnl0ZXM"])
def test_bytes_are_base64_with_or_without_padding(encoded):
    specs = {"data": (object, (None,))}
    for text in ('{"instances": [{"b64": "%s"}]}',
                 '{"instances": [{"data": {"b64": "%s"}}]}',
                 '{"inputs": [{"b64": "%s"}]}',
                 '{"inputs": {"data": [{"b64": "%s"}]}}'):
        arrays, _ = read(text % encoded, specs)
        assert arrays["data"].tolist() == [b"image bytes"]


@pytest.mark.parametrize("text, specs, said", [
    ("", ONE, "JSON Parse error"), ("[" * 100_000, ONE, "too deeply"),
    ('{"instances": [' + "9" * 5000 + "]}", ONE, "JSON Parse error"),
    ('"instances"', ONE, "must be an object"), ("{}", ONE, "either"),
    ('{"instances": [1], "inputs": [1]}', ONE, "either"),
    ('{"instances": 3}', ONE, "must be a list"),
    ('{"instances": [1, [2]]}', ONE, "equal lengths"),
    ('{"instances": [[1], [2, 3]]}', ONE, "equal lengths"),
    ('{"instances": ["1"]}', ONE, "type float32"),
    ('{"instances": [null]}', ONE, "type float32"),
    ('{"instances": [1e39]}', ONE, "does not fit into float32"),
    ('{"instances": [[1]]}', ONE, r"shape \[\?\], not \[1, 1\]"),
    ('{"inputs": 1}', ONE, r"shape \[\?\], not \[\]"),
    ('{"instances": [300]}', {"x": (np.uint8, (None,))}, "fit into uint8"),
    ('{"instances": [-1]}', {"x": (np.uint8, (None,))}, "fit into uint8"),
    ('{"instances": [1.5]}', {"x": (np.int32, (None,))}, "type int32"),
    ('{"instances": [1]}', {"x": (bool, (None,))}, "type bool"),
    ('{"instances": [1]}', {"x": (object, (None,))}, "not all values are str"),
    ('{"instances": [{"b64": "!"}]}', {"x": (object, (None,))}, "not base64"),
    ('{"instances": ["\\ud800"]}', {"x": (object, (None,))}, "surrogates"),
    ('{"instances": ["a", ["b"]]}', {"x": (object, (None,))}, "not all"),
    ('{"instances": [["a"], "b"]}', {"x": (object, None)}, "equal lengths"),
    ('{"instances": [1]}', THREE, "must be objects"),
    ('{"instances": [{"tag": "foo"}]}', THREE, "keys must be"),
    ('{"instances": [{"x": 1}, 2]}', ONE, "element: 1"),
    ('{"inputs": [1]}', THREE, "must be an object"),
    ('{"inputs": {"tag": ["a"]}}', THREE, "Missing named input: sensor"),
    (b'{"instances": ["\xff"]}', ONE, "JSON Parse error"),
])
def test_what_is_wrong_is_told_in_a_sentence(text, specs, said):
    with pytest.raises(status.Status, match=said) as caught:
        read(text, specs)
    assert status.HTTP[caught.value.code] == 400
    assert len(caught.value.message) < 300


def test_answers_are_those_of_the_documents():
    y = {"y": np.float32([3.5, 4.0, 5.5])}
    assert json_tensors.outputs(y, True) == b'{"predictions": [3.5, 4.0, 5.5]}'
    assert json_tensors.outputs(y, False) == b'{"outputs": [3.5, 4.0, 5.5]}'


def test_several_outputs_are_named():
    arrays = {"ids": np.int64([[1, 2], [3, -4]]), "ok": np.array([True, False]),
              "name": np.array([b"a\"\n", "ü".encode()], object),
              "raw_bytes": np.array([b"\xff\0", b""], object)}
    rows = json.loads(json_tensors.outputs(arrays, True))["predictions"]
    assert rows == [
        {"ids": [1, 2], "ok": True, "name": 'a"\n', "raw_bytes":
         {"b64": "/wA="}},
        {"ids": [3, -4], "ok": False, "name": "ü", "raw_bytes": {"b64": ""}}]
    columns = json.loads(json_tensors.outputs(arrays, False))["outputs"]
    assert columns["ids"] == [[1, 2], [3, -4]]
    assert columns["name"] == ['a"\n', "ü"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_come_back_bit_for_bit(dtype):
    rng = np.random.default_rng(0)
    values = (10.0**rng.uniform(-4, 4, [50, 3])).astype(dtype)
    values[0] = [np.nan, np.inf, -np.inf]
    values[1] = [1.0, 1e4, 0.1]
    text = json_tensors.outputs({"y": values}, True)
    found = np.array(json.loads(text)["predictions"])
    np.testing.assert_array_equal(found.astype(dtype), values)
    assert b"[1.0, 10000.0, 0." in text  # Whole numbers look like decimals.


def test_rows_of_different_numbers_are_refused():
    arrays = {"a": np.zeros([2, 3]), "b": np.zeros([3])}
    with pytest.raises(status.Status, match="'inputs' instead of 'instances'"):
        json_tensors.outputs(arrays, True)
    assert set(json.loads(json_tensors.outputs(arrays, False))["outputs"]) == {
        "a", "b"}

"""TensorFlow Serving's REST API, over HTTP."""

from concurrent import futures
import gzip
import http.client
import shutil
import time

from google.protobuf import json_format
import numpy as np
import pytest

from tests.server import toys
from tfvit.server import configs

BATCHES = configs.Batching(
    max_batch_size=64, max_execution_batch_size=8, split=True,
    batch_timeout=0.005, num_batch_threads=2, max_enqueued_batches=1000,
    allowed_batch_sizes=(1, 2, 4, 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    toys.write(folder, 3, 2.0)
    return folder


@pytest.fixture(scope="module")
def url(folder):
    with toys.serving(toys.one(folder, labels={"stable": 3}),
                      max_bytes=100_000) as address:
        yield f"{address}/v1/models/toy"


@pytest.fixture(scope="module")
def batched(folder):
    with toys.serving(toys.one(folder), batches=BATCHES) as address:
        yield f"{address}/v1/models/toy:predict"


@pytest.mark.parametrize("which", ["", "/versions/3", "/labels/stable"])
def test_half_plus_two(url, which):
    assert toys.call(f"{url}{which}:predict",
                     {"instances": [1.0, 2.0, 5.0]}) == (
                         200, {"predictions": [2.5, 3.0, 4.5]})
    assert toys.call(f"{url}{which}:predict", {"inputs": {"x": [1.0]}}) == (
        200, {"outputs": [2.5]})


def test_a_signature_by_its_name_with_several_inputs_and_outputs(url):
    body = {"signature_name": "both", "instances": [
        {"a": 1, "b": [2, 3]}, {"a": -1, "b": [0.5, 0]}]}
    assert toys.call(f"{url}:predict", body) == (200, {"predictions": [
        {"rows": 2, "sum": 6.0, "version": 2.0},
        {"rows": 2, "sum": -0.5, "version": 2.0}]})


def test_bytes_go_in_and_come_out(url):
    body = {"signature_name": "strings",
            "instances": [{"b64": "/wA="}, "abc"]}
    code, answer = toys.call(f"{url}:predict", body)
    assert code == 200
    assert [row["out_bytes"] for row in answer["predictions"]] == [
        {"b64": "/wA="}, {"b64": "YWJj"}]
    assert answer["predictions"][1]["text"] == "ABC"


def test_no_rows_are_an_answer_of_no_rows(url):
    assert toys.call(f"{url}:predict", {"instances": []}) == (
        200, {"predictions": []})


@pytest.mark.parametrize("which", ["", "/versions/3", "/labels/stable"])
def test_status_is_what_tensorflow_serving_has(url, which):
    code, answer = toys.call(f"{url}{which}")
    assert (code, answer) == (200, {"model_version_status": [
        {"version": "3", "state": "AVAILABLE",
         "status": {"error_code": "OK", "error_message": ""}}]})
    status_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.get_model_status_pb2")
    json_format.ParseDict(answer, status_pb2.GetModelStatusResponse())


def test_metadata_is_what_tensorflow_serving_has(url, folder):
    code, answer = toys.call(f"{url}/metadata")
    assert code == 200
    assert answer["model_spec"] == {"name": "toy", "signature_name": "",
                                    "version": "3"}
    metadata_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.get_model_metadata_pb2")
    signatures = json_format.ParseDict(answer["metadata"]["signature_def"],
                                       metadata_pb2.SignatureDefMap())
    found = signatures.signature_def["pixels"].inputs["images"]
    assert [dim.size for dim in found.tensor_shape.dim] == [-1, -1, 1]
    assert "__saved_model_init_op" not in signatures.signature_def


@pytest.mark.parametrize("path, body, code, said", [
    ("half:predict", {"instances": [1.0]}, 404,
     "Servable not found for request: Latest(half)"),
    ("toy/versions/9:predict", {"instances": [1.0]}, 404, "Specific(toy, 9)"),
    ("toy/labels/x:predict", {"instances": [1.0]}, 400,
     "Unrecognized servable version label: x"),
    ("half", None, 404, "Could not find any versions of model half"),
    ("toy/versions/9", None, 404, "Could not find version 9 of model toy"),
    ("toy/labels/x", None, 400, "Unrecognized servable version label: x"),
    ("half/metadata", None, 404, "Latest(half)"),
    ("toy:predict", b"{", 400, "JSON Parse error"),
    ("toy:predict", b"", 400, "JSON Parse error"),
    ("toy:predict", {"instances": [1.0], "signature_name": "no"}, 400,
     'Serving signature name: "no" not found in signature def'),
    ("toy:predict", {"instances": [1.0], "signature_name": 3}, 400,
     "'signature_name' key must be a string value."),
    ("toy:predict", {"instances": ["a"]}, 400, "type float32"),
    ("toy:predict", {"instances": [-1], "signature_name": "fails"}, 400,
     "Not positive"),
    ("toy:classify", {"examples": [{"x": 1.0}]}, 400,
     "Expected signature method_name to be tensorflow/serving/classify"),
    ("toy:regress", {"examples": [{"x": 1.0}]}, 400, "serving/regress"),
    ("toy:nothing", {"instances": [1.0]}, 400, "Malformed request: POST"),
    ("toy:predict", None, 400, "Malformed request: GET"),
    ("toy/versions/x", None, 400, "Malformed request"),
    ("toy/versions/" + "9" * 30, None, 400, "Malformed request"),
    ("../../../etc/passwd", None, 400, "Malformed request"),
    ("..%2f..%2fetc%2fpasswd", None, 400, "Malformed request"),
    ("", None, 400, "Malformed request"),
    ("../../else", None, 400, "Malformed request"),
    ("../../../else", None, 400, "Malformed request"),
])
def test_errors_have_their_codes_and_say_why(url, path, body, code, said):
    base = url.rsplit("/", 1)[0]
    found, answer = toys.call(f"{base}/{path}", body)
    assert (found, list(answer)) == (code, ["error"])
    assert said in answer["error"] and "Traceback" not in answer["error"]


def test_other_addresses_are_not_found(url):
    base = url.split("/v1/")[0]
    for path in ("/", "/v2/models/toy", "/docs"):
        assert toys.call(base + path)[0] == 404


def test_bodies_are_bounded_packed_or_not(url):
    large = b'{"instances": [' + b" " * 100_000 + b"1]}"
    assert toys.call(f"{url}:predict", large)[0] == 413
    packed = gzip.compress(large)
    assert len(packed) < 1000
    zipped = {"Content-Encoding": "gzip"}
    code, answer = toys.call(f"{url}:predict", packed, zipped)
    assert code == 413 and "--max_request_mb" in answer["error"]
    small = gzip.compress(b'{"instances": [1.0]}')
    assert toys.call(f"{url}:predict", small, zipped) == (
        200, {"predictions": [2.5]})
    for wrong in (small[:-9], b"rubbish"):
        code, answer = toys.call(f"{url}:predict", wrong, zipped)
        assert code == 400 and "gzip" in answer["error"]
    assert toys.call(f"{url}:predict", b"{}",
                     {"Content-Encoding": "br"})[0] == 400


def test_answers_are_packed_for_who_asks(url):
    host = url.split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=60)
    body = '{"instances": [%s1]}' % ("1," * 999)
    connection.request("POST", "/v1/models/toy:predict", body,
                       {"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    assert response.getheader("Content-Encoding") == "gzip"
    assert gzip.decompress(response.read()).startswith(b'{"predictions": [2.5,')
    connection.close()


def test_requests_of_many_clients_are_batched_and_keep_their_answers(batched):
    def ask(i):
        rows = [{"a": i, "b": [j, 0.5]} for j in range(i % 4 + 1)]
        code, answer = toys.call(batched, {"signature_name": "both",
                                           "instances": rows})
        return i, code, answer

    with futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(200)))
    sizes = set()
    for i, code, answer in found:
        assert code == 200
        assert [row["sum"] for row in answer["predictions"]] == [
            i + j + 0.5 for j in range(i % 4 + 1)]
        sizes |= {row["rows"] for row in answer["predictions"]}
    assert sizes <= {1, 2, 4, 8} and 8 in sizes  # Padded, and merged.


def test_large_requests_are_split(batched):
    code, answer = toys.call(batched, {"instances": list(range(20))})
    assert code == 200
    np.testing.assert_array_equal(answer["predictions"],
                                  np.arange(20) / 2 + 2)
    code, answer = toys.call(batched, {"instances": [0.0] * 65})
    assert code == 400 and "Task size 65 is larger than" in answer["error"]


def test_images_against_texts_are_never_mixed_with_another_clients(batched):
    def ask(i):
        images, texts = [i, i + 1.0], [1.0, 10.0, 100.0][:2 + i % 2]
        code, answer = toys.call(batched, {
            "signature_name": "against",
            "inputs": {"images": images, "texts": texts}})
        assert code == 200
        np.testing.assert_array_equal(answer["outputs"],
                                      np.outer(images, texts))

    with futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(30)))


def test_images_of_different_sizes_form_batches_of_their_own(batched):
    def ask(i):
        size = 1 + i % 3
        code, answer = toys.call(batched, {
            "signature_name": "pixels",
            "instances": [np.full([size, 1], i).tolist()]})
        assert code == 200
        assert answer["predictions"][0]["mean"] == i

    with futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(30)))


def test_labels_follow_the_file_but_not_a_broken_one(folder, tmp_path):
    file = tmp_path / "models.config"

    def write(label):
        (tmp_path / "new").write_text(
            f"model_config_list {{ config {{ name: 'toy' base_path: '{folder}' "
            f"version_labels {{ key: '{label}' value: 3 }} }} }}")
        (tmp_path / "new").rename(file)

    def wait_for(url, code):
        end = time.monotonic() + 60
        while toys.call(url)[0] != code:
            assert time.monotonic() < end

    write("stable")
    with toys.serving(lambda: configs.models(file.read_text(), "models.config"),
                      config_poll=0.01) as address:
        labels = f"{address}/v1/models/toy/labels"
        assert toys.call(f"{labels}/stable")[0] == 200
        write("canary")
        wait_for(f"{labels}/canary", 200)
        assert toys.call(f"{labels}/stable")[0] == 400
        file.write_text("rubbish")
        assert toys.call(f"{labels}/canary")[0] == 200
        write("stable")
        wait_for(f"{labels}/stable", 200)


def swap(folder, asked, clients, tmp_path):
    """Exports version after version while clients ask; returns answers."""
    serving = tmp_path / "toy"
    serving.mkdir()
    shutil.copytree(folder / "3", serving / "3")
    for version in (4, 5):
        toys.write(tmp_path, version, float(version))

    def ask(url, i):
        return i, *toys.call(url, {"signature_name": "both", "instances": [
            {"a": i, "b": [0.25, 0.25]}]})

    with toys.serving(toys.one(serving), batches=BATCHES) as address:
        url = f"{address}/v1/models/toy:predict"
        with futures.ThreadPoolExecutor(clients) as pool:
            answers = []
            for version in (4, 5):
                running = [pool.submit(ask, url, i) for i in range(asked)]
                (tmp_path / str(version)).rename(serving / str(version))
                answers += [future.result() for future in running]
                while answers[-1][2]["predictions"][0]["version"] != version:
                    answers.append(ask(url, 0))
            answers.append(ask(url, 1))
    return answers


def test_no_request_is_lost_or_wrong_while_versions_are_swapped(folder,
                                                                tmp_path):
    answers = swap(folder, 150, 8, tmp_path)
    for i, code, answer in answers:
        assert code == 200, answer
        assert answer["predictions"][0]["sum"] == i + 0.5
    assert answers[-1][2]["predictions"][0]["version"] == 5.0

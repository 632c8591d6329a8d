"""The command: what it refuses, how it ends, what an export prints of it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys

from absl import flags
from absl.testing import flagsaver
import numpy as np
import pytest
import tensorflow as tf

from tests.server import toys
from tests.serving import howto_test
from tests.serving import lit_signatures_test
from tests.serving import samples
from tfvit import config
from tfvit import serve
from tfvit.inference import finished
from tfvit.serving import howto
from tfvit.serving import saved


def start(*words, cwd=None):
    """(process, address) of a server that has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tfvit", "serve", *map(str, words), "--port=0"],
        cwd=cwd, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": config.ROOT})
    line = process.stdout.readline()
    assert line.startswith("Serving on http://127.0.0.1:"), line
    return process, line.split()[-1]


def refused(*words, **values):
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(**values):
        with pytest.raises((ValueError, OSError, tf.errors.OpError)) as found:
            serve.main([str(word) for word in words])
    return str(found.value)


def test_what_cannot_be_served_is_told_in_a_sentence(tmp_path):
    batches = tmp_path / "batching.txt"
    batches.write_text("max_batch_size { value: 8 } allowed_batch_sizes: 4")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(tmp_path, port=port) == (
            f"--host=127.0.0.1 --port={port}: Address already in use.")
    assert "no folder with a number" in refused(tmp_path, port=0)
    assert "does nothing without --enable_batching" in refused(
        tmp_path, batching_parameters_file=str(batches))
    assert refused(tmp_path, enable_batching=True,
                   batching_parameters_file=str(batches)) == (
                       f"{batches}: allowed_batch_sizes = [4] must increase, "
                       "and end with max_batch_size = 8.")
    assert "nope.config" in refused(model_config_file="nope.config", port=0)
    assert "cannot be the name" in refused(tmp_path, name="a/b")


@pytest.mark.slow
def test_sigterm_answers_what_is_waiting_and_takes_nothing_new(tmp_path):
    toys.write(tmp_path, 1, 2.0)
    (tmp_path / "batching.txt").write_text(
        "batch_timeout_micros { value: 1000000 } max_batch_size { value: 64 }")
    process, address = start(
        tmp_path, "--name=toy", "--enable_batching",
        f"--batching_parameters_file={tmp_path}/batching.txt")
    host = address.split("//")[1]
    waiting = [http.client.HTTPConnection(host, timeout=60) for _ in range(5)]
    for i, connection in enumerate(waiting):
        connection.request("POST", "/v1/models/toy:predict",
                           json.dumps({"instances": [i]}))
    # Those that came before it have been taken, too.
    assert toys.call(f"{address}/v1/models/toy")[0] == 200
    process.send_signal(signal.SIGTERM)
    for i, connection in enumerate(waiting):
        assert json.load(connection.getresponse()) == {
            "predictions": [i / 2 + 2]}
        connection.close()
    assert process.wait(60) == 0
    with pytest.raises(OSError):
        toys.call(f"{address}/v1/models/toy")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["token", "headless", "jit", "lit"])
def test_every_printed_command_is_pasted_and_run(tmp_path, kind):
    if kind == "lit":
        server = lit_signatures_test.made(tmp_path)[0]
    elif kind == "jit":
        server = samples.server(jit=True)
    else:
        server = samples.server(kind)
    out = tmp_path / "my exports" / "b16"
    path = saved.write(
        server, out=str(out), step=1, class_names=samples.NAMES, config="",
        model_name="b16", warmup_batches=[1, 2, 4, 8], record={
            "model": kind, "step": 1, "precision": "float32",
            "link": "softmax", "preprocessing": [], "jit": kind == "jit"})
    text = howto.text(path, "b16", [1, 2, 4, 8])
    (tmp_path / "batching.txt").write_text(howto_test.batching_file(text))
    files = []
    for i in range(20):
        files.append(str(tmp_path / f"{i}.png"))
        (tmp_path / f"{i}.png").write_bytes(samples.encoded(seed=i))
    _, command, client = howto_test.commands(text)
    process, address = start(*command[2:], cwd=tmp_path)
    try:
        assert client[-1] == "IMAGE..."
        done = subprocess.run(
            [sys.executable, "-m", *client[:-1], *files, f"--rest={address}"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": config.ROOT})
        assert done.returncode == 0, done.stderr
    finally:
        process.terminate()
        assert process.wait(60) == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == files
    functions = finished.signatures(str(out))
    data = [samples.encoded(seed=i) for i in range(20)]
    if kind == "lit":
        expected = functions["zeroshot"](image_bytes=data,
                                         texts=["a cat", "a dog"])
        found = [list(row["texts"].values()) for row in rows]
        np.testing.assert_allclose(found, expected["probabilities"], atol=1e-5)
    elif kind == "headless":
        expected = functions["features"](image_bytes=data)["features"]
        np.testing.assert_allclose([row["features"] for row in rows], expected,
                                   atol=1e-5)
    else:
        expected = functions["serving_default"](image_bytes=data)
        for row, ids in zip(rows, expected["class_ids"].numpy()):
            assert [entry["id"] for entry in row["classes"]] == ids.tolist()

"""Decode workers make the batches that this machine makes, whatever happens."""

from concurrent import futures
import functools
import signal
import subprocess
import sys

from absl import logging
import grpc
import numpy as np
import pytest
import tensorflow as tf

from tests.data import pipeline_test
from tfvit.data import decode_server
from tfvit.data import pipeline
from tfvit.data import service
from tfvit.data.images import ops

numbered, take = pipeline_test.numbered, pipeline_test.take
build = functools.partial(pipeline_test.train, source=numbered(13),
                          batch_size=4)
OPS = [ops.decode, functools.partial(ops.resize, size=4)]


@pytest.fixture(scope="module")
def workers():
    """Addresses of three workers in this process."""
    servers = [decode_server.serve("127.0.0.1", 0) for _ in range(3)]
    yield [f"127.0.0.1:{port}" for _, port in servers]
    for server, _ in servers:
        server.stop(grace=0)


@pytest.fixture
def said(monkeypatch):
    lines = []
    for level in ("info", "warning"):
        monkeypatch.setattr(logging, level, lambda text, *args: lines.append(
            text % args))
    return lines


@pytest.fixture(scope="module")
def local():
    return take(build(), 40)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_workers_make_the_same_batches_also_after_a_resume(
        count, workers, local):
    for start in (0, 5):
        found = take(build(service=workers[:count], start_step=start), 9)
        pipeline_test.assert_equal(found, local[start:start + 9])


def test_each_worker_makes_its_share_and_no_other(workers, said):
    dataset = build(service=workers[:2])
    pipeline_test.assert_equal(take(dataset, 2), take(build(), 2))
    assert len({line for line in said if line.startswith("Makes")}) == 2


@pytest.mark.parametrize("count", [13, 8, 3])
def test_evaluation_counts_each_example_once(workers, count):
    score = functools.partial(pipeline.evaluate, source=numbered(count),
                              ops=[ops.decode], batch_size=4)
    (far, far_count), (near, near_count) = score(service=workers[:2]), score()
    assert far_count == near_count
    pipeline_test.assert_equal(take(far, -1), take(near, -1))


def test_who_is_lost_is_named_and_replaced_and_comes_back(
        local, said, monkeypatch):
    monkeypatch.setattr(service, "_AGAIN", 0.0)
    first, port = decode_server.serve("127.0.0.1", 0)
    second, other = decode_server.serve("127.0.0.1", 0)
    batches = iter(build(service=[f"127.0.0.1:{port}", f"127.0.0.1:{other}"]))
    found = [next(batches) for _ in range(4)]
    second.stop(grace=0).wait()
    found += [next(batches) for _ in range(8)]
    first.stop(grace=0).wait()
    found += [next(batches) for _ in range(8)]
    second, _ = decode_server.serve("127.0.0.1", other)
    while not any("is back" in line for line in said):
        found.append(next(batches))
    found += [next(batches) for _ in range(6)]
    whole = local if len(found) <= len(local) else take(build(), len(found))
    pipeline_test.assert_equal(
        [{k: v.numpy() for k, v in batch.items()} for batch in found],
        whole[:len(found)])
    lost = [line for line in said if "is lost at batch" in line]
    assert any(f"127.0.0.1:{other} is lost" in line and
               f"by 127.0.0.1:{port} from" in line for line in lost)
    assert any("by this machine from" in line for line in lost)
    second.stop(grace=0)


def test_a_run_begins_without_a_worker_that_is_down(workers, local, said):
    places = ["localhost:1", workers[0]]
    pipeline_test.assert_equal(take(build(service=places, start_step=3), 6),
                               local[3:9])
    assert any("answers at localhost:1" in line and "others make" in line
               for line in said)


def test_what_no_machine_can_make_is_the_error_it_is_here(workers, tmp_path):
    source = pipeline_test.files(tmp_path, 6, corrupt=[2])
    dataset = pipeline_test.train(source=source, batch_size=6, ops=OPS,
                                  service=workers[:2])
    with pytest.raises(tf.errors.OpError):
        next(iter(dataset))
    assert "02.png" in pipeline.blame(source, batch_size=6, seed=3)


def test_skipped_files_weigh_nothing(workers, tmp_path):
    source = pipeline_test.files(tmp_path, 6, corrupt=[2])
    make = functools.partial(
        pipeline_test.train, source=source, batch_size=3, skip_corrupt=True,
        ops=OPS)
    pipeline_test.assert_equal(take(make(service=workers), 4), take(make(), 4))


@pytest.mark.parametrize("places, why", [
    ("localhost:1", "nothing of this kind answers at localhost:1"),
    (["localhost:1", "localhost:2"], "answers at localhost:1.* at localhost:2"),
    ("nonsense", "'nonsense' must be HOST:PORT"),
    ("grpc://localhost:5050", "must be HOST:PORT"),
    (["a:1", "a:1"], "names a worker twice"),
])
def test_what_is_no_worker_is_named(places, why):
    with pytest.raises(ValueError, match=f"pipeline.train.service.*{why}"):
        build(service=places)


def test_another_version_is_refused(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tf.version, "VERSION", "1.15")
        old = decode_server.hello()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
        "tfvit.Decode", {"Hello": grpc.unary_unary_rpc_method_handler(
            lambda request, context: old)})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(ValueError, match="1.15.*this is .*2.20"):
        build(service=f"127.0.0.1:{port}")
    server.stop(grace=0)


def by_python(count):
    """A source whose labels and images Python reads."""
    source = numbered(count)
    images = np.stack([e["image"].numpy() for e in source.examples()])
    names = np.array([b"n%d" % i for i in range(count)], object)

    def fetch(i):
        image, name = tf.numpy_function(
            lambda n: (images[n], names[n]), [i], [tf.uint8, tf.string])
        return {"image": tf.ensure_shape(image, [4, 4, 3]), "label": i,
                "name": tf.ensure_shape(name, [])}

    source._fetch = fetch
    return source


def test_what_python_reads_is_read_here_and_decoded_there(workers, said):
    make = functools.partial(build, source=by_python(13))
    pipeline_test.assert_equal(take(make(service=workers[:2]), 8),
                               take(make(), 8))
    assert not [line for line in said if "lost" in line]


def test_what_python_cannot_read_is_the_error_it_is_here(workers):
    def fetch(i):
        def read(n):
            raise ValueError(f"No example {n}.")

        image = tf.numpy_function(read, [i], tf.uint8)
        return {"image": tf.ensure_shape(image, [4, 4, 3]), "label": i,
                "name": ""}

    source = numbered(13)
    source._fetch = fetch
    with pytest.raises(tf.errors.OpError, match="No example"):
        take(build(source=source, service=workers[:1]), 1)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(local):
    process = subprocess.Popen(
        [sys.executable, "-m", "tfvit.decode_worker", "--port=0"],
        stdout=subprocess.PIPE, text=True)
    place = process.stdout.readline().split()[-1].rstrip(".")
    batches = iter(build(service=place))
    found = [next(batches) for _ in range(3)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    found += [next(batches) for _ in range(9)]
    pipeline_test.assert_equal(
        [{k: v.numpy() for k, v in batch.items()} for batch in found],
        local[:12])

"""TF_CONFIG, and waiting for the workers in it."""

import json
import socket
import time

import pytest

from tests import workers
from tfvit.distribute import cluster


def test_tasks_are_told_apart():
    config = {"cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"]},
              "task": {"type": "worker", "index": 1}}
    assert cluster.tasks(json.dumps(config)) == (
        "c:3", {"chief 0": "a:1", "worker 0": "b:2"})


@pytest.mark.parametrize("text, message", [
    ("", "TF_CONFIG on every worker, such as .*; here it is ''"),
    ("{}", "here it is '{}'"),
    ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
     "such as .*host0:2222"),
    ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
     "task index 1 is not one of the 1 of worker"),
])
def test_an_unclear_config_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        cluster.tasks(text)


def test_who_listens_has_come_and_who_does_not_is_named():
    own, here, missing = workers.addresses(3)
    with socket.create_server(("127.0.0.1", int(here.rsplit(":", 1)[1]))):
        cluster.meet(own, {"worker 0": here}, 60)
        since = time.monotonic()
        with pytest.raises(ConnectionError, match=(
                f"After 0.1 s .* not answer: worker 2 .{missing}")):
            cluster.meet(own, {"worker 0": here, "worker 2": missing}, 0.1)
        assert time.monotonic() - since < 10


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port}, which it cannot use"):
            cluster.meet(f"localhost:{port}", {}, 1)

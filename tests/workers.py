"""Real worker processes on loopback, for tests."""

import contextlib
import json
import os
import pathlib
import queue
import socket
import subprocess
import sys
import threading

from tfvit import config

ROOT = pathlib.Path(config.ROOT)
PATIENCE = 400  # Seconds; on a busy machine TensorFlow takes long to start.


def addresses(count):
    """`count` free ports on loopback, as host:port."""
    with contextlib.ExitStack() as stack:
        # All open at once, so that no two are the same.
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(count)
        ]
        return ["127.0.0.1:%d" % s.getsockname()[1] for s in sockets]


class Worker:
    """A process that runs python with `arguments` as one of the workers."""

    def __init__(self, arguments, addresses, index):
        config = {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index}
        }
        self.process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, text=True,
            env={**os.environ, "TF_CONFIG": json.dumps(config)},
            stderr=subprocess.PIPE)
        self._lines = queue.Queue()
        self._log = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        # A full pipe would stop the process.
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put(None)

    def read_until(self, text=None):
        """Follows the log up to a line with `text`, or to its end."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self._log.append(line)
            if text and text in line:
                return
        assert text is None, "".join(self._log)

    def end(self):
        """Waits for the process; returns (exit code, log)."""
        try:
            self.read_until()
            return self.process.wait(PATIENCE), "".join(self._log)
        finally:
            self.process.kill()
            self.process.wait()


def end_all(workers):
    """[(exit code, log)] of all of them; none outlives this call."""
    try:
        return [worker.end() for worker in workers]
    finally:
        for worker in workers:
            worker.process.kill()


def collectives(graph):
    """{type: number} of the ops in a traced function that talk to replicas.

    What it calls is counted once for each call, and loops as one turn.
    """
    found = {}
    for op in graph.get_operations():
        if op.type.startswith("Collective"):
            found[op.type] = found.get(op.type, 0) + 1
        for attribute in ("f", "body", "then_branch"):
            if attribute not in op.node_def.attr:
                continue
            inner = graph._get_function(  # pylint: disable=protected-access
                op.get_attr(attribute).name).graph
            for kind, number in collectives(inner).items():
                found[kind] = found.get(kind, 0) + number
    return found

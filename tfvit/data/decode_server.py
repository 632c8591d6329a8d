"""What `tfvit decode_worker` runs: makes the batches of graphs it is sent.

service.py, on the machine that trains, asks. One stream each: in comes a graph
of a dataset, out go its batches. Where the graph reads by a Python function (a
PyFunc, as sources of ArrayRecord do), the function stays where it is: the worker
asks for its results over the same stream, as C messages among the batches' B.
"""
from collections.abc import Iterator, Sequence
from concurrent import futures
import itertools
import json
import os
import queue
import threading

from absl import logging

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # We say what happens.
import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

HELLO, BATCHES = "/tfvit.Decode/Hello", "/tfvit.Decode/Batches"
_VERSION = 1  # Of what travels.
_AHEAD = 2  # Batches that wait to be sent.
_STREAMS = 64  # At once.
CHANNEL = (
    ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
    # A machine that is switched off says nothing: it is asked every so often.
    ("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
_PYTHON = ("PyFunc", "PyFuncStateless")


def serve(host: str, port: int) -> tuple[grpc.Server, int]:
    """Starts to make batches for whoever asks; returns the server and its port.

    Args:
      host: address to listen on.
      port: 0 for any.

    Raises:
      OSError: the port is taken, or the address is not of this machine.
    """
    server = grpc.server(
        futures.ThreadPoolExecutor(_STREAMS), maximum_concurrent_rpcs=_STREAMS,
        options=(*CHANNEL, ("grpc.so_reuseport", 0),
                 ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
                 ("grpc.keepalive_permit_without_calls", 1)))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
        HELLO.split("/")[1], {
            "Hello": grpc.unary_unary_rpc_method_handler(
                lambda request, context: hello()),
            "Batches": grpc.stream_stream_rpc_method_handler(_make)})])
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(f"--host={host} --port={port}: cannot listen there; "
                      "another program does, or it is no address of this "
                      "machine.") from error
    server.start()
    return server, bound


def hello() -> bytes:
    """What must be the same on both sides."""
    return json.dumps({"tfvit decode_worker": _VERSION,
                       "TensorFlow": tf.version.VERSION}).encode()


def _make(requests, context) -> Iterator[bytes]:
    """Yields the batches of a graph, and calls of its Python functions."""
    head, graph = next(requests).split(b"\n", 1)
    spec = tuple(tf.TensorSpec(shape, dtype) for dtype, shape in json.loads(head))
    logging.info("Makes batches for %s.", context.peer())
    outbox, room = queue.SimpleQueue(), threading.Semaphore(_AHEAD)
    calls = _Calls(outbox)
    graph = calls.adopt(graph)
    context.add_callback(calls.close)
    failed = []

    def run():
        try:
            with tf.device("CPU:0"):
                for batch in tf.data.experimental.from_variant(
                        tf.raw_ops.DatasetFromGraph(graph_def=graph), spec):
                    room.acquire()
                    if calls.closed:
                        return
                    outbox.put(b"B" + packed([part.numpy() for part in batch]))
        except (tf.errors.OpError, ValueError) as error:
            failed.append(str(getattr(error, "message", error)))
        finally:
            outbox.put(None)

    for target, args in ((run, ()), (calls.listen, (requests,))):
        threading.Thread(target=target, args=args, daemon=True).start()
    sent = 0
    try:
        while (message := outbox.get()) is not None:
            yield message
            if message[:1] == b"B":
                sent += 1
                room.release()
    finally:
        calls.close()
        room.release()
        logging.info("Made %d batches for %s.", sent, context.peer())
    if failed and context.is_active():
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, failed[0])


class _Calls:
    """Calls of Python functions, which are made at the other end."""

    def __init__(self, outbox):
        self.closed = False
        self._outbox = outbox
        self._waiting, self._numbers = {}, itertools.count()
        self._graph = tf.Graph()  # Holds what is registered.

    def adopt(self, graph: bytes) -> bytes:
        """Puts in the place of a graph's Python functions those that ask."""
        parsed, names = graph_pb2.GraphDef.FromString(graph), {}
        for node in python_nodes(parsed):
            token = node.attr["token"].s
            if token not in names:
                names[token] = self._register(
                    token, list(node.attr["Tout"].list.type))
            node.attr["token"].s = names[token]
        return parsed.SerializeToString() if names else graph

    def _register(self, token, types):
        asked = token + b"|" + json.dumps(types).encode()
        with self._graph.as_default():
            made = tf.numpy_function(
                lambda *arrays: self._ask(asked, arrays), [0], tf.int32)
        return made.op.get_attr("token")

    def _ask(self, asked, arrays):
        number, answer = next(self._numbers), futures.Future()
        self._waiting[number] = answer
        if self.closed:
            raise ConnectionError("Who asked is gone.")
        self._outbox.put(b"C" + protos([
            np.int64(number), np.array(asked, object), *arrays]))
        return answer.result()

    def listen(self, requests):
        """Takes the answers, until whoever gives them is gone."""
        try:
            for message in requests:
                number, error, *arrays = arrays_of(message)
                waiting = self._waiting.pop(int(number))
                if error.item():
                    waiting.set_exception(ValueError(error.item().decode()))
                else:
                    waiting.set_result(arrays)
        except grpc.RpcError:
            pass  # They hung up, which is how a stream ends.
        finally:
            self.close()

    def close(self):
        self.closed = True
        for answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(ConnectionError("Who asked is gone."))
        self._outbox.put(None)


def python_nodes(graph) -> Iterator:
    """The nodes of a GraphDef, functions' too, that call Python."""
    functions = (f.node_def for f in graph.library.function)
    for node in itertools.chain(graph.node, *functions):
        if node.op in _PYTHON:
            yield node


def answer(message: bytes) -> bytes:
    """Makes the call that a C message asks for, where the function is."""
    number, asked, *arrays = arrays_of(message[1:])
    name, types = asked.item().split(b"|", 1)
    try:
        found = tf.raw_ops.PyFunc(input=[tf.constant(a) for a in arrays],
                                  token=name, Tout=json.loads(types))
        return protos([number, np.array(b"", object),
                       *(part.numpy() for part in found)])
    except (tf.errors.OpError, ValueError) as error:
        said = str(getattr(error, "message", error)) or "It failed."
        return protos([number, np.array(said.encode(), object)])


def packed(arrays: Sequence[np.ndarray]) -> bytes:
    """A line with types and shapes, and the bytes of arrays of numbers."""
    head = [(array.dtype.name, array.shape) for array in arrays]
    return b"".join([json.dumps(head).encode(), b"\n",
                     *(np.ascontiguousarray(array).data for array in arrays)])


def unpacked(message: bytes, at: int = 0) -> tuple[np.ndarray, ...]:
    """The arrays of `packed`, which begins there; they share its memory."""
    end = message.index(b"\n", at)
    head, arrays, at = json.loads(message[at:end]), [], end + 1
    for dtype, shape in head:
        count = int(np.prod(shape))
        arrays.append(np.frombuffer(message, dtype, count, at).reshape(shape))
        at += arrays[-1].nbytes
    return tuple(arrays)


def protos(arrays) -> bytes:
    """Arrays of numbers or texts, each behind its length."""
    parts = [tf.make_tensor_proto(a).SerializeToString() for a in arrays]
    return b"".join(len(p).to_bytes(8, "little") + p for p in parts)


def arrays_of(message: bytes) -> list[np.ndarray]:
    """The arrays of `protos`."""
    kind, at, arrays = type(tf.make_tensor_proto(0)), 0, []
    while at < len(message):
        length = int.from_bytes(message[at:at + 8], "little")
        arrays.append(tf.make_ndarray(kind.FromString(
            message[at + 8:at + 8 + length])))
        at += 8 + length
    return arrays

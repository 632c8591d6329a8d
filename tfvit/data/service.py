"""Batches that other machines make, each a `tfvit decode_worker`.

A pipeline is a pure function of (seed, step), so any machine can make any of its
batches. Of W workers, number w makes the batches whose number is w modulo W and
sends them in order; whoever trains takes one of each in turn. Where a worker is
lost, or fails, the next one makes its batches from there on, or this machine;
once it answers again, it gets them back. The bits are the same throughout.
"""
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import itertools
import json
import queue
import threading
import time

from absl import logging
import grpc
import tensorflow as tf

from tfvit.data import decode_server

_ANSWER = 10.0  # Seconds that a worker has to say what it is.
_AGAIN = 30.0  # Seconds until a lost worker is asked again.
_AHEAD = 2  # Batches of each worker that wait here.
_READERS = 16  # Threads that make a worker's calls of Python.


def addresses(said: str | Sequence[str], knob: str) -> list[str]:
    """Makes ["HOST:PORT"] of a knob's value, once one of them answers.

    Raises:
      ValueError: one is no such address, or no decode worker of the same
        version of TensorFlow, or none answers.
    """
    found = [said] if isinstance(said, str) else list(said)
    for place in found:
        host, _, port = str(place).rpartition(":")
        if not host or not port.isdigit() or "/" in host:
            raise ValueError(f"{knob}: {place!r} must be HOST:PORT of a `tfvit "
                             "decode_worker` that runs.")
    if len(set(found)) < len(found):
        raise ValueError(f"{knob} = {found} names a worker twice.")
    with futures.ThreadPoolExecutor(max(len(found), 1)) as pool:
        refusals = [reason for reason in pool.map(_refusal, found) if reason]
    silent = [r for r in refusals if isinstance(r, ConnectionError)]
    if len(silent) < len(refusals) or 0 < len(silent) == len(found):
        raise ValueError(
            f"{knob}: {'; '.join(map(str, refusals))}. Each must be HOST:PORT "
            "of a `tfvit decode_worker` that runs, or take it out.")
    for reason in silent:  # As a worker that is lost later.
        logging.warning("%s: %s: others make its batches until it does.", knob,
                        reason)
    return found


def _refusal(place: str,
             timeout: float = _ANSWER) -> str | ConnectionError | None:
    """Why a worker cannot be used, a ConnectionError if it is silent, or None.
    """
    try:
        with grpc.insecure_channel(place, decode_server.CHANNEL) as channel:
            said = json.loads(channel.unary_unary(decode_server.HELLO)(
                b"", timeout=timeout))
    except (grpc.RpcError, ValueError) as error:
        reason = error.details() if isinstance(error, grpc.RpcError) else error
        return ConnectionError(
            f"nothing of this kind answers at {place} ({reason})")
    wanted = json.loads(decode_server.hello())
    return None if said == wanted else f"{place} is {said}, this is {wanted}"


def batches(make: Callable[[int, int], tf.data.Dataset],
            places: Sequence[str], first: int = 0,
            end: int | None = None) -> tf.data.Dataset:
    """The batches `first`, first + 1, ... before `end`, made by workers.

    Args:
      make: (n, every) -> a dataset of the batches n, n + every, ... without end,
        or before `end`.
      places: addresses of the workers.
      first, end: numbers of batches; None for no end.
    """
    spec = make(first, 1).element_spec
    flat = tf.nest.flatten(spec)
    if b"EagerPyFunc" in _graph(make(first, 1)):
        raise ValueError(
            "decode workers cannot run tf.py_function, which this input does: "
            "decode on this machine (service = None), or use "
            "tf.numpy_function.")

    def generate():
        count = len(places)
        streams = {n % count: _Stream(make, flat, places, n % count, n, end)
                   for n in range(first, first + count)}
        try:
            for n in itertools.count(first) if end is None else range(first, end):
                yield streams[n % count].next()
        finally:
            for stream in streams.values():
                stream.close()

    dataset = tf.data.Dataset.from_generator(
        generate, output_signature=tuple(
            tf.TensorSpec(part.shape, part.dtype) for part in flat))
    return dataset.map(
        lambda *parts: tf.nest.pack_sequence_as(spec, parts)).prefetch(1)


def _graph(dataset) -> bytes:
    """The graph of a dataset, whose elements become tuples."""
    with tf.init_scope(), tf.device("CPU:0"):
        flat = dataset.map(lambda batch: tuple(tf.nest.flatten(batch)))
        return tf.raw_ops.DatasetToGraphV2(
            input_dataset=tf.data.experimental.to_variant(flat),
            # tf.print and Python's functions have one, which does not matter.
            external_state_policy=1, strip_device_assignment=True).numpy()


class _Stream:
    """Every so-manieth batch, from a worker or from who stands in for it."""

    def __init__(self, make, flat, places, home, first, end):
        self._make, self._flat = make, flat
        self._places, self._home = places, home
        self._next, self._end = first, end
        self._ready = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._lost = set()
        self._call = None
        threading.Thread(target=self._run, daemon=True).start()

    def next(self):
        """The next batch, a tuple of arrays."""
        batch = self._ready.get()
        if isinstance(batch, Exception):
            raise batch
        return batch

    def close(self):
        self._closed.set()
        if self._call:
            self._call.cancel()
        while not self._ready.empty():  # For the thread to see it.
            self._ready.get_nowait()

    def _run(self):
        try:
            while not self._closed.is_set() and (self._end is None or
                                                 self._next < self._end):
                place = self._choose()
                try:
                    self._follow(place)
                except grpc.RpcError as error:
                    if self._closed.is_set():
                        return
                    self._lose(place, error)
        except Exception as error:  # pylint: disable=broad-except
            self._put(error)  # Of this machine's: for who takes the batches.

    def _choose(self):
        """The worker whose turn it is, who stands in for it, or None: here."""
        count = len(self._places)
        for i in range(count):
            place = self._places[(self._home + i) % count]
            if place not in self._lost:
                return place
        return None

    def _follow(self, place):
        """Takes batches from there, until a better one is back."""
        home, asked = self._places[self._home], time.monotonic()
        for batch in self._from(place) if place else self._here():
            self._put(batch)
            self._next += len(self._places)
            if self._closed.is_set():
                return
            if place != home and time.monotonic() > asked + _AGAIN:
                asked = time.monotonic()
                if _refusal(home, timeout=1.0) is None:
                    self._lost.clear()
                    logging.info("Decode worker %s is back.", home)
                    return

    def _from(self, place) -> Iterator:
        outbox = queue.SimpleQueue()
        with tf.init_scope(), tf.device("CPU:0"):
            dataset = self._make(self._next, len(self._places))
        head = [(part.dtype.name, part.shape.as_list()) for part in self._flat]
        outbox.put(json.dumps(head).encode() + b"\n" + _graph(dataset))
        with grpc.insecure_channel(place, decode_server.CHANNEL) as channel, (
                futures.ThreadPoolExecutor(_READERS)) as readers:
            self._call = channel.stream_stream(decode_server.BATCHES)(
                iter(outbox.get, None))
            try:
                for message in self._call:
                    if message[:1] == b"B":
                        yield decode_server.unpacked(message, 1)
                    else:
                        readers.submit(lambda m=message: outbox.put(
                            decode_server.answer(m)))
            finally:
                outbox.put(None)
                self._call.cancel()

    def _here(self) -> Iterator:
        with tf.init_scope(), tf.device("CPU:0"):
            for batch in self._make(self._next, len(self._places)):
                yield tuple(part.numpy() for part in tf.nest.flatten(batch))

    def _lose(self, place, error):
        self._lost.add(place)
        other = self._choose()
        logging.warning(
            "Decode worker %s is lost at batch %d (%s): its batches are made by "
            "%s from there on.", place, self._next, error.details(),
            other or "this machine")

    def _put(self, batch):
        while not self._closed.is_set():
            try:
                return self._ready.put(batch, timeout=0.5)
            except queue.Full:
                continue

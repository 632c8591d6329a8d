"""Requests of several clients become one batch, by TensorFlow Serving's rules.

Its batching guide: a request waits at most `batch_timeout` for others; it waits
longer only while all threads are busy, so that batches grow with the load.
Rows of one signature of one version are put one after the other, padded up to
an allowed size with copies of a row, and their outputs are cut apart again.
Where TensorFlow Serving fails a batch whose requests differ in the other
dimensions, here they form batches of their own.
"""

import collections
from concurrent import futures
import threading
import time

import numpy as np

from tfvit.server import status


class _Task:
    """Rows of a request: all, or a part of those of a large one."""

    def __init__(self, inputs, size):
        self.inputs = inputs
        self.size = size
        self.future = futures.Future()


class _Batch:

    def __init__(self, function, deadline):
        self.function = function
        self.deadline = deadline  # Of its oldest task, in monotonic seconds.
        self.tasks = []
        self.size = 0

    def add(self, task):
        self.tasks.append(task)
        self.size += task.size


class Scheduler:
    """Runs batches in threads of its own.

    Args:
      options: a configs.Batching.
    """

    def __init__(self, options):
        self._options = options
        self._queues = {}  # {key: deque of batches; the last one is open}
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{i}", daemon=True)
            for i in range(options.num_batch_threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, key, function, inputs):
        """Schedules function(inputs).

        Args:
          key: hashable, equal for calls that may share a batch, given equal
            shapes.
          function: {name: array [B, ...]} -> {name: array [B, ...]}.
          inputs: {name: array [B, ...]}.

        Returns:
          A concurrent.futures.Future of its outputs.

        Raises:
          Status: the request does not fit, or too many are waiting.
        """
        sizes = {array.shape[:1] for array in inputs.values()}
        if () in sizes:
            raise status.invalid("Batching Run() input tensors must have at "
                                 "least one dimension.")
        if len(sizes) > 1:
            raise status.invalid("Batching Run() input tensors must have equal "
                                 "0th-dimension size.")
        ((size,),) = sizes
        if size > self._options.max_batch_size:
            raise status.invalid(
                f"Task size {size} is larger than maximum input batch size "
                f"{self._options.max_batch_size}.")
        shapes = tuple((name, array.dtype.str, array.shape[1:])
                       for name, array in sorted(inputs.items()))
        with self._changed:
            if self._closed:
                raise status.Status("UNAVAILABLE", "The server is stopping.")
            tasks = self._enqueue((key, shapes), function, inputs, size)
            self._changed.notify_all()
        return tasks[0].future if len(tasks) == 1 else _joined(tasks)

    def _enqueue(self, key, function, inputs, size):
        """Puts the rows into batches of the queue; returns the tasks."""
        options, queue = self._options, self._queues.get(
            key, collections.deque())
        limit = options.max_execution_batch_size
        free = limit - queue[-1].size if queue else 0
        if options.split:
            first = min(free, size)
            parts = [first] * (first > 0) + [
                min(limit, size - begin) for begin in range(first, size, limit)]
        else:
            parts = [size]
            free = free if size <= free else 0
        new = len(parts) - (free > 0)
        if len(queue) + new > options.max_enqueued_batches:
            raise status.Status(
                "UNAVAILABLE", "The batch scheduling queue to which this task "
                f"was submitted is full; task size is {size}, "
                f"max_enqueued_batches is {options.max_enqueued_batches}.")
        self._queues[key] = queue
        tasks, begin = [], 0
        for part in parts:
            task = _Task({name: array[begin:begin + part]
                          for name, array in inputs.items()}, part)
            if begin or not free:
                queue.append(_Batch(function,
                                    time.monotonic() + options.batch_timeout))
            queue[-1].add(task)
            tasks.append(task)
            begin += part
        return tasks

    def close(self):
        """Finishes what is waiting; refuses what comes."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self):
        while (batch := self._next()) is not None:
            _run(batch, self._options.allowed_batch_sizes)

    def _next(self):
        """The batch that is due first; None once there will be no more."""
        with self._changed:
            while True:
                now = time.monotonic()
                # The oldest first, so that no queue waits for another's end.
                for key, queue in sorted(self._queues.items(),
                                         key=lambda item: item[1][0].deadline):
                    batch = queue[0]
                    full = len(queue) > 1 or (
                        batch.size >= self._options.max_execution_batch_size)
                    if full or self._closed or batch.deadline <= now:
                        queue.popleft()
                        if not queue:
                            del self._queues[key]
                        return batch
                if self._closed:
                    return None
                deadlines = [queue[0].deadline
                             for queue in self._queues.values()]
                self._changed.wait(min(deadlines) - now if deadlines else None)


def _run(batch, allowed):
    tasks = [task for task in batch.tasks
             if task.future.set_running_or_notify_cancel()]
    if not tasks:
        return
    try:
        size = sum(task.size for task in tasks)
        padded = next((a for a in allowed if a >= size), size)
        inputs = {}
        for name in tasks[0].inputs:
            rows = [task.inputs[name] for task in tasks]
            rows += [rows[-1][:1]] * (padded - size)
            inputs[name] = np.concatenate(rows) if len(rows) > 1 else rows[0]
        found = batch.function(inputs)
        for name, array in found.items():
            if array.shape[:1] != (padded,):
                raise status.Status(
                    "FAILED_PRECONDITION", f"Output {name!r} has shape "
                    f"{list(array.shape)} for a batch of {padded}: this "
                    "signature must be served without batching.")
    except Exception as error:  # pylint: disable=broad-except
        for task in tasks:  # The clients are told; the thread goes on.
            task.future.set_exception(error)
        return
    begin = 0
    for task in tasks:
        task.future.set_result({name: array[begin:begin + task.size]
                                for name, array in found.items()})
        begin += task.size


def _joined(tasks):
    """A future of the outputs of all tasks, in their order."""
    whole, left, lock = futures.Future(), [len(tasks)], threading.Lock()
    whole.set_running_or_notify_cancel()

    def done(_):
        with lock:
            left[0] -= 1
            if left[0]:
                return
        try:
            parts = [task.future.result() for task in tasks]
            whole.set_result({name: np.concatenate([p[name] for p in parts])
                              for name in parts[0]})
        except Exception as error:  # pylint: disable=broad-except
            whole.set_exception(error)  # Whoever waits for the whole hears it.

    for task in tasks:
        task.future.add_done_callback(done)
    return whole

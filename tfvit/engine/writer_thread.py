"""All writers of a run, as one, on a thread of their own.

Training does not wait for a disk, a bucket or a server: what it reports is
queued, and what has come meanwhile is written together, in its order.
"""

from concurrent import futures
import threading

_BUCKET_PAUSE = 30.0  # Seconds: an append sends the whole file once more.


def pause(workdir):
    """The seconds in which reports to a workdir are gathered."""
    return _BUCKET_PAUSE if "://" in str(workdir) else 0.0


class Writers:
    """Reports to all writers; see engine.writers for what these are.

    What goes wrong on the thread is raised by the next call here, whichever
    that is; nothing is written after it. Until `positions`, `rewind` or `close`
    has returned, what was reported may not be on disk.
    """

    def __init__(self, writers, pause=0.0):
        """`writers` is {name: writer}; `pause`, see above, in seconds."""
        self._writers = dict(writers)
        self._pause = pause
        self._thread = futures.ThreadPoolExecutor(1, "writers")
        self._lock = threading.Lock()
        self._pending = []  # (method, arguments), in order.
        self._is_writing = False
        self._hurry = threading.Event()
        self._error = None

    def scalars(self, step, values):
        self._report("scalars", step, dict(values))

    def images(self, step, name, images):
        self._report("images", step, name, images)

    def positions(self):
        self._settle()
        return self._ask({name: (writer.position, ())
                          for name, writer in self._writers.items()})

    def rewind(self, positions, step):
        self._settle()
        self._ask({name: (writer.rewind, (positions.get(name), step))
                   for name, writer in self._writers.items()})

    def close(self):
        """Writes what is left, and closes the writers, also after an error."""
        try:
            self._settle()
        finally:
            self._ask({name: (writer.close, ())
                       for name, writer in self._writers.items()})
            self._thread.shutdown()

    def _report(self, *call):
        self._complain()
        if not self._writers:
            return
        with self._lock:
            self._pending.append(call)
            if not self._is_writing:
                self._is_writing = True
                self._thread.submit(self._write)

    def _write(self):
        """Writes until nothing is pending; on the thread."""
        while True:
            self._hurry.wait(self._pause)
            with self._lock:
                calls, self._pending = self._pending, []
                if not calls:
                    self._is_writing = False
                    return
            try:
                for writer in self._writers.values() if not self._error else ():
                    for method, *arguments in calls:
                        getattr(writer, method)(*arguments)
                    # Writers of one's own need not have it.
                    getattr(writer, "flush", lambda: None)()
            except BaseException as error:  # pylint: disable=broad-except
                self._error = error  # Whatever it is, training raises it.

    def _ask(self, calls):
        """{name: what function(*arguments) returns}, on the thread.

        All there: the active run of MLflow, for one, is its thread's.
        """
        return self._thread.submit(lambda: {
            name: function(*arguments)
            for name, (function, arguments) in calls.items()}).result()

    def _settle(self):
        """Waits until all reports are written."""
        self._hurry.set()
        self._thread.submit(lambda: None).result()
        self._hurry.clear()
        self._complain()

    def _complain(self):
        if self._error:
            raise self._error

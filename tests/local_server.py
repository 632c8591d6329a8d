"""A server on this machine, which plays those that tests must not ask."""

import contextlib
import http.server
import threading


@contextlib.contextmanager
def answering(handler, host="127.0.0.1"):
    """Gives a server whose requests `handler`, a class, answers on a thread."""
    server = http.server.ThreadingHTTPServer((host, 0), handler)
    # A thread that ends soon after it is asked to.
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

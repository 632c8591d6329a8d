"""Serves a folder of static files to a browser on this machine.

With what a page needs to run models well: the headers that let it have threads
(COOP, COEP), compression, and tags by which a browser that has a file is not
sent it again.
"""

import functools
import gzip
import http
import http.server
import os
import socketserver
import urllib.parse

HEADERS = {
    # Together: SharedArrayBuffer, and so threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".json": "application/json",
    ".wasm": "application/wasm", ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg",
    ".gif": "image/gif", ".bmp": "image/bmp", ".webp": "image/webp",
}
_SMALLER = (".html", ".css", ".js", ".json", ".wasm", ".txt", ".svg", ".model")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD of files below `root`; no listings."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args, root):
        self._root = os.path.realpath(root)
        super().__init__(*args)

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Says nothing: a page asks for dozens of files."""

    def _answer(self, body):
        address = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        path = self._file(address)
        if path is None:
            said = b"Not found.\n"
            self._send(http.HTTPStatus.NOT_FOUND, {
                "Content-Type": "text/plain; charset=utf-8"},
                       said if body else b"", len(said))
            return
        suffix = os.path.splitext(path)[1]
        facts = os.stat(path)
        tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
        headers = {
            "ETag": tag, "Vary": "Accept-Encoding",
            "Content-Type": _TYPES.get(suffix, "application/octet-stream"),
            # Another folder, served here later, has others of the same address.
            "Cache-Control": "no-cache",
        }
        if self.headers.get("If-None-Match") == tag:
            self._send(http.HTTPStatus.NOT_MODIFIED, headers, b"", 0)
            return
        accepted = self.headers.get("Accept-Encoding", "")
        if suffix in _SMALLER and "gzip" in accepted:
            headers["Content-Encoding"] = "gzip"
            data = _zipped(path, tag)
        else:
            with open(path, "rb") as f:
                data = f.read()
        self._send(http.HTTPStatus.OK, headers, data if body else b"",
                   len(data))

    def _file(self, address):
        """The file of an address, or None."""
        if "\0" in address:
            return None
        path = os.path.realpath(os.path.join(self._root, address.lstrip("/")))
        if os.path.isdir(path) and address.endswith("/"):
            path = os.path.join(path, "index.html")
        inside = path.startswith(os.path.join(self._root, ""))
        return path if inside and os.path.isfile(path) else None

    def _send(self, status, headers, data, length):
        self.send_response(status)
        for name, value in {**HEADERS, **headers,
                            "Content-Length": length}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if data:
            self.wfile.write(data)


@functools.lru_cache(maxsize=64)
def _zipped(path, tag):
    """A file's bytes, compressed once; the runtime's nine MB take a second."""
    del tag  # Another file of the same name is compressed anew.
    with open(path, "rb") as f:
        return gzip.compress(f.read(), 6)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A server of `root` at (host, port); port 0 for any.

    Raises:
      OSError: it cannot listen there.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, root, *, host, port):
        super().__init__((host, port), functools.partial(Handler, root=root))

    def handle_error(self, request, client_address):
        """Says nothing: a browser that leaves breaks connections off."""

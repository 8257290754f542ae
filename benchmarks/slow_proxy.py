"""A proxy before an S3 server that adds a delay to each request and counts what passes."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class SlowProxy:
    """The running proxy.

    Attributes:
        url: Where clients connect.
        requests: Requests so far.
        sent_bytes: Bytes of answers' bodies so far.
    """

    def __init__(self, upstream: str, delay_s: float) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.delay_s = delay_s
        self.requests = 0
        self.sent_bytes = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def count(self, requests: int, sent_bytes: int) -> None:
        """Add to the counts."""
        with self._lock:
            self.requests += requests
            self.sent_bytes += sent_bytes

    def taken(self) -> tuple[int, int]:
        """Return the counts and begin anew."""
        with self._lock:
            found = self.requests, self.sent_bytes
            self.requests = self.sent_bytes = 0
        return found


class _Handler(BaseHTTPRequestHandler):
    proxy: SlowProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""

    def setup(self) -> None:
        """Begin a client's connection, which has one of its own to the server."""
        super().setup()
        self._upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)

    def finish(self) -> None:
        """End both connections."""
        self._upstream.close()
        super().finish()

    def _serve(self) -> None:
        size_bytes = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size_bytes)
        self.proxy.count(1, 0)
        time.sleep(self.proxy.delay_s)
        try:
            # The host header is the client's: the signature covers it.
            self._upstream.request(self.command, self.path, body, dict(self.headers))
            reply = self._upstream.getresponse()
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = reply.getheader("Content-Length")
            if length is not None:
                self.send_header("Content-Length", length)
            else:
                self.close_connection = True
            self.end_headers()
            while piece := reply.read(64 * 1024):
                self.wfile.write(piece)
                self.proxy.count(0, len(piece))
        except (OSError, http.client.HTTPException):
            # The client sees its connection end, and asks again.
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve


@contextmanager
def slow_proxy(upstream: str, delay_s: float) -> Iterator[SlowProxy]:
    """Run a proxy until the block ends."""
    proxy = SlowProxy(upstream, delay_s)
    thread = threading.Thread(target=proxy.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join(10)

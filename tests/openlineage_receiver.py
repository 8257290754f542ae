"""A real HTTP server on this machine that takes OpenLineage events, or refuses, or hangs."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What was sent to it.

    Attributes:
        url: Its address.
        events: The bodies, in order.
        paths: Where they were sent.
        authorization: The `Authorization` headers.
        status: What it answers.
    """

    def __init__(self) -> None:
        self.url = ""
        self.events: list[Any] = []
        self.paths: list[str] = []
        self.authorization: list[str | None] = []
        self.status = 201
        self.may_answer = threading.Event()
        self.may_answer.set()


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run one on a free port of 127.0.0.1 until the block ends."""
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            told.may_answer.wait(30)
            told.events.append(json.loads(body))
            told.paths.append(self.path)
            told.authorization.append(self.headers.get("Authorization"))
            self.send_response(told.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield told
    finally:
        told.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()

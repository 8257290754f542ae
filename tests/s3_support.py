"""Ways to the test server: settings, another client, and a relay that plays faults.

The relay writes down requests and does what it is told.

It forwards each request with its `Host` header, which the signature covers, so a client that is
pointed at the relay talks to the real server.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from demo.seaweedfs import REGION, SeaweedFS
from t4_ops.checksums import Buffer
from t4_ops.settings import S3Settings
from t4_ops.storage.s3 import S3Store

MIB = 1024 * 1024


def settings_for(server: SeaweedFS, **changes: Any) -> S3Settings:
    """Return settings that lead to the server; `changes` replace or add fields."""
    fields: dict[str, Any] = {
        "endpoint_url": server.endpoint_url,
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
        "region": REGION,
    }
    return S3Settings(**{**fields, **changes})


def client_of(server: SeaweedFS) -> Any:
    """Return a client of boto3's, to see what is really there."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=REGION,
    )


def bucket_of(store: S3Store) -> str:
    """Return the name of a store's bucket."""
    return store.url.removeprefix("s3://")


def pieces(data: bytes, size_bytes: int = MIB) -> Iterator[Buffer]:
    """Yield pieces in one reused buffer, as a reader may."""
    room = bytearray(size_bytes)
    for start in range(0, len(data), size_bytes):
        piece = data[start : start + size_bytes]
        room[: len(piece)] = piece
        yield memoryview(room)[: len(piece)]


_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True)
class Request:
    """What arrived.

    Attributes:
        method: HTTP method.
        target: Path and query; a whole URL when the relay is used as a proxy.
        headers: Headers by lower-case name.
        body: Body.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """What to do instead of, or after, forwarding.

    Attributes:
        status: Answer with this status and `body`; None to forward.
        body: Body of the answer.
        headers: Headers of the answer.
        drop: Forward, then close the connection without an answer.
        truncate_bytes: Forward, then close after this many bytes of the answer's body.
        delay_s: Wait first.
        reset: Close the connection hard, without forwarding.
        corrupt: Forward, then change a byte in the middle of the answer's body.
        corrupt_sent: Change a byte in the middle of the request's body, then forward.
        without: Forward, then leave out of the answer the headers that begin like this.
    """

    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    truncate_bytes: int | None = None
    delay_s: float = 0.0
    reset: bool = False
    corrupt: bool = False
    corrupt_sent: bool = False
    without: str | None = None


def s3_fault(status: int, code: str, message: str = "told to", extra: str = "") -> Fault:
    """Return an S3 error reply."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{extra}"
    return Fault(status, f"{body}</Error>".encode(), {"Content-Type": "application/xml"})


def wait_for_pages_ahead() -> None:
    """Wait until the pages that listings have asked for ahead are there."""
    for thread in threading.enumerate():
        if thread.name == "t4-list":
            thread.join(10)


def numbered_pages(request: Request) -> Fault:
    """Pages 0 to 3 of a listing, of an object of 0 to 3 bytes each; a token is a page's number."""
    found = re.search("continuation-token=([0-9])", request.target)
    number = int(found[1]) if found else 0
    page = (
        f"<IsTruncated>{'true' if number < 3 else 'false'}</IsTruncated>"
        f"<NextContinuationToken>{number + 1}</NextContinuationToken>"
        f"<Contents><Key>{number}</Key><Size>{number}</Size></Contents>"
    )
    return Fault(200, f"<ListBucketResult>{page}</ListBucketResult>".encode())


class Relay:
    """The running relay.

    Attributes:
        url: Where clients connect.
        requests: Everything that arrived, in order.
        rule: Called with each request; says what fault to play, if any.
    """

    def __init__(self, upstream: str, tls: ssl.SSLContext | None) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.requests: list[Request] = []
        self.rule: Callable[[Request], Fault | None] = lambda request: None
        handler = type("Handler", (_Handler,), {"relay": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.server.server_port}"

    def seen(self, method: str, part: str = "") -> list[Request]:
        """Return the requests of a method whose target holds `part`."""
        return [r for r in self.requests if r.method == method and part in r.target]


class _Handler(BaseHTTPRequestHandler):
    relay: Relay
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Keep the test output clean."""

    def _serve(self) -> None:
        size_bytes = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(size_bytes))
        self.relay.requests.append(request)
        fault = self.relay.rule(request) or Fault()
        time.sleep(fault.delay_s)
        try:
            if fault.reset:
                self._reset()
            elif fault.status is not None:
                self._answer(fault.status, fault.headers, fault.body, None)
            else:
                self._forward(request, fault)
        except OSError:
            self.close_connection = True

    def _reset(self) -> None:
        """Have the system answer with RST: it does when nothing lingers for a closed socket."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _forward(self, request: Request, fault: Fault) -> None:
        upstream = http.client.HTTPConnection(self.relay.upstream, timeout=30)
        try:
            parts = urlsplit(request.target)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            sent = _changed(request.body) if fault.corrupt_sent else request.body
            upstream.request(request.method, target, sent, request.headers)
            reply = upstream.getresponse()
            body = reply.read()
        finally:
            upstream.close()
        if fault.drop:
            self.close_connection = True
            return
        if fault.corrupt:
            body = _changed(body)
        headers = {
            name: value
            for name, value in reply.getheaders()
            if fault.without is None or not name.lower().startswith(fault.without)
        }
        self._answer(reply.status, headers, body, fault.truncate_bytes)

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, truncate_bytes: int | None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in (*_HOP_BY_HOP, "content-length"):
                self.send_header(name, value)
        length = headers.get("Content-Length", len(body)) if self.command == "HEAD" else len(body)
        if status != http.client.NO_CONTENT:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:truncate_bytes])
        if truncate_bytes is not None:
            self.wfile.flush()
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve


def _changed(body: bytes) -> bytes:
    """Return a body with another byte in the middle, or an empty one as it is."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body


@contextmanager
def run_relay(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[Relay]:
    """Run a relay to `upstream` until the block ends; with `tls` it speaks HTTPS."""
    relay = Relay(upstream, tls)
    thread = threading.Thread(target=relay.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        relay.server.shutdown()
        relay.server.server_close()
        thread.join(10)

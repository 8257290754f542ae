"""Filling a SeaweedFS bucket with very many small objects."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from demo.seaweedfs import SeaweedFS

# Connections that fill the bucket, and requests on their way on each.
_WRITERS: Final = 8
_AHEAD: Final = 8

Object = tuple[str, bytes]


def fill(server: SeaweedFS, bucket: str, objects: Iterable[Object]) -> int:
    """Write objects through the server's filer, which its S3 side reads from; return their number.

    The same entries as by S3, without a signature for each of 300,000: minutes instead of an hour.
    """
    port, everything = server.filer_port, list(objects)
    with ThreadPoolExecutor(_WRITERS) as pool:
        shares = [everything[number::_WRITERS] for number in range(_WRITERS)]
        for _ in pool.map(lambda share: _put_all(port, bucket, share), shares):
            pass
    return len(everything)


def _put_all(port: int, bucket: str, objects: Sequence[Object]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        answers = connection.makefile("rb")
        for start in range(0, len(objects), _AHEAD):
            some = objects[start : start + _AHEAD]
            connection.sendall(b"".join(_put(bucket, key, data) for key, data in some))
            for key, _ in some:
                status = answers.readline()
                if b" 201 " not in status:
                    raise RuntimeError(f"{key} was not written: {status!r}")
                size_bytes = 0
                while (line := answers.readline()).strip():
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        size_bytes = int(value)
                answers.read(size_bytes)


def _put(bucket: str, key: str, data: bytes) -> bytes:
    head = f"PUT /buckets/{bucket}/{key} HTTP/1.1\r\nHost: filer\r\nContent-Length: {len(data)}\r\n"
    return f"{head}\r\n".encode() + data

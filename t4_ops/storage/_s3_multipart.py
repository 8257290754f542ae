"""Uploads in parts, whose composite checksum at the server is the object's `sha2-256-chunked`.

boto3 sends them, not obstore: obstore completes an upload without a condition, and pulls the pieces
inside its own event loop, where a source that reads from obstore panics. With the payload signed
by its checksum alone, boto3 took as much time and processor for 256 MiB (5.8 s, 1.5 s).
"""

from __future__ import annotations

import hashlib
import threading
from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from t4_ops.checksums import (
    SHA256_CHUNKED,
    Buffer,
    Checksum,
    chunk_size_bytes,
    combine_digests,
)
from t4_ops.errors import IntegrityError, T4Error
from t4_ops.storage._rooms import ROOMS
from t4_ops.storage._s3_api import sha256_base64, write_parameters
from t4_ops.storage._s3_bodies import Body, Span, View
from t4_ops.storage._s3_boto import Connection
from t4_ops.storage._s3_errors import Attempt, RefusedError
from t4_ops.storage.base import ObjectInfo, PartSource

# Parts of one upload in flight.
_PARTS_AT_ONCE: Final = 4
# Of a stream that is no larger, a manifest above all, this many: memory for two parts, not for all.
_SHORT_BYTES: Final = 64 * 1024 * 1024
_SHORT_AT_ONCE: Final = 2
# Larger parts, those of objects above 160 GB, are read twice instead: to hash them, to send them.
_MEMORY_PART_BYTES: Final = 16 * 1024 * 1024


def upload_parts(
    connection: Connection,
    key: str,
    chunks: Iterable[Buffer],
    size_bytes: int,
    *,
    create_only: bool,
) -> ObjectInfo:
    """Write an object in parts of the chunk schedule; on any error abort, and leave nothing.

    Args:
        connection: The bucket.
        key: Where to.
        chunks: The bytes; pulled by this thread.
        size_bytes: How many they are, which fixes the size of the parts.
        create_only: Fail if there is an object when all parts have arrived.

    Raises:
        PreconditionFailedError: `create_only`, and there is an object.
    """
    with begun(connection, key) as upload:
        at_once = _SHORT_AT_ONCE if size_bytes <= _SHORT_BYTES else _PARTS_AT_ONCE
        parts = upload.send(_split(chunks, chunk_size_bytes(size_bytes)), at_once)
        return upload.complete(parts, size_bytes, create_only)


def upload_ranges(
    connection: Connection,
    key: str,
    source: PartSource,
    expected: Checksum | None,
    *,
    create_only: bool,
    digests: Sequence[bytes] = (),
) -> ObjectInfo:
    """Write an object in parts that are read, hashed and sent side by side.

    Each part is hashed once: that digest is the checksum the server compares the part with, and
    together they are the object's hash, compared before the object comes to be. Where the parts'
    digests are known, not even once: unless the server does not say that it compared.

    Args:
        connection: The bucket.
        key: Where to.
        source: The bytes, at least one.
        expected: The `sha2-256-chunked` hash they must have; None: any.
        create_only: Fail if there is an object when all parts have arrived.
        digests: Those of the parts, if they are known; else none.

    Raises:
        PreconditionFailedError: `create_only`, and there is an object.
        IntegrityError: The bytes have another hash, or changed meanwhile; nothing was written.
    """
    size_bytes = source.size_bytes
    with begun(connection, key) as upload:
        parts = upload.send_ranges(source, digests)
        source.check_unchanged()
        check_parts(parts, expected, f"s3://{connection.bucket}/{key}")
        return upload.complete(parts, size_bytes, create_only)


@contextmanager
def begun(connection: Connection, key: str) -> Iterator[Upload]:
    """Begin an upload for a block; on any error in it, abort and leave nothing."""
    upload = Upload(connection, key)
    try:
        yield upload
    except BaseException as exc:
        upload.abort(exc)
        raise


def check_parts(
    parts: list[dict[str, Any]], expected: Checksum | None, where: str
) -> Checksum | None:
    """Return the `sha2-256-chunked` hash that parts of the chunk schedule have together.

    None if the server did not say the checksum of each.

    Raises:
        IntegrityError: It is not the expected one of that type.
    """
    if not all(part.get("ChecksumSHA256") for part in parts):
        return None
    actual = combine_digests(a2b_base64(part["ChecksumSHA256"]) for part in parts)
    if expected is not None and expected.type == SHA256_CHUNKED and actual != expected:
        raise IntegrityError(
            f"{where} was not written: its bytes have the hash {actual.value}, expected was"
            f" {expected.value}",
            key=where,
            expected=expected.value,
            actual=actual.value,
        )
    return actual


class Upload:
    """One multipart upload.

    Attributes:
        id: The server's name for it.
    """

    def __init__(self, connection: Connection, key: str) -> None:
        self._connection, self._key = connection, key
        reply = connection.call(
            "create_multipart_upload",
            Attempt("CreateMultipartUpload", key),
            Key=key,
            ChecksumAlgorithm="SHA256",
            **write_parameters(connection.settings),
        )
        self.id = reply["UploadId"]

    def send(self, parts: Iterator[_Part], at_once: int) -> list[dict[str, Any]]:
        waiting: deque[Future[dict[str, Any]]] = deque()
        sent: list[dict[str, Any]] = []
        held: dict[int, _Part] = {}
        try:
            # Leaving the pool waits for the parts in flight, so an abort can't overtake one.
            with ThreadPoolExecutor(at_once, "t4-upload") as pool:
                while (part := next(parts, None)) is not None:
                    number = len(sent) + len(waiting) + 1
                    held[number] = part
                    waiting.append(pool.submit(self._send_held, number, held))
                    # No part is taken meanwhile: it would hold a room that nobody gives back.
                    if len(waiting) == at_once:
                        sent.append(waiting.popleft().result())
                sent += [future.result() for future in waiting]
        finally:
            # One is left if no thread could be started for it.
            for part in held.values():
                ROOMS.give_back(part.room)
        return sent

    def send_ranges(self, source: PartSource, digests: Sequence[bytes]) -> list[dict[str, Any]]:
        step = chunk_size_bytes(source.size_bytes)
        starts = range(0, source.size_bytes, step)
        # Of a source that was longer or shorter when it was hashed they say nothing.
        known = digests if len(digests) == len(starts) else [None] * len(starts)
        failed = threading.Event()

        def send(start: int, digest: bytes | None) -> dict[str, Any]:
            if failed.is_set():
                raise CancelledError
            end = min(start + step, source.size_bytes)
            try:
                return self._send_range(source, start, end, digest)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(_PARTS_AT_ONCE, "t4-upload") as pool:
            futures = [pool.submit(send, *part) for part in zip(starts, known, strict=True)]
            wait(futures)
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            # Those that were cancelled because of it say nothing.
            if not isinstance(error, CancelledError):
                raise error
        return [future.result() for future in futures]

    def _send_range(
        self, source: PartSource, start: int, end: int, digest: bytes | None
    ) -> dict[str, Any]:
        step = chunk_size_bytes(source.size_bytes)
        number = start // step + 1
        if end - start > _MEMORY_PART_BYTES:
            return self._send_compared(
                number,
                Span(source, start, end),
                digest,
                lambda: _digest_of(source.pieces(start, end)),
            )
        with ROOMS.buffer(step) as room:
            filled = 0
            for piece in source.pieces(start, end):
                room[filled : filled + len(piece)] = piece
                filled += len(piece)
            part = memoryview(room)[:filled]
            # boto3 takes no views, and would copy a whole buffer.
            return self._send_compared(number, View(part), digest, lambda: _digest_of((part,)))

    def _send_compared(
        self, number: int, body: Body, digest: bytes | None, compute: Callable[[], bytes]
    ) -> dict[str, Any]:
        """Send a part whose bytes are compared with its digest: by the server, or else here."""
        if digest is None:
            return self._send_part(number, body, _base64(compute()))[0]
        try:
            part, is_compared = self._send_part(number, body, _base64(digest))
        except RefusedError:
            self._check(compute(), digest)
            raise
        if not is_compared:
            self._check(compute(), digest)
        return part

    def _check(self, actual: bytes, digest: bytes) -> None:
        if actual != digest:
            where = f"s3://{self._connection.bucket}/{self._key}"
            raise IntegrityError(
                f"{where} was not written: the source is not what was hashed; set it again when"
                " nothing writes to it",
                key=where,
            )

    def _send_held(self, number: int, held: dict[int, _Part]) -> dict[str, Any]:
        part = held.pop(number)
        try:
            view = memoryview(part.room)[: part.size_bytes]
            # boto3 takes no views, and would copy a whole buffer.
            return self._send_part(number, View(view), sha256_base64(view))[0]
        finally:
            ROOMS.give_back(part.room)

    def _send_part(self, number: int, part: Body, checksum: str) -> tuple[dict[str, Any], bool]:
        """Send a part; return what names it, and whether the server says that it compared it."""
        reply = self._connection.call(
            "upload_part",
            Attempt("UploadPart", self._key),
            Key=self._key,
            UploadId=self.id,
            PartNumber=number,
            Body=part,
            ChecksumSHA256=checksum,
        )
        sent = {"PartNumber": number, "ETag": reply["ETag"], "ChecksumSHA256": checksum}
        return sent, reply.get("ChecksumSHA256") == checksum

    def complete(
        self, parts: list[dict[str, Any]], size_bytes: int, create_only: bool
    ) -> ObjectInfo:
        reply = self._connection.call(
            "complete_multipart_upload",
            Attempt("CompleteMultipartUpload", self._key, is_conditional=create_only),
            Key=self._key,
            UploadId=self.id,
            MultipartUpload={"Parts": parts},
            **({"IfNoneMatch": "*"} if create_only else {}),
        )
        return ObjectInfo(self._key, size_bytes, reply.get("ETag"), reply.get("VersionId"))

    def abort(self, reason: BaseException) -> None:
        attempt = Attempt("AbortMultipartUpload", self._key)
        try:
            self._connection.call(
                "abort_multipart_upload", attempt, Key=self._key, UploadId=self.id
            )
        except T4Error as exc:
            if not (isinstance(exc, RefusedError) and exc.code == "NoSuchUpload"):
                # The first error is what the caller must see.
                reason.add_note(f"its parts stay in the bucket until they are removed: {exc}")


def _digest_of(pieces: Iterable[Buffer]) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _base64(digest: bytes) -> str:
    return b2a_base64(digest, newline=False).decode()


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a stream: the first bytes of a room, which whoever has sent them gives back."""

    room: bytearray
    size_bytes: int


def _split(chunks: Iterable[Buffer], part_bytes: int) -> Iterator[_Part]:
    """Regroup pieces into parts."""
    room: bytearray | None = None
    filled = 0
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                if room is None:
                    room, filled = ROOMS.take(part_bytes), 0
                taken = view[: part_bytes - filled]
                room[filled : filled + len(taken)] = taken
                filled += len(taken)
                view = view[len(taken) :]
                if filled == part_bytes:
                    full, room = room, None
                    yield _Part(full, filled)
        if room is not None:
            last, room = room, None
            yield _Part(last, filled)
    finally:
        if room is not None:
            ROOMS.give_back(room)

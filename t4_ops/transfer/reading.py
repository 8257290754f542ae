"""Reading what an entry points at, verified while it arrives."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from t4_ops.checksums import (
    HASH_TYPES,
    SHA256_CHUNKED,
    Buffer,
    Checksum,
    checksum_of,
    new_hasher,
)
from t4_ops.errors import FormatError, IntegrityError, InvalidInputError, NotFoundError
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Entry
from t4_ops.settings import Settings
from t4_ops.storage import Tree, open_source, open_store
from t4_ops.transfer.pool import Cancelled

OBJECT_SCHEME: Final = "t4-object:"
"""Scheme of objects that are not stored yet; it never reaches a manifest."""


class Opened(Protocol):
    """Bytes that can be read once, in order."""

    @property
    def size_bytes(self) -> int:
        """How many."""

    def __iter__(self) -> Iterator[Buffer]:
        """Yield them in pieces, each valid until the next."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Payload:
    """A serialised object that waits to be stored.

    Attributes:
        data: Its bytes, if they are small.
        path: A private temporary file with them, if they are not.
    """

    data: bytes | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class _Bytes:
    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Buffer]:
        if self.data:
            yield self.data


@dataclass(frozen=True, slots=True)
class _Remote:
    size_bytes: int
    pieces: Iterator[Buffer]

    def __iter__(self) -> Iterator[Buffer]:
        return self.pieces


@dataclass(frozen=True, slots=True)
class _Stoppable:
    """Bytes that end with `Cancelled` once nobody wants them: one large object may take hours."""

    opened: Opened
    stop: threading.Event

    @property
    def size_bytes(self) -> int:
        return self.opened.size_bytes

    def __iter__(self) -> Iterator[Buffer]:
        for piece in self.opened:
            if self.stop.is_set():
                raise Cancelled
            yield piece


class Opener:
    """Opens physical keys: files, S3 objects, and objects that are not stored yet.

    Args:
        settings: How to reach S3.
        payloads: Objects that are not stored yet, by physical key.
        stop: Set from outside to give up; whoever reads then gets `Cancelled`.
        roots: Folders that were scanned, without links: below them none is followed, so that one
            that took a file's place since then leads nowhere.
    """

    def __init__(
        self,
        settings: Settings,
        payloads: Mapping[str, Payload] | None = None,
        stop: threading.Event | None = None,
        roots: Iterable[str] = (),
    ) -> None:
        self._settings = settings
        self._payloads = payloads or {}
        self._stop = stop
        self._trees = {f"{root.rstrip('/')}/": Tree(root) for root in roots}

    @contextmanager
    def open(self, physical_key: str) -> Iterator[Opened]:
        """Open what a physical key points at.

        Raises:
            NotFoundError: It is not there.
            InvalidInputError: The key is no URL, or an object of another package.
        """
        with self._open(physical_key) as opened:
            yield opened if self._stop is None else _Stoppable(opened, self._stop)

    def _open(self, physical_key: str) -> AbstractContextManager[Opened]:
        if physical_key.startswith(OBJECT_SCHEME):
            return self._open_payload(physical_key)
        key = PhysicalKey.parse(physical_key)
        if key.bucket is None:
            trees = (t for below, t in self._trees.items() if key.path.startswith(below))
            return open_source(key.path, tree=next(trees, None))
        return self._open_remote(key.bucket, key)

    @contextmanager
    def _open_payload(self, physical_key: str) -> Iterator[Opened]:
        payload = self._payloads.get(physical_key)
        if payload is None:
            raise InvalidInputError(
                f"{physical_key} is an object of another package: build or push that one first",
                key=physical_key,
            )
        if payload.path is not None:
            with open_source(str(payload.path)) as source:
                yield source
        else:
            yield _Bytes(payload.data or b"")

    @contextmanager
    def _open_remote(self, bucket: str, key: PhysicalKey) -> Iterator[Opened]:
        store = open_store(f"s3://{bucket}", self._settings)
        with store.open(key.path, version_id=key.version_id) as reader:
            yield _Remote(reader.info.size_bytes, iter(reader))


def require_hash(entry: Entry) -> Checksum:
    """Return an entry's hash.

    Raises:
        InvalidInputError: It has none, so its bytes can't be verified.
    """
    if entry.hash is None or entry.size_bytes is None:
        raise InvalidInputError(
            f"{entry.logical_key!r} has no hash yet: build the package, then read it",
            key=entry.logical_key,
        )
    return entry.hash


def check_hash_type(entry: Entry) -> None:
    """Refuse an entry whose bytes could not be verified, before anything is moved.

    Raises:
        InvalidInputError: It has no hash.
        FormatError: Its hash is of an unknown type.
    """
    known = require_hash(entry)
    if known.type not in HASH_TYPES:
        raise FormatError(
            f"{entry.logical_key!r} has a hash of the unknown type {known.type!r}, so its bytes"
            f" can't be verified; known are {', '.join(HASH_TYPES)}",
            key=entry.logical_key,
        )


@contextmanager
def open_verified(entry: Entry, opener: Opener) -> Iterator[Iterator[Buffer]]:
    """Open an entry's bytes; the last piece comes only if size and hash are right.

    Whoever writes them on must not publish what it has written before the iterator ends.

    Raises:
        NotFoundError: The object is gone.
        IntegrityError: It has another size, or, when the iterator ends, another hash.
        FormatError: The hash is of an unknown type.
    """
    expected = require_hash(entry)
    size_bytes = entry.size_bytes or 0
    hasher = new_hasher(expected.type, size_bytes)
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(opener.open(entry.physical_key))
        except NotFoundError as exc:
            raise NotFoundError(
                f"{entry.logical_key!r}: its object {entry.physical_key} is gone",
                key=entry.logical_key,
            ) from exc
        if opened.size_bytes != size_bytes:
            raise _not_promised(entry, f"{size_bytes} bytes", f"{opened.size_bytes} bytes")

        def pieces() -> Iterator[Buffer]:
            arrived_bytes = 0
            for piece in opened:
                hasher.update(piece)
                arrived_bytes += len(piece)
                yield piece
            if arrived_bytes != size_bytes:
                raise _not_promised(entry, f"{size_bytes} bytes", f"{arrived_bytes} bytes")
            actual = hasher.finish()
            if actual != expected:
                raise _not_promised(entry, expected.value, actual.value)

        yield pieces()


def _not_promised(entry: Entry, expected: str, actual: str) -> IntegrityError:
    return IntegrityError(
        f"{entry.logical_key!r}: {entry.physical_key} holds {actual}, the package promises"
        f" {expected}; a changed source must be set again, a damaged object restored",
        key=entry.logical_key,
        expected=expected,
        actual=actual,
    )


def read_verified(entry: Entry, opener: Opener) -> bytes:
    """Return an entry's bytes, verified.

    Raises:
        NotFoundError: The object is gone.
        IntegrityError: Its bytes are not the promised ones.
    """
    with open_verified(entry, opener) as pieces:
        return b"".join(bytes(piece) for piece in pieces)


def hash_object(physical_key: str, opener: Opener) -> tuple[int, Checksum]:
    """Return size and `sha2-256-chunked` hash of what a physical key points at now.

    Raises:
        NotFoundError: It is gone.
        IntegrityError: It changed while it was read.
    """
    with opener.open(physical_key) as opened:
        hasher = new_hasher(SHA256_CHUNKED, opened.size_bytes)
        for piece in opened:
            hasher.update(piece)
        return opened.size_bytes, hasher.finish()


def payload_checksum(data: bytes) -> Checksum:
    """Return the hash of a small serialised object."""
    return checksum_of(data)

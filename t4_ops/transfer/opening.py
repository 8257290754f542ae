"""Opening what physical keys point at: files, S3 objects, and objects that are not stored yet."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from t4_ops.checksums import (
    Buffer,
    Checksum,
)
from t4_ops.errors import InvalidInputError
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Entry
from t4_ops.settings import Settings
from t4_ops.storage import (
    Content,
    Source,
    Tree,
    open_bucket,
    open_source,
    open_store,
)
from t4_ops.transfer.cache import ContentCache
from t4_ops.transfer.keeping import Kept
from t4_ops.transfer.pool import Cancelled
from t4_ops.transfer.smallfiles import SmallReader

if TYPE_CHECKING:
    from t4_ops.storage.s3 import S3Store

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
class _Part:
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
        cache: Contents that this machine keeps, for `read_small` and `open_verified`. Not where an
            object in a bucket is to be proved.
        kept_bytes: How much of what is hashed to keep until it is read again.

    Attributes:
        stop: As given.
        cache: As given.
        unsent: Small objects whose hashes were computed, for whoever is about to send them.
    """

    def __init__(
        self,
        settings: Settings,
        payloads: Mapping[str, Payload] | None = None,
        stop: threading.Event | None = None,
        roots: Iterable[str] = (),
        cache: ContentCache | None = None,
        *,
        kept_bytes: int = 0,
    ) -> None:
        self.cache = cache
        self._settings = settings
        self._payloads = payloads or {}
        self.stop = stop
        # Of S3 objects that were hashed: the hash, and the etag they had, by physical key.
        self._hashed: dict[str, tuple[Checksum, str]] = {}
        # Of large files that were hashed: the hash, and the digests of the chunks that make it.
        self._chunks: dict[str, tuple[Checksum, tuple[bytes, ...]]] = {}
        self.unsent = Kept(kept_bytes)
        self._trees = {f"{root.rstrip('/')}/": Tree(root) for root in roots}

    @contextmanager
    def open(self, physical_key: str) -> Iterator[Opened]:
        """Open what a physical key points at.

        Raises:
            NotFoundError: It is not there.
            InvalidInputError: The key is no URL, or an object of another package.
        """
        with self._open(physical_key) as opened:
            yield self._watched(opened)

    def _open(self, physical_key: str) -> AbstractContextManager[Opened]:
        if physical_key.startswith(OBJECT_SCHEME):
            return self._open_payload(physical_key)
        key = PhysicalKey.parse(physical_key)
        if key.bucket is None:
            return open_source(key.path, tree=self._tree_of(key.path))
        return self._open_remote(key.bucket, key)

    def source(self, physical_key: str) -> Source | None:
        """Return the file that a physical key points at, not opened yet; None if it is no file.

        Raises:
            InvalidInputError: The key is no URL.
        """
        if not physical_key.startswith("file:"):
            return None
        path = PhysicalKey.parse(physical_key).path
        return open_source(path, tree=self._tree_of(path))

    def read_remote(self, physical_key: str, size_bytes: int | None) -> Content:
        """Return a small S3 object whole, not verified yet.

        Raises:
            NotFoundError: It is gone.
            FormatError: It is larger than `size_bytes`.
        """
        store, key = self.bucket_of(physical_key)
        return store.read(key.path, version_id=key.version_id, max_bytes=size_bytes)

    def bucket_of(self, physical_key: str) -> tuple[S3Store, PhysicalKey]:
        """Return the store and the parts of an S3 URL.

        Raises:
            InvalidInputError: It is none.
        """
        key = PhysicalKey.parse(physical_key)
        return open_bucket(f"s3://{key.bucket}", self._settings), key

    def cached(self, entry: Entry, stack: ExitStack) -> Opened | None:
        """Return an entry's content if the cache has it, read once and right; `stack` closes it."""
        if self.cache is None:
            return None
        content = stack.enter_context(self.cache.opened(entry))
        return None if content is None else self._watched(content)

    def note(self, physical_key: str, checksum: Checksum, etag: str | None) -> None:
        """Remember which etag an S3 object had when it had a hash."""
        if etag is not None:
            self._hashed[physical_key] = checksum, etag

    def etag_of(self, physical_key: str, checksum: Checksum) -> str | None:
        """Return the etag that an S3 object had when it had this hash, None if that is not known.

        Of two entries with one URL, one may be older and name a hash that the object had before.
        """
        found = self._hashed.get(physical_key)
        return found[1] if found is not None and found[0] == checksum else None

    def note_chunks(self, physical_key: str, checksum: Checksum, digests: Iterable[bytes]) -> None:
        """Remember the digests of the chunks that a large file had when it had a hash."""
        self._chunks[physical_key] = checksum, tuple(digests)

    def chunks_of(self, physical_key: str, checksum: Checksum) -> tuple[bytes, ...]:
        """Return the digests of the chunks that make this hash of a file; none: not known."""
        found = self._chunks.get(physical_key)
        return found[1] if found is not None and found[0] == checksum else ()

    def check(self) -> None:
        """Raise `Cancelled` once nobody wants the result."""
        if self.stop is not None and self.stop.is_set():
            raise Cancelled

    def small_files(self) -> SmallReader:
        """Return a reader of small files, for a `with` block in one thread."""
        return SmallReader(self._tree_of)

    def _tree_of(self, path: str) -> Tree | None:
        """Return the scanned folder that a file lies in."""
        return next((t for below, t in self._trees.items() if path.startswith(below)), None)

    @contextmanager
    def open_range(self, physical_key: str, start: int, end: int) -> Iterator[Opened]:
        """Open the bytes from `start` to before `end` of an S3 object or a file.

        The size is that of the whole object.

        Raises:
            NotFoundError: It is not there.
        """
        source = self.source(physical_key)
        if source is not None:
            with source:
                yield self._watched(_Part(source.size_bytes, source.pieces(start, end)))
            return
        store, key = self.bucket_of(physical_key)
        with store.open(key.path, version_id=key.version_id, start=start, end=end) as reader:
            yield self._watched(_Part(reader.info.size_bytes, iter(reader)))

    def _watched(self, opened: Opened) -> Opened:
        return opened if self.stop is None else _Stoppable(opened, self.stop)

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
            yield _Part(reader.info.size_bytes, iter(reader))

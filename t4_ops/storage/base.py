"""The port: what a registry's storage must be able to do.

A store is a folder or a bucket. Keys are relative to its root, with `/` between components. All
calls are synchronous; `transfer/` brings the concurrency, so every store is safe for threads.
Library errors are turned into ours in the leaves, once:

* `NotFoundError`: no such object (or no such version, or no such bucket);
* `PreconditionFailedError`: the object is not what the precondition says;
* `StorageError`: everything else; `retryable` says whether the same call may succeed later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from t4_ops.checksums import Buffer
from t4_ops.errors import StorageError


class PreconditionFailedError(StorageError):
    """A conditional write or delete found another object than it expected; nothing changed.

    The reply to a write that succeeded may be lost and the write repeated below us, so a caller who
    sees this reads the object back before deciding that it lost a race.
    """


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of one object.

    Attributes:
        key: Key relative to the store's root.
        size_bytes: Size.
        etag: The token for `if_match`; opaque. None where a listing does not give one.
        version_id: S3 version; None on folders and unversioned buckets.
        mtime_s: Last change, seconds since the epoch; None if unknown.
    """

    key: str
    size_bytes: int
    etag: str | None = None
    version_id: str | None = None
    mtime_s: float | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """A small object, whole.

    Attributes:
        data: Its bytes.
        info: What the store knows of it, from the same reply.
    """

    data: bytes
    info: ObjectInfo


@dataclass(frozen=True, slots=True)
class Listing:
    """One level of a store, as with a delimiter.

    Attributes:
        folders: Prefixes below, each ending in `/`, sorted.
        objects: Objects at this level, sorted by key.
    """

    folders: tuple[str, ...]
    objects: tuple[ObjectInfo, ...]


class Reader(Protocol):
    """An object opened for reading: its facts, then its bytes in order."""

    @property
    def info(self) -> ObjectInfo:
        """The object's facts, from the reply that carries the bytes."""

    def __iter__(self) -> Iterator[Buffer]:
        """Yield the bytes in pieces of at most some MiB; a piece is valid until the next one."""


class Store(Protocol):
    """A folder or a bucket."""

    @property
    def url(self) -> str:
        """The normalised registry URL."""

    @property
    def is_versioned(self) -> bool:
        """Whether old bytes of an overwritten key stay readable by version; asked once."""

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        """Return an object's facts.

        Raises:
            NotFoundError: There is none.
        """

    def read(
        self, key: str, *, version_id: str | None = None, max_bytes: int | None = None
    ) -> Content:
        """Return a small object whole.

        Raises:
            NotFoundError: There is none.
            FormatError: It is larger than `max_bytes`.
        """

    def open(
        self, key: str, *, version_id: str | None = None, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[Reader]:
        """Open an object, or its bytes from `start` to before `end`.

        Raises:
            NotFoundError: There is none.
        """

    def write(
        self, key: str, data: bytes, *, create_only: bool = False, if_match: str | None = None
    ) -> ObjectInfo:
        """Write a small object: all of it or nothing, durable when the call returns.

        Args:
            key: Where to.
            data: The bytes.
            create_only: Fail if there is an object.
            if_match: Fail unless the object there has this etag.

        Raises:
            PreconditionFailedError: The condition does not hold; nothing changed.
        """

    def create_empty(self, keys: Sequence[str], *, workers: int) -> list[str]:
        """Create many empty objects, durable when the call returns; return those that were there.

        What is there stays as it is. After an error some may have been created.

        Args:
            keys: Where to.
            workers: Threads.
        """

    def upload(
        self, key: str, chunks: Iterable[Buffer], size_bytes: int, *, create_only: bool = False
    ) -> ObjectInfo:
        """Write an object of any size from pieces: all of it or nothing, durable on return.

        An error that the pieces raise is passed on, and nothing is left behind.

        Raises:
            PreconditionFailedError: `create_only`, and there is an object.
            IntegrityError: The pieces are more or fewer bytes than `size_bytes`.
        """

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix`, in key order (as S3: by UTF-8 bytes).

        Args:
            prefix: What keys start with.
            start_after: Only keys that sort after this one; the others cost nothing.
        """

    def list_versions(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the newest version of every object below `prefix`, with its version id.

        On a store without versions this is `list`.
        """

    def list_folder(self, prefix: str = "") -> Listing:
        """Return one level: the folders and objects right below `prefix` (`""` or ending `/`)."""

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Remove an object; none there is no error.

        Raises:
            PreconditionFailedError: `if_match`, and the object there is another.
        """

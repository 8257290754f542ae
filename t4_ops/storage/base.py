"""The port: what a registry's storage must be able to do.

A store is a folder or a bucket. Keys are relative to its root, with `/` between components. All
calls are synchronous; `transfer/` brings the concurrency, so every store is safe for threads.
Library errors are turned into ours in the leaves, once:

* `NotFoundError`: no such object, or no such version; as `NoStoreError`: no such bucket;
* `PreconditionFailedError`: the object is not what the precondition says;
* `StorageError`: everything else; `retryable` says whether the same call may succeed later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec

from t4_ops.checksums import Buffer, Checksum
from t4_ops.errors import NotFoundError, StorageError, T4Error


class PreconditionFailedError(StorageError):
    """A conditional write or delete found another object than it expected; nothing changed.

    The reply to a write that succeeded may be lost and the write repeated below us, so a caller who
    sees this with `was_repeated` reads the object back before deciding that it lost a race.

    Attributes:
        was_repeated: Whether the request was sent more than once, so that what it found may be what
            it wrote itself.
    """

    was_repeated: bool

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        retryable: bool = False,
        was_repeated: bool = False,
    ) -> None:
        T4Error.__init__(self, message, key=key, retryable=retryable, was_repeated=was_repeated)


class NoStoreError(NotFoundError):
    """The bucket itself is not there, so nothing can be said of what it holds."""


# Not a dataclass: listings make thousands, each in a fifth of the time, and Python's search for
# cycles passes them over.
class ObjectInfo(msgspec.Struct, frozen=True, gc=False):
    """What a store knows of one object.

    Attributes:
        key: Key relative to the store's root.
        size_bytes: Size.
        etag: The token for `if_match`; opaque. None where a listing does not give one.
        version_id: S3 version; None on folders and unversioned buckets.
        mtime_s: Last change, seconds since the epoch; None if unknown.
        mtime_ns: The same in a folder, exact: two changes may come within the steps of a float.
    """

    key: str
    size_bytes: int
    etag: str | None = None
    version_id: str | None = None
    mtime_s: float | None = None
    mtime_ns: int | None = None

    def with_key(self, key: str) -> ObjectInfo:
        """Return the same facts under another key."""
        return msgspec.structs.replace(self, key=key)


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


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something unfinished that nobody has gone on with for a while.

    Attributes:
        key: Key of the temporary file, or of the object that was being uploaded.
        since_s: When it was last written to, or begun, seconds since the epoch.
        upload_id: The multipart upload; None for a file.
        size_bytes: Bytes it takes up; None where the server does not say.
    """

    key: str
    since_s: float
    upload_id: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CopySource:
    """An object that a server is to copy.

    Attributes:
        bucket: Its bucket.
        key: Its key.
        size_bytes: Its size.
        version_id: The version that is meant; None: the newest.
        etag: What its etag must be; None: any.
    """

    bucket: str
    key: str
    size_bytes: int
    version_id: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that a server made.

    Attributes:
        info: The new object's facts; without an etag if the reply had none.
        checksum: Its hash as the server says; None: it says none.
    """

    info: ObjectInfo
    checksum: Checksum | None


class PartSource(Protocol):
    """Bytes that can be read at any place, by several threads."""

    @property
    def size_bytes(self) -> int:
        """How many."""

    def pieces(self, start: int, end: int) -> Iterator[Buffer]:
        """Yield the bytes from `start` to before `end`, each piece valid until the next."""

    def check_unchanged(self) -> None:
        """Raise `IntegrityError` if the bytes are not those of one state."""


@runtime_checkable
class RangeStore(Protocol):
    """A store that takes the ranges of a large object side by side."""

    def upload_ranges(
        self,
        key: str,
        source: PartSource,
        expected: Checksum | None,
        *,
        create_only: bool = False,
        digests: Sequence[bytes] = (),
    ) -> ObjectInfo:
        """Write an object of more than 8 MiB: all of it or nothing, durable on return.

        Args:
            key: Where to.
            source: The bytes.
            expected: The `sha2-256-chunked` hash they must have; None: any.
            create_only: Fail if there is an object.
            digests: SHA-256 of each chunk where the source was hashed before: the server compares
                what arrives with them. They make `expected`.

        Raises:
            PreconditionFailedError: `create_only`, and there is an object.
            IntegrityError: The bytes have another hash, or changed meanwhile.
        """


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
        self,
        key: str,
        *,
        version_id: str | None = None,
        start: int = 0,
        end: int | None = None,
        if_match: str | None = None,
    ) -> AbstractContextManager[Reader]:
        """Open an object, or its bytes from `start` to before `end`.

        Args:
            key: Where it is.
            version_id: S3 version.
            start: Offset of the first byte.
            end: Offset after the last byte; None is the object's end.
            if_match: Fail unless the object has this etag.

        Raises:
            NotFoundError: There is none.
            PreconditionFailedError: `if_match`, and the object is another.
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

    def list_level(self, folder: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects right below a folder, in key order; none of folders below it.

        Args:
            folder: The folder, ending in `/`.
            start_after: Only keys that sort after this one, itself right below the folder; the
                others cost nothing, whatever the server.
        """

    def list_folder(self, prefix: str = "") -> Listing:
        """Return one level: the folders and objects right below `prefix` (`""` or ending `/`)."""

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Remove an object; none there is no error.

        Raises:
            PreconditionFailedError: `if_match`, and the object there is another.
        """

    def leftovers(self, prefix: str, older_than_s: float) -> Iterator[Leftover]:
        """Yield what killed processes left unfinished below a prefix, at rest for some time."""

    def remove_leftover(self, leftover: Leftover) -> None:
        """Remove one of `leftovers`; one that is gone is no error."""


def exists(store: Store, key: str) -> bool:
    """Return whether a store has an object at a key.

    Raises:
        StorageError: The storage failed, or refuses to say.
    """
    try:
        store.head(key)
    except NotFoundError:
        return False
    return True


@runtime_checkable
class CopyStore(Store, Protocol):
    """A store whose server copies objects by itself, and may know their hashes."""

    def can_copy_from(self, other: Store, size_bytes: int) -> bool:
        """Return whether the server may copy from another store, and it pays for this size."""

    def copy_from(
        self,
        source: CopySource,
        key: str,
        expected: Checksum,
        *,
        create_only: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> Copied | None:
        """Have the server copy an object; None: it won't.

        A large one is copied in parts; what `check`, called before each, raises ends that.

        Raises:
            NotFoundError: There is no such source.
            PreconditionFailedError: The source has another etag; or `create_only`, and there is an
                object.
            IntegrityError: The server says another hash; nothing was written.
        """

    def stored(
        self, key: str, *, version_id: str | None = None
    ) -> tuple[ObjectInfo, Checksum | None]:
        """Return an object's facts, and its hash if the server stored one that manifests hold.

        Raises:
            NotFoundError: There is none.
        """

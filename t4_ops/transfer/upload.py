"""Moving objects into a registry's storage, verified on the way."""

from __future__ import annotations

import threading
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from t4_ops.checksums import CHUNK_BYTES, SHA256_CHUNKED, Buffer, Checksum, new_hasher
from t4_ops.errors import (
    ConflictError,
    FormatError,
    IntegrityError,
    NotFoundError,
    StorageError,
)
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Entry
from t4_ops.storage import (
    SMALL_BYTES,
    CopyStore,
    ObjectInfo,
    PreconditionFailedError,
    RangeStore,
    Source,
    Store,
)
from t4_ops.transfer.copying import server_copy
from t4_ops.transfer.digests import hash_object
from t4_ops.transfer.opening import Opener
from t4_ops.transfer.plan import OBJECTS_PREFIX, Move, Plan
from t4_ops.transfer.pool import Cancelled, run_all, small_batch
from t4_ops.transfer.progress import Progress, Tally
from t4_ops.transfer.reading import not_promised, open_verified, read_small, require_hash

_DIGEST_BYTES: Final = 32


def upload_objects(
    plan: Plan,
    store: Store,
    opener: Opener,
    progress: Progress,
    *,
    workers: int,
    stop: threading.Event | None = None,
) -> None:
    """Carry out a plan's moves, which are taken out of it, and note the new places in it.

    Raises:
        NotFoundError: A source is gone.
        IntegrityError: A source is not what its entry promises; its object was not written.
        ConflictError: The destination holds another object at a key that must not be overwritten.
        StorageError: The storage failed.
    """

    def work(move: Move) -> tuple[str, str]:
        return move.entry.logical_key, _moved(move, store, opener, progress)

    batch = small_batch([move.entry.size_bytes for move in plan.moves], workers)
    moves = run_all(_taken(plan.moves), work, workers=workers, stop=stop, batch=batch)
    for logical_key, physical_key in moves:
        plan.places[logical_key] = physical_key


def _taken(moves: list[Move]) -> Iterator[Move]:
    """Yield moves, taken out of the list: a place of each is going to be kept instead."""
    moves.reverse()
    while moves:
        yield moves.pop()


def object_key(checksum: Checksum) -> str:
    """Return the content-addressed key of an object with this `sha2-256-chunked` hash.

    Raises:
        FormatError: The value is no such hash; another spelling of one would name its object.
    """
    try:
        raw = a2b_base64(checksum.value)
    except (NotBase64, ValueError) as exc:
        raise FormatError(f"{checksum.value!r} is no {SHA256_CHUNKED} hash: {exc}") from exc
    digest = raw.hex()
    if len(raw) != _DIGEST_BYTES or b2a_base64(raw, newline=False).decode() != checksum.value:
        raise FormatError(f"{checksum.value!r} is no {SHA256_CHUNKED} hash")
    return f"{OBJECTS_PREFIX}{digest[:2]}/{digest}"


def _moved(move: Move, store: Store, opener: Opener, progress: Progress) -> str:
    """Move one object and return its physical key."""
    entry, key = move.entry, move.key
    if key is None:
        checksum = _chunked_hash(entry, opener)
        # From here on that hash is what the bytes must have, because it names their place.
        entry, key = entry.but(hash=checksum), object_key(checksum)
    left = _left_by_another_try(entry, key, store) if move.is_pinned else None
    if left is not None:
        progress.advance(entry.size_bytes or 0)
        return _physical_key(store, key, left.version_id)
    try:
        info = _written(entry, key, store, opener, progress, create_only=not move.is_pinned)
    except PreconditionFailedError:
        _check_existing(entry, key, store, opener)
        return _physical_key(store, key, None)
    if move.is_pinned and info.version_id in (None, "null"):
        raise StorageError(
            f"{store.url} gave no version for {key}: it keeps none any more, so older revisions may"
            " have lost this object; enable versioning, or set versioning to off for this bucket",
            key=f"{store.url}/{key}",
        )
    return _physical_key(store, key, info.version_id)


def _left_by_another_try(entry: Entry, key: str, store: Store) -> ObjectInfo | None:
    """Return the version that an interrupted push left at a key that may be written again.

    It is that only if the server's own hash says so. Small objects are not asked about: that takes
    as long as sending them.
    """
    if (entry.size_bytes or 0) <= SMALL_BYTES or not isinstance(store, CopyStore):
        return None
    try:
        info, said = store.stored(key)
    except NotFoundError:
        return None
    is_it = said == require_hash(entry) and info.size_bytes == entry.size_bytes
    return info if is_it and info.version_id not in (None, "null") else None


def _written(
    entry: Entry,
    key: str,
    store: Store,
    opener: Opener,
    progress: Progress,
    *,
    create_only: bool,
) -> ObjectInfo:
    """Write an entry's bytes, verified, and return what the store says of them."""
    if entry.physical_key.startswith("s3://"):
        copied = server_copy(entry, key, store, opener, create_only=create_only)
        if copied is not None:
            progress.advance(entry.size_bytes or 0)
            return copied
    data = read_small(entry, opener)
    if data is not None:
        info = store.write(key, data, create_only=create_only)
        progress.advance(len(data))
        return info
    tally = Tally(progress, entry.size_bytes or 0)
    try:
        return _streamed(entry, key, store, opener, tally, create_only=create_only)
    except BaseException:
        tally.forget()
        raise


def _streamed(
    entry: Entry,
    key: str,
    store: Store,
    opener: Opener,
    tally: Tally,
    *,
    create_only: bool,
) -> ObjectInfo:
    """Write an entry's bytes without ever holding all of them."""
    if _goes_in_ranges(entry) and isinstance(store, RangeStore):
        source = opener.source(entry.physical_key)
        if source is not None:
            watched = _Watched(source, tally, opener.stop)
            digests = opener.chunks_of(entry.physical_key, require_hash(entry))
            return _sent_in_ranges(entry, key, watched, store, digests, create_only=create_only)
    with open_verified(entry, opener) as pieces:
        counted = _counted(pieces, tally)
        return store.upload(key, counted, entry.size_bytes or 0, create_only=create_only)


def _goes_in_ranges(entry: Entry) -> bool:
    return (entry.size_bytes or 0) > CHUNK_BYTES and require_hash(entry).type == SHA256_CHUNKED


def _sent_in_ranges(
    entry: Entry,
    key: str,
    watched: _Watched,
    store: RangeStore,
    digests: Sequence[bytes],
    *,
    create_only: bool,
) -> ObjectInfo:
    """Write a large local file, its parts side by side."""
    with watched.source as source:
        if source.size_bytes != entry.size_bytes:
            raise not_promised(entry, f"{entry.size_bytes} bytes", f"{source.size_bytes} bytes")
        return store.upload_ranges(
            key, watched, entry.hash, create_only=create_only, digests=digests
        )


@dataclass(frozen=True, slots=True)
class _Watched:
    """A file that counts what is read of it, and stops when nobody wants it any more."""

    source: Source
    tally: Tally
    stop: threading.Event | None

    @property
    def size_bytes(self) -> int:
        return self.source.size_bytes

    def pieces(self, start: int, end: int) -> Iterator[Buffer]:
        for piece in self.source.pieces(start, end):
            if self.stop is not None and self.stop.is_set():
                raise Cancelled
            after = start + len(piece)
            yield piece
            self.tally.read(start, after)
            start = after

    def check_unchanged(self) -> None:
        self.source.check_unchanged()


def _chunked_hash(entry: Entry, opener: Opener) -> Checksum:
    """Return the `sha2-256-chunked` hash of an entry, reading it if its own hash is another."""
    known = require_hash(entry)
    if known.type == SHA256_CHUNKED:
        return known
    hasher = new_hasher(SHA256_CHUNKED, entry.size_bytes or 0)
    with open_verified(entry, opener) as pieces:
        for piece in pieces:
            hasher.update(piece)
    return hasher.finish()


def _counted(pieces: Iterator[Buffer], tally: Tally) -> Iterator[Buffer]:
    start = 0
    for piece in pieces:
        after = start + len(piece)
        yield piece
        tally.read(start, after)
        start = after


def _check_existing(entry: Entry, key: str, store: Store, opener: Opener) -> None:
    """Accept an object that is already there, if it is the one we would have written."""
    size_bytes = store.head(key).size_bytes
    if key.startswith(OBJECTS_PREFIX):
        # Such objects are written once, after their hash was checked; a size costs no reading.
        if size_bytes != entry.size_bytes:
            raise IntegrityError(
                f"{store.url}: the object {key} has {size_bytes} bytes instead of"
                f" {entry.size_bytes}: it was damaged; restore or delete it, then push again",
                key=entry.logical_key,
            )
        return
    place = _physical_key(store, key, None)
    if hash_object(place, opener) != (entry.size_bytes, _chunked_hash(entry, opener)):
        raise ConflictError(
            f"{store.url} already holds another object at {key}, which older revisions may need:"
            f" give {entry.logical_key!r} another destination",
            name=entry.logical_key,
        )


def _physical_key(store: Store, key: str, version_id: str | None) -> str:
    return str(replace(PhysicalKey.parse(f"{store.url}/").join(key), version_id=version_id))

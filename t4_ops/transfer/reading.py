"""Reading what an entry points at, verified while it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from t4_ops.checksums import (
    HASH_TYPES,
    Buffer,
    Checksum,
    checksum_of,
    new_hasher,
)
from t4_ops.errors import FormatError, IntegrityError, InvalidInputError, NotFoundError
from t4_ops.manifest import Entry
from t4_ops.storage import (
    SMALL_BYTES,
    NoStoreError,
)
from t4_ops.transfer.opening import Opener


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


def read_small(entry: Entry, opener: Opener) -> bytes | None:
    """Return the verified bytes of an S3 object or file of at most 1 MiB, in the quickest way.

    None: it is larger or neither; `open_verified` serves every object.

    Raises:
        NotFoundError: The object is gone.
        IntegrityError: It has another size or another hash.
        FormatError: The hash is of an unknown type.
    """
    expected, size_bytes = require_hash(entry), entry.size_bytes or 0
    if size_bytes > SMALL_BYTES:
        return None
    data = opener.unsent.take(entry.physical_key, expected)
    if data is not None and len(data) == size_bytes:
        return data
    if opener.cache is not None and (found := opener.cache.read(entry)) is not None:
        return found
    if entry.physical_key.startswith("s3://"):
        try:
            data = opener.read_remote(entry.physical_key, size_bytes).data
        except NoStoreError:
            raise
        except NotFoundError as exc:
            raise gone(entry) from exc
        except FormatError as exc:
            raise not_promised(entry, f"{size_bytes} bytes", "more") from exc
    else:
        with opener.small_files() as files:
            data = files.read(entry.physical_key)
    if data is None:
        return None
    if len(data) != size_bytes:
        raise not_promised(entry, f"{size_bytes} bytes", f"{len(data)} bytes")
    actual = checksum_of(data, expected.type)
    if actual != expected:
        raise not_promised(entry, expected.value, actual.value)
    if opener.cache is not None:
        opener.cache.add(entry, data)
    return data


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
        opened = opener.cached(entry, stack)
        copy = None
        if opened is None:
            try:
                opened = stack.enter_context(opener.open(entry.physical_key))
            except NoStoreError:
                raise
            except NotFoundError as exc:
                raise gone(entry) from exc
            if opener.cache is not None:
                copy = stack.enter_context(opener.cache.adding(entry))
        if opened.size_bytes != size_bytes:
            raise not_promised(entry, f"{size_bytes} bytes", f"{opened.size_bytes} bytes")

        def pieces() -> Iterator[Buffer]:
            arrived_bytes = 0
            for piece in opened:
                hasher.update(piece)
                if copy is not None:
                    copy.write(arrived_bytes, piece)
                arrived_bytes += len(piece)
                yield piece
            if arrived_bytes != size_bytes:
                raise not_promised(entry, f"{size_bytes} bytes", f"{arrived_bytes} bytes")
            actual = hasher.finish()
            if actual != expected:
                raise not_promised(entry, expected.value, actual.value)
            if copy is not None:
                copy.commit()

        yield pieces()


def gone(entry: Entry) -> NotFoundError:
    """Return the error for an entry whose object is not there."""
    return NotFoundError(
        f"{entry.logical_key!r}: its object {entry.physical_key} is gone", key=entry.logical_key
    )


def not_promised(entry: Entry, expected: str, actual: str) -> IntegrityError:
    """Return the error for an object that is not what its entry promises."""
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

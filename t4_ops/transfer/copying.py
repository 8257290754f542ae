"""S3 to S3 without the bytes passing through here, and verified all the same.

A copy is proved by the checksum that the server says of it; where it says none, or one of another
kind, by one reading of the copy. An object that takes a place named by its content is proved before
it is copied too, because others believe such a place as soon as it is there: what we hashed
ourselves a moment ago is, and the copy is bound to its etag.
"""

from __future__ import annotations

from t4_ops.checksums import new_hasher
from t4_ops.errors import IntegrityError, NotFoundError, T4Error
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Entry
from t4_ops.storage import (
    SMALL_BYTES,
    Copied,
    CopySource,
    CopyStore,
    NoStoreError,
    ObjectInfo,
    PreconditionFailedError,
    Store,
    exists,
)
from t4_ops.transfer.opening import Opener
from t4_ops.transfer.plan import OBJECTS_PREFIX
from t4_ops.transfer.reading import gone, not_promised, open_verified, read_small, require_hash


def server_copy(
    entry: Entry, key: str, store: Store, opener: Opener, *, create_only: bool
) -> ObjectInfo | None:
    """Have the server copy an entry's S3 object into a store; None: bytes have to be sent.

    That is so where the store is another server, or another user of it, or won't copy, and for tiny
    objects where that is cheaper.

    Raises:
        NotFoundError: The object is gone.
        IntegrityError: It is not what its entry promises.
        PreconditionFailedError: `create_only`, and there is an object.
    """
    if not isinstance(store, CopyStore):
        return None
    origin, place = opener.bucket_of(entry.physical_key)
    if not store.can_copy_from(origin, entry.size_bytes or 0):
        return None
    expected = require_hash(entry)
    if create_only and not key.startswith(OBJECTS_PREFIX) and exists(store, key):
        # Not every server knows the condition on a copy, and there is somebody's object here. At a
        # place named by its content the worst is the same bytes again.
        where = f"{store.url}/{key}"
        raise PreconditionFailedError(f"{where} exists already", key=where)
    etag = opener.etag_of(entry.physical_key, expected)
    try:
        if etag is None and create_only:
            etag = _proved_etag(entry, opener)
        bucket, size_bytes = place.bucket or "", entry.size_bytes or 0
        source = CopySource(bucket, place.path, size_bytes, place.version_id, etag)
        copied = store.copy_from(source, key, expected, create_only=create_only, check=opener.check)
    except NoStoreError:
        raise
    except NotFoundError as exc:
        raise gone(entry) from exc
    except PreconditionFailedError as exc:
        if create_only and exists(store, key):
            raise
        raise IntegrityError(
            f"{entry.logical_key!r}: {entry.physical_key} changed while it was copied; set it"
            " again when nothing writes to it",
            key=entry.logical_key,
        ) from exc
    if copied is None:
        return None
    try:
        _prove(entry, key, copied, store, opener)
    except IntegrityError as exc:
        if create_only:
            # Nobody may believe it; what this push was to bring is not published.
            _withdraw(key, store, exc)
        raise
    return copied.info


def _withdraw(key: str, store: CopyStore, reason: IntegrityError) -> None:
    """Delete a wrong copy; the reason is what the caller must see."""
    try:
        store.delete(key)
    except T4Error as exc:
        reason.add_note(f"the wrong copy at {store.url}/{key} stays until it is deleted: {exc}")


def _proved_etag(entry: Entry, opener: Opener) -> str | None:
    """Return the etag of an entry's object after proving that it is what the entry promises."""
    store, place = opener.bucket_of(entry.physical_key)
    expected, size_bytes = require_hash(entry), entry.size_bytes or 0
    if size_bytes > SMALL_BYTES:
        info, checksum = store.stored(place.path, version_id=place.version_id)
        if info.size_bytes != size_bytes:
            raise not_promised(entry, f"{size_bytes} bytes", f"{info.size_bytes} bytes")
        if checksum == expected:
            return info.etag
    hasher = new_hasher(expected.type, size_bytes)
    with store.open(place.path, version_id=place.version_id) as reader:
        if reader.info.size_bytes != size_bytes:
            raise not_promised(entry, f"{size_bytes} bytes", f"{reader.info.size_bytes} bytes")
        for piece in reader:
            opener.check()
            hasher.update(piece)
        actual = hasher.finish()
        if actual != expected:
            raise not_promised(entry, expected.value, actual.value)
        return reader.info.etag


def _prove(entry: Entry, key: str, copied: Copied, store: CopyStore, opener: Opener) -> None:
    """Prove that a copy is what its entry promises.

    Raises:
        IntegrityError: It is not.
    """
    expected, said = require_hash(entry), copied.checksum
    if said is not None and said.type == expected.type:
        if said != expected:
            raise not_promised(entry, expected.value, said.value)
        return
    version_id = copied.info.version_id
    bucket = store.url.removeprefix("s3://")
    copy = entry.but(physical_key=str(PhysicalKey(bucket, key, version_id)))
    if read_small(copy, opener) is not None:
        return
    info, checksum = store.stored(key, version_id=version_id)
    if checksum == expected and info.size_bytes == entry.size_bytes:
        return
    with open_verified(copy, opener) as pieces:
        for _ in pieces:
            pass

"""Sizes and hashes of what physical keys point at now."""

from __future__ import annotations

from collections import deque

from t4_ops.checksums import HASH_TYPES, SHA256_CHUNKED, Checksum, checksum_of, new_hasher
from t4_ops.errors import FormatError, IntegrityError, NotFoundError
from t4_ops.manifest import Entry
from t4_ops.storage import SMALL_BYTES, NoStoreError
from t4_ops.transfer.keeping import KEPT_OBJECT_BYTES
from t4_ops.transfer.opening import Opener
from t4_ops.transfer.reading import open_verified, require_hash


def hash_remote(physical_key: str, opener: Opener, size_bytes: int | None) -> tuple[int, Checksum]:
    """Return size and `sha2-256-chunked` hash of an S3 object, and note its etag in the opener.

    A larger object's hash is asked of the server first, which has it if the object was uploaded
    with SHA-256 checksums and in parts of the chunk schedule; else it is read.

    Args:
        physical_key: Where it is.
        opener: Opens it.
        size_bytes: Its size as far as known.

    Raises:
        NotFoundError: It is gone.
    """
    store, key = opener.bucket_of(physical_key)
    if size_bytes is not None and size_bytes <= SMALL_BYTES:
        try:
            content = opener.read_remote(physical_key, SMALL_BYTES)
        except FormatError:
            pass  # it has grown
        else:
            checksum = checksum_of(content.data)
            opener.note(physical_key, checksum, content.info.etag)
            if len(content.data) <= KEPT_OBJECT_BYTES:
                opener.unsent.keep(physical_key, content.data, checksum)
            return len(content.data), checksum
    else:
        info, said = store.stored(key.path, version_id=key.version_id)
        if said is not None and said.type == SHA256_CHUNKED:
            opener.note(physical_key, said, info.etag)
            return info.size_bytes, said
    with store.open(key.path, version_id=key.version_id) as reader:
        hasher = new_hasher(SHA256_CHUNKED, reader.info.size_bytes)
        for piece in reader:
            opener.check()
            hasher.update(piece)
        checksum = hasher.finish()
        opener.note(physical_key, checksum, reader.info.etag)
        return reader.info.size_bytes, checksum


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


def still_holds(entry: Entry, opener: Opener) -> bool:
    """Return whether an entry's place holds the bytes that the entry promises, now."""
    expected, size_bytes, url = require_hash(entry), entry.size_bytes, entry.physical_key
    if expected.type not in HASH_TYPES:
        return True  # nobody can tell
    try:
        if expected.type != SHA256_CHUNKED:
            with open_verified(entry, opener) as pieces:
                deque(pieces, maxlen=0)
            return True
        found = hash_remote(url, opener, size_bytes) if url.startswith("s3://") else None
        return (found or hash_object(url, opener)) == (size_bytes, expected)
    except NoStoreError:
        raise
    except (NotFoundError, IntegrityError):
        return False


def payload_checksum(data: bytes) -> Checksum:
    """Return the hash of a small serialised object."""
    return checksum_of(data)

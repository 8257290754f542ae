"""Etags as servers make them tell bytes that changed on their way, and only those."""

from __future__ import annotations

import hashlib
from collections import deque

import pytest

from demo.seaweedfs import SeaweedFS
from t4_ops.errors import FormatError, StorageError
from t4_ops.registry.wire import Fingerprint, read_safely
from t4_ops.settings import load_settings
from t4_ops.storage import ObjectInfo, open_store
from tests.s3_support import MIB, pieces


def denied(data: bytes, info: ObjectInfo, *, piece_bytes: int = 1000) -> bool:
    """Return whether an etag speaks against bytes."""
    fingerprint = Fingerprint(pieces(data, piece_bytes), info)
    deque(fingerprint, maxlen=0)
    return fingerprint.is_denied()


@pytest.mark.parametrize("size_bytes", [0, 5000, 8 * MIB - 1, 8 * MIB, 17 * MIB])
def test_a_servers_etags_fit_what_was_written(
    s3_env: SeaweedFS, unversioned_bucket: str, size_bytes: int
) -> None:
    store = open_store(f"s3://{unversioned_bucket}", load_settings())
    data = bytes(size_bytes)
    written = store.upload("k", [data], size_bytes)
    head = store.head("k")
    assert head.etag == written.etag
    assert not denied(data, head, piece_bytes=MIB + 7)
    if data:
        assert denied(data[:-1] + b"\1", head, piece_bytes=MIB)


@pytest.mark.parametrize("etag", [None, "", "7f-1a-3", "0" * 64, '"no md5"'])
def test_other_etags_prove_nothing(etag: str | None) -> None:
    assert not denied(b"x", ObjectInfo("k", 1, etag))


def reading(*contents: bytes, etag: str) -> StorageError | FormatError | bytes:
    """Return what comes of an object that arrives like this, one reading after the other."""
    left = list(contents)

    def read() -> tuple[bytes | FormatError, Fingerprint]:
        data = left.pop(0)
        fingerprint = Fingerprint((data,), ObjectInfo("k", len(data), etag))
        deque(fingerprint, maxlen=0)
        return (FormatError("no text") if data == b"bad" else data), fingerprint

    try:
        return read_safely(read, "k")
    except (StorageError, FormatError) as exc:
        return exc


def test_what_is_denied_is_read_again() -> None:
    etag = hashlib.md5(b"good", usedforsecurity=False).hexdigest()
    assert reading(b"good", etag=etag) == b"good"
    assert reading(b"g00d", b"good", etag=etag) == b"good"
    assert reading(b"bad", b"good", etag=etag) == b"good"
    # An etag that is no MD5, as with KMS: the same bytes twice are believed.
    assert reading(b"other", b"other", etag=etag) == b"other"
    assert isinstance(reading(b"bad", b"bad", etag=etag), FormatError)
    never = reading(b"g00d", b"go0d", etag=etag)
    assert isinstance(never, StorageError)
    assert never.retryable


def test_seaweedfs_is_asked_once_for_what_is_right(
    s3_env: SeaweedFS, unversioned_bucket: str
) -> None:
    store = open_store(f"s3://{unversioned_bucket}", load_settings())
    store.write("k", b"content")
    reads = 0

    def read() -> tuple[bytes | FormatError, Fingerprint]:
        nonlocal reads
        reads += 1
        content = store.read("k")
        fingerprint = Fingerprint((content.data,), content.info)
        deque(fingerprint, maxlen=0)
        return content.data, fingerprint

    assert read_safely(read, "k") == b"content"
    assert reads == 1

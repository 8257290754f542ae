"""Indexes of large manifests: where they are, which manifest each belongs to, and making them.

An index is derived: whoever finds none reads the manifest, and one that can't be written is no
failure. It names size and ETag (in a folder: size and time of change) of the manifest, and every
range that is read on its word is read on that condition, so an index of another manifest than the
one that is stored is never believed.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from t4_ops.errors import FormatError, NotFoundError, StorageError, T4Error
from t4_ops.keys import is_folder
from t4_ops.manifest import (
    INDEX_MAGIC_BYTES,
    INDEX_OPEN_BYTES,
    IndexRoot,
    Manifest,
    ManifestFacts,
    UnusableIndexError,
    parse_index_root,
    root_size_bytes,
    write_index,
)
from t4_ops.registry.common import PACKAGES, patiently
from t4_ops.storage import ObjectInfo, PreconditionFailedError, Store

INDEXES: Final = ".t4/v1/index/"
"""Where indexes are, by top hash."""
INDEX_FROM_BYTES: Final = 8 * 1024 * 1024
"""Smallest manifest that gets an index, some 25,000 entries. A smaller one is one request of a
quarter of a second at 300 Mbit/s, and read and proved in another quarter."""
_PIECE_BYTES: Final = 1024 * 1024
_log = logging.getLogger(__name__)
# When a registry last refused an index to whom: making one costs as much as reading the manifest,
# so it is not tried for each of them. Not for ever: credentials that have expired are renewed.
_refused_s: dict[tuple[str, object], float] = {}
_REFUSED_FOR_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Index:
    """An index that was opened.

    Attributes:
        root: Its root.
        ranges: Where it and its manifest are read.
    """

    root: IndexRoot
    ranges: StoredRanges


class Indexes:
    """The indexes of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, top_hash: str) -> Index | None:
        """Return the index of a manifest; None if there is none that can be used.

        On a bucket it is one request, and whether the index still fits shows when the manifest is
        read; in a folder the manifest's size and time of change are compared at once.
        """
        held = None
        if is_folder(self._store.url):
            try:
                held = self._store.head(PACKAGES + top_hash)
            except NotFoundError:
                return None
            if held.size_bytes < INDEX_FROM_BYTES:
                return None
        try:
            index = patiently(lambda: self._open(top_hash))
        except NotFoundError:
            return None
        except (FormatError, UnusableIndexError, PreconditionFailedError) as exc:
            _log.warning("%s: the index of %s is not used: %s", self._store.url, top_hash, exc)
            return None
        except T4Error as exc:
            # Who may not list a bucket is refused what is not there; others may read manifests
            # only. If more is wrong than that, reading the manifest will tell.
            _log.info("%s: no index of %s can be read: %s", self._store.url, top_hash, exc)
            return None
        if index.root.manifest.top_hash != top_hash:
            return None
        return index if held is None or fits(index.root.manifest, held) else None

    def _open(self, top_hash: str) -> Index:
        key = INDEXES + top_hash
        with self._store.open(key, end=INDEX_OPEN_BYTES) as reader:
            etag, head = reader.info.etag, b"".join([bytes(piece) for piece in reader])
        base = INDEX_MAGIC_BYTES + root_size_bytes(head)
        if len(head) < base:
            with self._store.open(key, end=base, if_match=etag) as reader:
                head = b"".join([bytes(piece) for piece in reader])
        root = parse_index_root(head[INDEX_MAGIC_BYTES:base])
        return Index(root, StoredRanges(self._store, key, etag, base, head, root.manifest))

    def write(self, manifest: Manifest, held: ObjectInfo) -> None:
        """Make the index of a stored manifest, if it is large enough and can have one.

        What can't be written is told in the log only: nothing depends on it.

        Args:
            manifest: The manifest.
            held: What the store says of it.
        """
        url = self._store.url
        if manifest.size_bytes < INDEX_FROM_BYTES or not manifest.is_in_order:
            return
        # A bucket may be reached as several users by one process.
        access = url, getattr(self._store, "settings", None)
        if time.monotonic() - _refused_s.get(access, -_REFUSED_FOR_S) < _REFUSED_FOR_S:
            return
        etag = None if is_folder(url) else held.etag
        mtime_ns = held.mtime_ns if is_folder(url) else None
        if etag is None and mtime_ns is None:
            return
        try:
            with tempfile.TemporaryFile(prefix="t4-index-") as file:
                size_bytes = write_index(manifest, etag, mtime_ns, file)
                self._store.upload(INDEXES + manifest.top_hash, _pieces(file), size_bytes)
        except (T4Error, OSError) as exc:
            if isinstance(exc, StorageError) and not exc.retryable:
                _refused_s[access] = time.monotonic()
            _log.info("%s: no index of %s was written: %s", url, manifest.top_hash, exc)


def fits(facts: ManifestFacts, held: ObjectInfo) -> bool:
    """Return whether an index belongs to the manifest that is stored.

    Args:
        facts: What the index says.
        held: What the store says.
    """
    if facts.size_bytes != held.size_bytes:
        return False
    return facts.etag == held.etag if facts.etag is not None else facts.mtime_ns == held.mtime_ns


class StoredRanges:
    """Reads parts of an index and of its manifest.

    Args:
        store: Where both are.
        key: The index's key.
        etag: The index's etag.
        base: Where its pages begin.
        head: Its first bytes.
        facts: The manifest it belongs to.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        etag: str | None,
        base: int,
        head: bytes,
        facts: ManifestFacts,
    ) -> None:
        self._store = store
        self._key = key
        self._etag = etag
        self._base = base
        self._head = head
        self._facts = facts

    def index(self, start: int, end: int) -> bytes:
        """Return bytes of the index's pages.

        Raises:
            UnusableIndexError: It was replaced or removed.
        """
        start, end = self._base + start, self._base + end
        if end <= len(self._head):
            return self._head[start:end]
        return self._read(self._key, start, end, self._etag)

    def manifest(self, start: int, end: int) -> bytes:
        """Return bytes of the manifest.

        Raises:
            UnusableIndexError: It is not the one that the index belongs to.
        """
        return self._read(PACKAGES + self._facts.top_hash, start, end, self._facts.etag)

    def _read(self, key: str, start: int, end: int, etag: str | None) -> bytes:
        if end <= start:
            return b""

        def read() -> bytes:
            with self._store.open(key, start=start, end=end, if_match=etag) as reader:
                if key != self._key and not fits(self._facts, reader.info):
                    raise UnusableIndexError("the manifest was replaced")
                return b"".join([bytes(piece) for piece in reader])

        try:
            data = patiently(read)
        except (PreconditionFailedError, NotFoundError) as exc:
            raise UnusableIndexError(str(exc)) from exc
        if len(data) != end - start:
            raise UnusableIndexError("the index leads beyond the end")
        return data


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece

"""Telling whether entries hold the same bytes, by size and hash alone."""

from __future__ import annotations

import os
import re
from itertools import takewhile
from typing import Final

from t4_ops.checksums import (
    CHUNK_BYTES,
    HASH_TYPES,
    SHA256,
    SHA256_CHUNKED,
    Checksum,
    combine_digests,
    new_hasher,
)
from t4_ops.errors import IntegrityError
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Entry, Manifest
from t4_ops.storage import open_source

_HEX: Final = re.compile("[0-9a-f]{64}")


def same_bytes(one: Entry, other: Entry) -> bool:
    """Return whether size and hash say that two entries hold the same bytes.

    Hashes of two types are compared where one follows from the other: `sha2-256-chunked` of an
    object of one chunk is SHA-256 over its SHA-256, and that of an empty one is over nothing.
    """
    if one.size_bytes != other.size_bytes:
        return False
    checksum = _comparable(one)
    return checksum is not None and checksum == _comparable(other)


def _comparable(entry: Entry) -> Checksum | None:
    """Return an entry's hash, as `sha2-256-chunked` where that follows from it."""
    checksum, size_bytes = entry.hash, entry.size_bytes
    if checksum is None or size_bytes is None:
        return None
    is_one_chunk = size_bytes <= CHUNK_BYTES
    if checksum.type != SHA256 or not is_one_chunk or not _HEX.fullmatch(checksum.value):
        return checksum
    return combine_digests([bytes.fromhex(checksum.value)] if size_bytes else [])


class LocalFile:
    """A local file, to be compared with entries; read once for each type of hash they have.

    Attributes:
        path: Its absolute path; symlinks are followed, because the user named it.
        size_bytes: Its size.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It is no regular file.
        IntegrityError: It changed while it was read, or between two readings.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = PhysicalKey.of_path(path).path
        self._like: dict[str, Entry] = {}
        self._state: tuple[int, int] | None = None
        self.size_bytes = self._hash(SHA256_CHUNKED)

    def _hash(self, hash_type: str) -> int:
        with open_source(self.path) as source:
            state = (source.size_bytes, source.mtime_ns)
            if self._state not in (None, state):
                raise IntegrityError(
                    f"{self.path} changed while it was looked for: ask again", key=self.path
                )
            self._state = state
            hasher = new_hasher(hash_type, source.size_bytes)
            for piece in source:
                hasher.update(piece)
            self._like[hash_type] = Entry("", "", source.size_bytes, hasher.finish())
            return source.size_bytes

    def entries_in(self, manifest: Manifest) -> list[Entry]:
        """Return the entries that hold the file's bytes; hashes of unknown types match nothing."""
        found = []
        for entry in manifest.entries():
            if entry.size_bytes != self.size_bytes or entry.hash is None:
                continue
            if entry.hash.type in HASH_TYPES and entry.hash.type not in self._like:
                self._hash(entry.hash.type)
            if any(same_bytes(own, entry) for own in self._like.values()):
                found.append(entry)
        return found

    def likeness(self, logical_key: str) -> int:
        """Return how many components a logical key and the path have in common at their ends."""
        pairs = zip(logical_key.split("/")[::-1], self.path.split("/")[::-1], strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

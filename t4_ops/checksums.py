"""Hashes of objects: the three types a manifest may name, over buffers.

`sha2-256-chunked` is what we write: base64 of SHA-256 over the SHA-256 digests of the chunks, which
is also the composite checksum S3 stores for a multipart upload with parts of the same size.
`SHA256` (hex) and `CRC64NVME` (base64) are read and verified, never written.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from t4_ops.errors import FormatError

SHA256: Final = "SHA256"
SHA256_CHUNKED: Final = "sha2-256-chunked"
CRC64NVME: Final = "CRC64NVME"
HASH_TYPES: Final = (SHA256_CHUNKED, SHA256, CRC64NVME)

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""First chunk size. Source: quilt3's `checksums` module, which follows boto3's part size."""
MAX_CHUNKS: Final = 10_000
"""Most chunks. Source: the S3 limit of 10,000 parts an upload."""

Buffer = bytes | bytearray | memoryview


# Made for every file: as a struct in a quarter of a dataclass's time, and not looked at by the
# collector, since text refers to nothing.
class Checksum(msgspec.Struct, frozen=True, gc=False):
    """A hash as manifests write it.

    Attributes:
        type: One of `HASH_TYPES`; manifests of others may hold more.
        value: Hex for `SHA256`, base64 for the others.
    """

    type: str
    value: str


class Hasher(Protocol):
    """Takes an object's bytes in order, then says their hash."""

    def update(self, data: Buffer, /) -> None:
        """Add the next bytes."""

    def finish(self) -> Checksum:
        """Return the hash of everything added; call it once."""


def chunk_size_bytes(size_bytes: int) -> int:
    """Return the chunk size for an object: 8 MiB, doubled until at most 10,000 chunks are needed.

    Args:
        size_bytes: Object size, >= 0.
    """
    chunk = CHUNK_BYTES
    while chunk * MAX_CHUNKS < size_bytes:
        chunk *= 2
    return chunk


def combine_digests(digests: Iterable[bytes]) -> Checksum:
    """Return the `sha2-256-chunked` hash of an object from its chunks' raw SHA-256 digests."""
    total = hashlib.sha256()
    for digest in digests:
        total.update(digest)
    return checksum_of_digest(total.digest())


def checksum_of_digest(digest: bytes) -> Checksum:
    """Return a raw `sha2-256-chunked` hash as manifests write it."""
    return Checksum(SHA256_CHUNKED, b2a_base64(digest, newline=False).decode())


class _Chunked:
    def __init__(self, size_bytes: int) -> None:
        self._chunk_bytes = chunk_size_bytes(size_bytes)
        self._total = hashlib.sha256()
        self._chunk = hashlib.sha256()
        self._room = self._chunk_bytes

    def update(self, data: Buffer, /) -> None:
        view = memoryview(data).cast("B")
        while len(view) >= self._room:
            self._chunk.update(view[: self._room])
            self._total.update(self._chunk.digest())
            view = view[self._room :]
            self._chunk = hashlib.sha256()
            self._room = self._chunk_bytes
        if len(view):
            self._chunk.update(view)
            self._room -= len(view)

    def finish(self) -> Checksum:
        if self._room < self._chunk_bytes:
            self._total.update(self._chunk.digest())
        return checksum_of_digest(self._total.digest())


class _Sha256:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: Buffer, /) -> None:
        self._hash.update(data)

    def finish(self) -> Checksum:
        return Checksum(SHA256, self._hash.hexdigest())


# anycrc (2.1.0) lets no other thread run meanwhile: this much takes it some 0.1 ms.
_CRC_STEP_BYTES: Final = 1024 * 1024


class _Crc64Nvme:
    def __init__(self) -> None:
        from anycrc import Model

        self._step = Model("CRC64-NVME").calc
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _CRC_STEP_BYTES):
            self._value = self._step(view[start : start + _CRC_STEP_BYTES], self._value)

    def finish(self) -> Checksum:
        encoded = b2a_base64(self._value.to_bytes(8, "big"), newline=False).decode()
        return Checksum(CRC64NVME, encoded)


def new_hasher(hash_type: str, size_bytes: int) -> Hasher:
    """Return a hasher for an object of a known size.

    Args:
        hash_type: One of `HASH_TYPES`.
        size_bytes: The size of the whole object, which fixes the chunk size.

    Raises:
        FormatError: The type is unknown, so nothing can be verified against it.
    """
    if hash_type == SHA256_CHUNKED:
        return _Chunked(size_bytes)
    if hash_type == SHA256:
        return _Sha256()
    if hash_type == CRC64NVME:
        return _Crc64Nvme()
    raise FormatError(
        f"hash type {hash_type!r} is unknown, so the bytes can't be verified;"
        f" known are {', '.join(HASH_TYPES)}"
    )


def checksum_of(data: Buffer, hash_type: str = SHA256_CHUNKED) -> Checksum:
    """Return the hash of bytes that are in memory.

    Raises:
        FormatError: The type is unknown.
    """
    size_bytes = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
    if hash_type == SHA256_CHUNKED and 0 < size_bytes <= CHUNK_BYTES:
        # One chunk, as most objects are.
        digest = hashlib.sha256(hashlib.sha256(data).digest()).digest()
        return Checksum(SHA256_CHUNKED, b2a_base64(digest, newline=False).decode())
    hasher = new_hasher(hash_type, size_bytes)
    hasher.update(data)
    return hasher.finish()

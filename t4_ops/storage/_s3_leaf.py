"""What the two S3 leaves, obstore's and boto3's, have in common."""

from __future__ import annotations

from typing import Protocol

from t4_ops.checksums import Buffer
from t4_ops.storage.base import ObjectInfo, Reader


class OpenReader(Reader, Protocol):
    """A `Reader` to close."""

    def close(self) -> None:
        """Give the connection back, or drop it if bytes are left."""


class Leaf(Protocol):
    """What both leaves can do; `Store` says what it means."""

    def head(self, key: str, version_id: str | None) -> ObjectInfo:
        """Return an object's facts."""

    def open(
        self, key: str, version_id: str | None, start: int, end: int | None, if_match: str | None
    ) -> OpenReader:
        """Open an object, or its bytes from `start` to before `end`."""

    def read(self, key: str, version_id: str | None, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Return an object's facts and its bytes; no bytes if they are more than `max_bytes`."""

    def put(self, key: str, data: Buffer, create_only: bool, if_match: str | None) -> ObjectInfo:
        """Write an object in one request."""

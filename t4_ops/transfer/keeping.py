"""Small objects that were read to be hashed, kept until they are sent: read once, not twice."""

from __future__ import annotations

import threading
from typing import Final

from t4_ops.checksums import Checksum

KEPT_BYTES: Final = 48 * 1024 * 1024
"""Most bytes kept. Source: 10,000 files of 4 KiB fit, within the 150 MB that a push may take."""
KEPT_OBJECT_BYTES: Final = 64 * 1024
"""Largest S3 object that is kept. Larger ones are mostly copied by a server, and then what was kept
of them is never taken: 300 of 1 MiB took 188 MB, without them 133 MB."""
# What a file that is pushed takes of those, with its keys, its hash, its move and its new place.
_FILE_BYTES: Final = 800


class Kept:
    """Bytes by physical key, each with the hash that was computed of these very bytes.

    Args:
        room_bytes: How much is kept at most; what comes later is read again.
    """

    def __init__(self, room_bytes: int = 0) -> None:
        self._room_bytes = room_bytes
        self._lock = threading.Lock()
        self._held: dict[str, tuple[bytes, Checksum]] = {}

    @property
    def has_room(self) -> bool:
        """Whether it is worth while to offer something."""
        return self._room_bytes > 0

    def share(self, files: int) -> None:
        """Keep less, before anything is kept, since so many files take memory themselves."""
        self._room_bytes = max(0, self._room_bytes - files * _FILE_BYTES)

    def keep(self, physical_key: str, data: bytes, checksum: Checksum) -> None:
        """Keep bytes if there is room for them."""
        with self._lock:
            if len(data) <= self._room_bytes and physical_key not in self._held:
                self._room_bytes -= len(data)
                self._held[physical_key] = data, checksum

    def take(self, physical_key: str, checksum: Checksum) -> bytes | None:
        """Return and forget the bytes of a key if they are kept and have this hash."""
        with self._lock:
            held = self._held.pop(physical_key, None)
            if held is None:
                return None
            self._room_bytes += len(held[0])
        return held[0] if held[1] == checksum else None

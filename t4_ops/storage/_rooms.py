"""Room in memory for parts of uploads: so many at a time in a process, whatever it uploads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from t4_ops.checksums import CHUNK_BYTES

# 48 MiB of 8 MiB parts.
_ROOMS: Final = 6


class Rooms:
    """A bound that survives a fork: what the parent's threads hold, nobody in the child gives back.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int = _ROOMS) -> None:
        self._count = count
        self.after_fork()

    def after_fork(self) -> None:
        """Start afresh, in a forked child."""
        self._free = threading.BoundedSemaphore(self._count)
        self._spare: list[bytearray] = []

    @contextmanager
    def buffer(self, size_bytes: int = CHUNK_BYTES) -> Iterator[bytearray]:
        """Take one with a buffer of at least this size in it, for a `with` block.

        Buffers are used again: new ones for each object leave the allocator with holes of their
        size (48 files of 7 MiB took 209 MB, now 71 MB). All uploads share them: kept by each, those
        of 16 files of 33 MiB took 399 MB.
        """
        room = self.take(size_bytes)
        try:
            yield room
        finally:
            self.give_back(room)

    def take(self, size_bytes: int = CHUNK_BYTES) -> bytearray:
        """Wait for one and take it, to be given back by whichever thread is done with it."""
        self._free.acquire()
        try:
            return bytearray(size_bytes) if size_bytes > CHUNK_BYTES else self._usual()
        except BaseException:
            self._free.release()
            raise

    def give_back(self, room: bytearray) -> None:
        """Give back what `take` gave."""
        if len(room) == CHUNK_BYTES:
            self._spare.append(room)
        self._free.release()

    def _usual(self) -> bytearray:
        try:
            # Not asked for first: another thread may take the last one between.
            return self._spare.pop()
        except IndexError:
            return bytearray(CHUNK_BYTES)


ROOMS: Final = Rooms()
os.register_at_fork(after_in_child=ROOMS.after_fork)

"""Parts of an upload as the files that boto3 takes: it takes no views, and would copy a buffer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from typing import Any

from t4_ops.checksums import Buffer
from t4_ops.storage.base import PartSource


class Body(RawIOBase):
    """A part as the file that boto3 takes: read in pieces, and again on a retry."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self._size_bytes, self._position = size_bytes, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to a place and return it."""
        base = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size_bytes}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer and return how many bytes it got."""
        room = memoryview(buffer).cast("B")
        end = min(self._position + len(room), self._size_bytes)
        count = 0
        for piece in self._pieces(self._position, end):
            room[count : count + len(piece)] = piece
            count += len(piece)
        self._position += count
        return count

    @abstractmethod
    def _pieces(self, start: int, end: int) -> Iterable[Buffer]:
        """Return bytes of the part."""


class View(Body):
    """A part that is in memory."""

    def __init__(self, view: memoryview) -> None:
        super().__init__(len(view))
        self._view = view

    def read(self, size: int = -1) -> memoryview:
        """Return the next bytes as they lie in memory.

        urllib3 asks for 16 KiB at a time. Copied for each, a part took 1.3 times the processor
        time to send. All at once would be cheaper still, but a socket's timeout bounds each call
        that sends: a part would have to pass within it, however slow the network.
        """
        end = self._size_bytes if size < 0 else self._position + size
        piece = self._view[self._position : end]
        self._position += len(piece)
        return piece

    def _pieces(self, start: int, end: int) -> Iterable[Buffer]:
        return (self._view[start:end],)


class Span(Body):
    """A part that is too large for that: read from its source once more."""

    def __init__(self, source: PartSource, start: int, end: int) -> None:
        super().__init__(end - start)
        self._source, self._start = source, start

    def _pieces(self, start: int, end: int) -> Iterable[Buffer]:
        return self._source.pieces(self._start + start, self._start + end)

"""The bytes of a manifest and where its lines begin, held in bounded private memory.

Above `MEMORY_BYTES` the bytes live in an unlinked temporary file of ours, mapped into memory, so
that the kernel may drop pages. A registry's own file is never mapped: others may change it.
"""

from __future__ import annotations

import mmap
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import IO, Final, Self

from t4_ops.checksums import Buffer
from t4_ops.errors import FormatError

MEMORY_BYTES: Final = 64 * 1024 * 1024
"""Largest manifest kept on the heap."""
_PIECE_BYTES: Final = 1024 * 1024


class Spool:
    """Takes bytes in order and keeps them in memory or, above a size, in a temporary file.

    A context manager: a file that was needed goes with the block, `Lines` made of it stay.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        # The file outlives no block: a mapping of it keeps the pages.
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=memory_bytes)  # noqa: SIM115
        self._memory_bytes = memory_bytes
        self._size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def write(self, data: Buffer) -> None:
        """Add bytes."""
        self._file.write(data)
        self._size_bytes += len(data)

    def lines(self) -> Lines:
        """Return what was written as lines.

        Raises:
            FormatError: The last line does not end.
        """
        if self._size_bytes <= self._memory_bytes:
            self._file.seek(0)
            return Lines(self._file.read())
        self._file.flush()
        return Lines(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))


class Lines:
    """The lines of a byte string, by number from 0.

    Every line ends in a line feed; a last line without one is taken as cut off.
    """

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data = data
        # Offset of each line, and of the end.
        self._starts = array("Q", [0])
        find, append, position = data.find, self._starts.append, 0
        while (position := find(b"\n", position) + 1) > 0:
            append(position)
        if self._starts[-1] != len(data):
            raise FormatError(
                f"manifest line {len(self._starts)} has no end: the manifest is cut off",
                line=len(self._starts),
            )

    @classmethod
    def read(cls, chunks: Iterable[Buffer]) -> Lines:
        """Return the lines of bytes that arrive in pieces.

        Raises:
            FormatError: The last line does not end.
        """
        with Spool() as spool:
            for chunk in chunks:
                spool.write(chunk)
            return spool.lines()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> bytes:
        """Return a line without its line feed."""
        return self._data[self._starts[index] : self._starts[index + 1] - 1]

    @property
    def size_bytes(self) -> int:
        """The size of all lines."""
        return len(self._data)

    def longest_line(self) -> tuple[int, int]:
        """Return number and size in bytes of the longest line, without its line feed."""
        starts = self._starts
        sizes = (starts[i + 1] - starts[i] - 1 for i in range(len(self)))
        size_bytes, number = max(((size, -i) for i, size in enumerate(sizes)), default=(0, 0))
        return -number, size_bytes

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in pieces."""
        for start in range(0, len(self._data), _PIECE_BYTES):
            yield self._data[start : start + _PIECE_BYTES]

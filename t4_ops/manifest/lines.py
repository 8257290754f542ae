"""The bytes of a manifest and where its lines begin, held in bounded private memory.

Above `MEMORY_BYTES` the bytes live in an unlinked temporary file of ours and are read from there
piece by piece, so that the process itself stays small: pages of a mapping would count as its own.
A registry's own file is never kept open: others may change it.
"""

from __future__ import annotations

import operator
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import accumulate, count, islice
from typing import IO, Final, Self

from t4_ops.checksums import Buffer
from t4_ops.errors import FormatError, StorageError

MEMORY_BYTES: Final = 8 * 1024 * 1024
"""Largest manifest kept on the heap: some 30,000 entries. Reading from a file costs little more."""
_DISKLESS_BYTES: Final = 32 * 1024 * 1024
"""Largest one kept there where no temporary file can be begun, as in a read-only container."""
_PIECE_BYTES: Final = 1024 * 1024
# Above this numpy finds line feeds: in a tenth of the time (measured), but it takes 0.1 s to load.
_NUMPY_BYTES: Final = 32 * 1024 * 1024
_LINE_FEED, _OPENS, _CLOSES = b"\n{}"
# Blocks of some hundred lines stay in the processor's cache and cost little to begin; larger ones
# are not faster.
_BLOCK_BYTES: Final = 128 * 1024


@contextmanager
def _disk() -> Iterator[None]:
    """Tell of a disk that takes no more.

    Raises:
        StorageError: The temporary file can't be written.
    """
    try:
        yield
    except OSError as exc:
        try:
            folder = tempfile.gettempdir()
        except OSError:
            folder = "any temporary folder"
        raise StorageError(
            f"a temporary copy of a manifest can't be written to {folder}:"
            f" {exc.strerror or exc}; free some space, or set TMPDIR",
            key=folder,
        ) from exc


class _FileBytes:
    """Bytes in an unlinked file, sliced like `bytes`; safe for threads and forks."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        # No file object: together with this one it could be found unreachable, and then warn of
        # itself before it is closed here.
        self._fd = fd
        self._size_bytes = size_bytes

    def __del__(self) -> None:
        os.close(self._fd)

    def __len__(self) -> int:
        return self._size_bytes

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size_bytes)
        fd = self._fd
        data = os.pread(fd, stop - start, start)
        while len(data) < stop - start:
            more = os.pread(fd, stop - start - len(data), start + len(data))
            if not more:
                raise FormatError("the temporary copy of a manifest was cut off")
            data += more
        return data


def _longest_step(starts: array[int]) -> int:
    """Return the largest difference of two offsets in a row; 1: there is one offset only."""
    if starts[-1] > _NUMPY_BYTES:
        import numpy as np

        return int(np.diff(np.frombuffer(starts, np.uint64)).max())
    return max(map(operator.sub, islice(starts, 1, None), starts), default=1)


def _starts_after(piece: bytes, offset: int) -> tuple[bytes, bool]:
    """Find the line feeds of a piece.

    Args:
        piece: The piece.
        offset: Where it begins.

    Returns:
        The offsets after each of them, as the bytes of an `array("Q")`, and whether each stands
        between a `}` and a `{`, as far as these are in the piece.
    """
    import numpy as np

    data = np.frombuffer(piece, np.uint8)
    ends = np.flatnonzero(data == _LINE_FEED)
    before, after = ends - 1, ends + 1
    are_between = bool(
        (data[before[before >= 0]] == _CLOSES).all()
        and (data[after[after < len(data)]] == _OPENS).all()
    )
    return (ends.astype(np.uint64) + np.uint64(offset + 1)).tobytes(), are_between


class Spool:
    """Takes bytes in order and keeps them in memory or, above a size, in a temporary file.

    A context manager: what was not made `Lines` goes with the block.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._memory_bytes = memory_bytes
        self._size_bytes = 0
        # Offset of each line, and of the end.
        self._starts = array("Q", [0])
        # The last byte, and from where on each line was seen to begin with `{` and to end with `}`.
        self._last = b""
        self._objects_from = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._pieces.clear()

    def write(self, data: Buffer) -> None:
        """Add bytes."""
        # A piece of a reader is valid until the next one only.
        piece = bytes(data)
        if self._size_bytes < _NUMPY_BYTES:
            *ended, _ = piece.split(b"\n")
            # Each line feed counts one more.
            sizes = accumulate(map(len, ended))
            self._starts.extend(map(operator.add, sizes, count(self._size_bytes + 1)))
            self._objects_from = self._size_bytes + len(piece)
        elif piece:
            self._find_lines(piece)
        self._last = piece[-1:] or self._last
        self._size_bytes += len(piece)
        if self._file is None and self._size_bytes > self._memory_bytes:
            self._begin_file()
        if self._file is None:
            self._pieces.append(piece)
            return
        with _disk():
            self._file.write(piece)

    def _find_lines(self, piece: bytes) -> None:
        starts, are_objects = _starts_after(piece, self._size_bytes)
        self._starts.frombytes(starts)
        border = self._last + piece[:1]
        if not are_objects or (b"\n" in border and border not in (b"}\n", b"\n{")):
            self._objects_from = self._size_bytes + len(piece)

    def _begin_file(self) -> None:
        """Move what was written to a file, if there can be one or must.

        Raises:
            StorageError: It can't be written, and there is too much for the heap.
        """
        with suppress(OSError) if self._size_bytes <= _DISKLESS_BYTES else _disk():
            # It has no name: it goes when the last reference does, also if the process dies.
            with ExitStack() as undo:
                file = undo.enter_context(tempfile.TemporaryFile(prefix="t4-manifest-"))
                file.writelines(self._pieces)
                file.flush()
                undo.pop_all()
            self._file = file
            self._pieces.clear()

    def lines(self) -> Lines:
        """Return what was written as lines.

        Raises:
            FormatError: The last line does not end.
        """
        if self._file is None:
            return Lines(b"".join(self._pieces), self._starts, self._objects_from)
        with _disk():
            self._file.flush()
            fd = os.dup(self._file.fileno())
        return Lines(_FileBytes(fd, self._size_bytes), self._starts, self._objects_from)


class Lines:
    """The lines of a byte string, by number from 0.

    Every line ends in a line feed; a last line without one is taken as cut off. `Lines.read` and
    `Spool` make them.
    """

    def __init__(self, data: bytes | _FileBytes, starts: array[int], objects_from: int) -> None:
        self._data = data
        self._starts = starts
        self._objects_from = objects_from
        # Found out when it is asked for.
        self._longest: int | None = None
        if starts[-1] != len(data):
            raise FormatError(
                f"manifest line {len(starts)} has no end: the manifest is cut off",
                line=len(starts),
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

    def start(self, index: int) -> int:
        """Return the offset of a line; that after the last one is the size."""
        return self._starts[index]

    def are_objects(self, first: int) -> bool:
        """Return whether each line from `first` on was seen to begin with `{` and end with `}`.

        False says nothing: only large manifests are looked at so.
        """
        return self._starts[first] >= self._objects_from

    def slice(self, first: int, end: int) -> bytes:
        """Return the bytes of the lines from `first` to before `end`, line feeds included."""
        return self._data[self._starts[first] : self._starts[end]]

    def blocks(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of lines, `(first, end)`, each of some hundred KiB at most or one line."""
        starts = self._starts
        while first < end:
            # Lines of one manifest are alike: guess, then mend.
            stop = min(end, first + 512)
            while stop - first > 1 and starts[stop] - starts[first] > _BLOCK_BYTES:
                stop = first + (stop - first) // 2
            yield first, stop
            first = stop

    @property
    def size_bytes(self) -> int:
        """The size of all lines."""
        return len(self._data)

    def longest_line(self) -> int:
        """Return the size in bytes of the longest line, without its line feed."""
        if self._longest is None:
            self._longest = _longest_step(self._starts) - 1
        return self._longest

    def chunks(self, first: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of all lines, or of those from `first` to before `end`, in pieces."""
        stop = len(self._data) if end is None else self._starts[end]
        for start in range(self._starts[first], stop, _PIECE_BYTES):
            yield self._data[start : min(stop, start + _PIECE_BYTES)]

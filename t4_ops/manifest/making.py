"""Writing the lines of a new manifest, of entries and of lines that another one holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, cast

from t4_ops.keys import Limits, are_legal, logical_key_problem, tree_order, tree_orders
from t4_ops.manifest.batches import HashedBlock, are_in_order
from t4_ops.manifest.entry import (
    Directory,
    Entry,
    decode_key,
    encode_directory,
    encode_entries,
    encode_header,
)
from t4_ops.manifest.lines import Lines, Spool
from t4_ops.manifest.proving import first_local, hashed_blocks, hashed_lines, prove

# So many entries are written by one call.
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """Entries of a manifest that stay as they are.

    Attributes:
        lines: Its lines, entries in tree order among them.
        first: Number of the first line.
        end: Number after the last one; they are one at least.
    """

    lines: Lines
    first: int
    end: int

    def orders(self) -> list[str]:
        """Return the tree orders of the first key and of the last; all others are between."""
        numbers = {self.first, self.end - 1}
        return [tree_order(decode_key(self.lines[n], n + 1)) for n in sorted(numbers)]

    def chunks(self) -> Iterator[bytes]:
        """Yield their bytes in pieces."""
        return self.lines.chunks(self.first, self.end)


Piece = Entry | Kept
"""What a manifest is made of: entries, and lines of another one."""


@dataclass(frozen=True, slots=True)
class Composed:
    """The text of a manifest: lines that were written, and lines of another one between them.

    Attributes:
        first_entry: Number of the first line of an entry; None: keys and order must be checked.
        local_key: The first logical key whose physical key is a local file.
        files_size_bytes: Size of all files; None: not known of the lines of another manifest.
    """

    _segments: list[Kept]
    first_entry: int | None
    local_key: str | None
    files_size_bytes: int | None

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in pieces."""
        for segment in self._segments:
            yield from segment.chunks()

    def lines(self) -> Lines:
        """Return all lines."""
        if len(self._segments) == 1:
            return self._segments[0].lines
        return Lines.read(self.chunks())


def compose(
    header: Mapping[str, Any],
    pieces: Iterable[Piece],
    directories: Iterable[Directory],
    limits: Limits,
) -> Composed:
    """Return the text of a manifest; arguments and errors are those of `Manifest.of`.

    Without keys that must be checked (see `first_entry`) its bytes are a manifest.
    """
    with Spool() as spool:
        writer = Writer(spool, header, directories, limits)
        for group in _alike(pieces):
            if isinstance(group, Kept):
                writer.keep(group)
            else:
                writer.add(group)
        return writer.composed()


class Writer:
    """Writes a manifest, and looks on the way whether keys are legal and in order.

    Args:
        spool: Takes what is written.
        header: The header.
        directories: Metadata of directories.
        limits: Bounds on keys and records.

    Attributes:
        is_in_order: Whether all entries until now have legal keys and stand in tree order.

    Raises:
        InvalidInputError: The header or a directory's record is too long, or not valid Unicode.
    """

    def __init__(
        self,
        spool: Spool,
        header: Mapping[str, Any],
        directories: Iterable[Directory],
        limits: Limits,
    ) -> None:
        self._spool = spool
        self._limits = limits
        # Lines of another manifest, and how many were written before them.
        self._kept: list[tuple[int, Kept]] = []
        self._previous = ""
        self._local_key: str | None = None
        self._files_size_bytes: int | None = 0
        self.is_in_order = True
        spool.write(encode_header(header, limits))
        self._first = 1
        for directory in sorted(directories, key=lambda item: tree_order(item.key)):
            if directory.meta:
                spool.write(encode_directory(directory, limits))
                self._first += 1
                self.is_in_order = self.is_in_order and _is_legal_folder(directory.key, limits)
        self._written = self._first

    def add(self, entries: Sequence[Entry]) -> None:
        """Write entries: one at least, some hundred at most.

        Raises:
            InvalidInputError: A record is too long, or not valid Unicode.
            StorageError: The temporary file can't be written.
        """
        self._spool.write(encode_entries(entries, self._limits))
        self._written += len(entries)
        keys = [entry.logical_key for entry in entries]
        is_legal = are_legal(keys, self._limits)
        orders = tree_orders(keys) if is_legal else [tree_order(key) for key in keys]
        self._follow(orders, is_legal)
        if self._local_key is None:
            self._local_key = first_local(entries)
        if self._files_size_bytes is not None:
            self._files_size_bytes += sum([entry.size_bytes or 0 for entry in entries])

    def keep(self, kept: Kept) -> None:
        """Take lines of a manifest, whose keys were checked when it was opened."""
        self._files_size_bytes = None
        self._follow(kept.orders(), True)
        self._kept.append((self._written, kept))

    def composed(self) -> Composed:
        """Return what was written.

        Raises:
            StorageError: The temporary file can't be written.
        """
        first = self._first if self.is_in_order else None
        segments = self._segments(self._spool.lines())
        return Composed(segments, first, self._local_key, self._files_size_bytes)

    def _segments(self, written: Lines) -> list[Kept]:
        """Return all lines in order; `written` is what the spool took."""
        found, done = [], 0
        for before, kept in self._kept:
            if before > done:
                found.append(Kept(written, done, before))
            found.append(kept)
            done = before
        if len(written) > done:
            found.append(Kept(written, done, len(written)))
        return found

    def _follow(self, orders: list[str], is_legal: bool) -> None:
        self.is_in_order = self.is_in_order and is_legal and are_in_order(orders, self._previous)
        self._previous = orders[-1]


def _is_legal_folder(key: str, limits: Limits) -> bool:
    return key.endswith("/") and logical_key_problem(key[:-1], limits) is None


def top_hash_of_pieces(header: Mapping[str, Any], pieces: Iterable[Piece]) -> str:
    """Return the top hash of a header and what stands below it, in tree order.

    Raises:
        FormatError: An entry lacks hash or size, or a line is wrong.
    """
    return prove(header, _blocks_of(pieces)).top_hash


def _blocks_of(pieces: Iterable[Piece]) -> Iterator[HashedBlock]:
    for group in _alike(pieces):
        if isinstance(group, Kept):
            yield from hashed_lines(group.lines, group.first, group.end)
        else:
            yield from hashed_blocks(group)


def _alike(pieces: Iterable[Piece]) -> Iterator[Kept | list[Entry]]:
    """Yield lines that are kept, and the entries between them by some hundred."""
    rest = iter(pieces)
    while batch := list(islice(rest, _BATCH)):
        if Kept not in set(map(type, batch)):
            yield cast("list[Entry]", batch)
            continue
        entries: list[Entry] = []
        for piece in batch:
            if isinstance(piece, Kept):
                if entries:
                    yield entries
                    entries = []
                yield piece
            else:
                entries.append(piece)
        if entries:
            yield entries

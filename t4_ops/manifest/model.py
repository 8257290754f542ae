"""The frozen manifest: its bytes, line offsets, and entries decoded when they are touched."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from t4_ops.checksums import Buffer
from t4_ops.errors import FormatError, IntegrityError
from t4_ops.keys import DEFAULT_LIMITS, Limits, tree_order
from t4_ops.manifest.batches import (
    HashedBlock,
    entries_of,
    is_plain_block,
    keys_and_sizes_of,
    keys_of,
)
from t4_ops.manifest.checks import (
    first_directories,
    index_lines,
    read_header,
    refuse_directories,
    refuse_long_lines,
)
from t4_ops.manifest.entry import (
    Directory,
    Entry,
    decode_entry,
    decode_key,
    decode_record,
)
from t4_ops.manifest.lines import Lines
from t4_ops.manifest.making import Piece, compose
from t4_ops.manifest.proving import Proof, check_and_prove, hashed_blocks, hashed_lines, prove


class Manifest:
    """An immutable package: header, directory metadata and entries in tree order.

    It is made from the bytes of a registry (`read`, `from_bytes`) or from entries (`of`). Keys are
    checked when it is made; entries are decoded, and checked, when they are touched.
    """

    def __init__(
        self,
        lines: Lines,
        limits: Limits = DEFAULT_LIMITS,
        *,
        first_entry: int | None = None,
        proves: bool = False,
        proof: Proof | None = None,
    ) -> None:
        """Read the header and check every key once.

        Args:
            lines: The lines.
            limits: Bounds on keys and records.
            first_entry: Number of the first line of an entry, where it is known that from there on
                all are entries with legal keys in tree order.
            proves: Compute the top hash in the same pass; for who is going to ask for it.
            proof: What such a pass would find, where the caller has just found it.

        Raises:
            FormatError: The bytes are no manifest, or a key breaks a rule.
        """
        self._lines = lines
        refuse_long_lines(lines, limits)
        self._header = read_header(lines)
        self._entries: array[int] | range
        if proves:
            directories = first_directories(lines, limits)
            proof = check_and_prove(lines, self._header, directories, limits)
            first_entry = None if proof is None else 1 + len(directories)
        if first_entry is None:
            self._entries, self._directories = index_lines(lines, limits)
        else:
            self._entries = range(first_entry, len(lines))
            self._directories = list(range(1, first_entry))
        refuse_directories(lines, self._directories, lambda key: self.get(key) is not None)
        self._proof: Proof | None = proof

    @classmethod
    def read(
        cls, chunks: Iterable[Buffer], limits: Limits = DEFAULT_LIMITS, *, proves: bool = False
    ) -> Manifest:
        """Return the manifest whose bytes arrive in pieces; see `__init__`."""
        return cls(Lines.read(chunks), limits, proves=proves)

    @classmethod
    def from_bytes(cls, data: bytes, limits: Limits = DEFAULT_LIMITS) -> Manifest:
        """Return the manifest of these bytes."""
        return cls(Lines.read((data,)), limits)

    @classmethod
    def of(
        cls,
        header: Mapping[str, Any],
        entries: Iterable[Piece],
        directories: Iterable[Directory] = (),
        limits: Limits = DEFAULT_LIMITS,
        *,
        top_hash: str | None = None,
    ) -> Manifest:
        """Return the manifest of these parts.

        Args:
            header: The header; `version` must be there.
            entries: Entries in any order, and lines of other manifests to take as they are.
            directories: Metadata of directories; keys end in `/`.
            limits: Bounds on keys and records.
            top_hash: The top hash of header and entries where the caller has just computed it.

        Raises:
            InvalidInputError: A record is too long, or not valid Unicode.
            FormatError: A key breaks a rule, stands twice, or is both file and directory.
        """
        made = compose(header, entries, directories, limits)
        proof = None
        if top_hash is not None and made.files_size_bytes is not None:
            proof = Proof(top_hash, made.local_key, made.files_size_bytes)
        return cls(made.lines(), limits, first_entry=made.first_entry, proof=proof)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    @property
    def is_whole(self) -> bool:
        """True: see `View`."""
        return True

    def whole(self) -> Manifest:
        """Return self: nothing of it is elsewhere."""
        return self

    @property
    def header(self) -> dict[str, Any]:
        """The header: `version`, `message`, `user_meta`, ...; a copy."""
        return dict(self._header)

    @property
    def size_bytes(self) -> int:
        """The size of the manifest itself."""
        return self._lines.size_bytes

    def chunks(self) -> Iterator[bytes]:
        """Yield the manifest's bytes in pieces, exactly as they were read or written."""
        return self._lines.chunks()

    def to_bytes(self) -> bytes:
        """Return the manifest's bytes."""
        return b"".join(self.chunks())

    def directories(self) -> Iterator[Directory]:
        """Yield the metadata of directories."""
        for line in self._directories:
            record = decode_record(self._lines[line], line + 1)
            if isinstance(record, Directory):
                yield record

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Yield entries in tree order.

        Args:
            prefix: Only those below this directory (`""` or ending in `/`).
        """
        first, end = self._span(prefix)
        if isinstance(self._entries, range):
            before = self._entries.start
            for start, stop in self._lines.blocks(before + first, before + end):
                yield from self._block(start, stop)
        else:
            for position in range(first, end):
                yield self._entry(position)

    def logical_keys(self) -> Iterator[str]:
        """Yield the logical keys in tree order, without decoding more of the entries."""
        if isinstance(self._entries, range):
            for start, end in self._lines.blocks(self._entries.start, self._entries.stop):
                yield from self.keys(start, end)
        else:
            yield from map(self._key, range(len(self._entries)))

    # Lines, for the index

    @property
    def is_in_order(self) -> bool:
        """Whether entries stand in tree order below all else, as quilt3 and we write them."""
        return isinstance(self._entries, range)

    def entry_lines(self) -> tuple[int, int]:
        """Return the numbers of the first line of an entry and after the last, if `is_in_order`."""
        return len(self._lines) - len(self._entries), len(self._lines)

    @property
    def lines(self) -> Lines:
        """All lines."""
        return self._lines

    def blocks(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of lines, `(first, end)`, of some hundred each."""
        return self._lines.blocks(first, end)

    def key_of_line(self, line: int) -> str:
        """Return the logical key on a line."""
        return decode_key(self._lines[line], line + 1)

    def order_of_line(self, line: int) -> str:
        """Return the tree order of the key on a line."""
        return tree_order(self.key_of_line(line))

    def keys(self, first: int, end: int) -> list[str]:
        """Return the logical keys on some lines of entries."""
        return keys_of(self._lines.slice(first, end))

    def line_start(self, line: int) -> int:
        """Return the offset of a line; that after the last one is the manifest's size."""
        return self._lines.start(line)

    def line_bytes(self, first: int, end: int) -> bytes:
        """Return lines, line feeds included."""
        return self._lines.slice(first, end)

    def keys_and_sizes(self, first: int, end: int) -> Iterator[tuple[int, list[str], list[int]]]:
        """Yield, for some hundred lines of entries at a time, the first line, keys and sizes."""
        for start, stop in self._lines.blocks(first, end):
            yield start, *keys_and_sizes_of(self._lines.slice(start, stop))

    def ordered_lines(self) -> Iterator[tuple[bytes, int]]:
        """Yield the bytes and the number of every entry's line in tree order."""
        if not isinstance(self._entries, range):
            yield from ((self._lines[line], line) for line in self._entries)
            return
        for start, end in self._lines.blocks(self._entries.start, self._entries.stop):
            yield from zip(
                self._lines.slice(start, end).split(b"\n"), range(start, end), strict=False
            )

    def entry_of_line(self, data: bytes, number: int) -> Entry:
        """Return the entry of a line of this manifest, as `ordered_lines` gives it.

        Raises:
            FormatError: A field of it is wrong.
        """
        return decode_entry(data, number + 1)

    def _block(self, first: int, end: int) -> list[Entry]:
        """Return the entries of some lines."""
        block = self._lines.slice(first, end)
        found = entries_of(block, is_plain_block(block, self._lines.longest_line()))
        return found if found is not None else [self._entry_at(n) for n in range(first, end)]

    def _span(self, prefix: str) -> tuple[int, int]:
        """Return the positions of the entries below a directory: the first, and after the last."""
        if not prefix:
            return 0, len(self._entries)
        order = tree_order(prefix)
        # \x01 sorts after every key inside the directory and before its next sibling.
        after = self._first_at_or_after(f"{order[:-1]}\x01")
        return self._first_at_or_after(order), after

    def count(self, prefix: str = "") -> int:
        """Return the number of entries below a directory, at all levels."""
        first, end = self._span(prefix)
        return end - first

    def files_size_bytes(self, prefix: str = "") -> int:
        """Return the size of all files below a directory whose size is known."""
        if not prefix and self._proof is not None:
            return self._proof.files_size_bytes
        return sum(entry.size_bytes or 0 for entry in self.entries(prefix))

    def get(self, key: str) -> Entry | None:
        """Return the entry at a logical key, or None."""
        position = self._first_at_or_after(tree_order(key))
        if position == len(self._entries) or self._key(position) != key:
            return None
        return self._entry(position)

    def has_directory(self, prefix: str) -> bool:
        """Return whether any entry lies below `prefix`, which ends in `/`."""
        position = self._first_at_or_after(tree_order(prefix))
        return position < len(self._entries) and self._key(position).startswith(prefix)

    def children(self, prefix: str = "") -> Iterator[str]:
        """Yield the names right below a directory in order; those of directories end in `/`.

        It skips from one child to the next, so that its cost does not grow with what lies below.
        """
        position = self._first_at_or_after(tree_order(prefix)) if prefix else 0
        while position < len(self._entries):
            key = self._key(position)
            if not key.startswith(prefix):
                return
            name, slash, _ = key[len(prefix) :].partition("/")
            yield name + slash
            # \x01 sorts after every key inside the directory and before its next sibling.
            after = tree_order(prefix + name) + "\x01"
            position = self._first_at_or_after(after) if slash else position + 1

    @property
    def top_hash(self) -> str:
        """The top hash, computed once by one pass over all entries.

        Raises:
            FormatError: A record is wrong, or lacks hash or size.
        """
        return self._proved().top_hash

    @property
    def local_key(self) -> str | None:
        """The first logical key whose physical key is a local file; None: there is none.

        Raises:
            FormatError: A record is wrong, or lacks hash or size.
        """
        return self._proved().local_key

    def _proved(self) -> Proof:
        if self._proof is None:
            # Directories are not hashed, but their records must be right all the same.
            for _ in self.directories():
                pass
            self._proof = self.proof_with(self._header)
        return self._proof

    def top_hash_with(self, header: Mapping[str, Any]) -> str:
        """Return the top hash that these entries have below another header.

        Raises:
            FormatError: A record is wrong, or lacks hash or size.
        """
        return self.proof_with(header).top_hash

    def verify(self, top_hash: str, *, allow_files: bool) -> None:
        """Prove that this is the manifest of a top hash, and check every record on the way.

        Args:
            top_hash: What it must be.
            allow_files: Whether physical keys may be local files; not in a remote manifest, where
                they would make the reader's own files part of the package.

        Raises:
            IntegrityError: It is another one.
            FormatError: A record is wrong, or names a local file.
        """
        if self.top_hash != top_hash:
            raise IntegrityError(
                f"the manifest stored as {top_hash} has the top hash {self.top_hash}: it was"
                " changed or damaged; do not use it",
                key=top_hash,
                expected=top_hash,
                actual=self.top_hash,
            )
        if self.local_key is not None and not allow_files:
            raise FormatError(
                f"{self.local_key!r} names a local file, which a remote manifest must not do: its"
                " reader's own files would become part of the package",
                key=self.local_key,
            )

    def proof_with(self, header: Mapping[str, Any]) -> Proof:
        """Return what one pass over all entries finds out, below a header.

        Raises:
            FormatError: A record is wrong, or lacks hash or size.
        """
        return prove(header, self._hashed_blocks())

    def _hashed_blocks(self) -> Iterator[HashedBlock]:
        if isinstance(self._entries, range):
            yield from hashed_lines(self._lines, self._entries.start, self._entries.stop)
        else:
            yield from hashed_blocks(self.entries())

    def _key(self, position: int) -> str:
        return self.key_of_line(self._entries[position])

    def _entry(self, position: int) -> Entry:
        return self._entry_at(self._entries[position])

    def _entry_at(self, line: int) -> Entry:
        return self.entry_of_line(self._lines[line], line)

    def _first_at_or_after(self, order: str) -> int:
        low, high = 0, len(self._entries)
        while low < high:
            middle = (low + high) // 2
            if tree_order(self._key(middle)) < order:
                low = middle + 1
            else:
                high = middle
        return low

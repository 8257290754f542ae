"""The frozen manifest: its bytes, line offsets, and entries decoded when they are touched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from t4_ops.checksums import Buffer
from t4_ops.errors import FormatError, IntegrityError
from t4_ops.keys import DEFAULT_LIMITS, Limits, tree_order
from t4_ops.manifest.canonical import canonical_json
from t4_ops.manifest.checks import index_lines, read_header, refuse_directories
from t4_ops.manifest.entry import (
    Directory,
    Entry,
    decode_key,
    decode_record,
    encode_directory,
    encode_entry,
    encode_header,
    hashed_part,
)
from t4_ops.manifest.lines import Lines, Spool

_HASH_BATCH: Final = 1000


class Manifest:
    """An immutable package: header, directory metadata and entries in tree order.

    It is made from the bytes of a registry (`read`, `from_bytes`) or from entries (`of`). Keys are
    checked when it is made; entries are decoded, and checked, when they are touched.
    """

    def __init__(self, lines: Lines, limits: Limits = DEFAULT_LIMITS) -> None:
        """Read the header and check every key once.

        Raises:
            FormatError: The bytes are no manifest, or a key breaks a rule.
        """
        self._lines = lines
        number, size_bytes = lines.longest_line()
        if size_bytes > limits.record_read_bytes:
            raise FormatError(
                f"manifest line {number + 1} is {size_bytes} bytes long, more than"
                f" {limits.record_read_bytes}",
                line=number + 1,
            )
        self._header = read_header(lines)
        self._entries, self._directories = index_lines(lines, limits)
        refuse_directories(lines, self._directories, lambda key: self.get(key) is not None)
        self._top_hash: str | None = None
        # The first entry that names a local file; known once the top hash is.
        self._local_key: str | None = None

    @classmethod
    def read(cls, chunks: Iterable[Buffer], limits: Limits = DEFAULT_LIMITS) -> Manifest:
        """Return the manifest whose bytes arrive in pieces."""
        return cls(Lines.read(chunks), limits)

    @classmethod
    def from_bytes(cls, data: bytes, limits: Limits = DEFAULT_LIMITS) -> Manifest:
        """Return the manifest of these bytes."""
        return cls(Lines(data), limits)

    @classmethod
    def of(
        cls,
        header: Mapping[str, Any],
        entries: Iterable[Entry],
        directories: Iterable[Directory] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> Manifest:
        """Return the manifest of these parts.

        Args:
            header: The header; `version` must be there.
            entries: Entries in any order.
            directories: Metadata of directories; keys end in `/`.
            limits: Bounds on keys and records.

        Raises:
            InvalidInputError: A record is too long, or not valid Unicode.
            FormatError: A key breaks a rule, stands twice, or is both file and directory.
        """
        with Spool() as spool:
            spool.write(encode_header(header, limits))
            for directory in sorted(directories, key=lambda item: tree_order(item.key)):
                if directory.meta:
                    spool.write(encode_directory(directory, limits))
            for entry in entries:
                spool.write(encode_entry(entry, limits))
            lines = spool.lines()
        return cls(lines, limits)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

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
        first = self._first_at_or_after(tree_order(prefix)) if prefix else 0
        for position in range(first, len(self._entries)):
            entry = self._entry(position)
            if not entry.logical_key.startswith(prefix):
                return
            yield entry

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
        if self._top_hash is None:
            self._top_hash = self._compute_top_hash()
        return self._top_hash

    @property
    def local_key(self) -> str | None:
        """The first logical key whose physical key is a local file; None: there is none.

        Raises:
            FormatError: A record is wrong, or lacks hash or size.
        """
        if self._top_hash is None:
            self._top_hash = self._compute_top_hash()
        return self._local_key

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

    def _compute_top_hash(self) -> str:
        def watched() -> Iterator[Entry]:
            for entry in self.entries():
                if self._local_key is None and not entry.physical_key.startswith("s3://"):
                    self._local_key = entry.logical_key
                yield entry

        # Directories are not hashed, but their records must be right all the same.
        for _ in self.directories():
            pass
        return top_hash_of(self._header, watched())

    def _key(self, position: int) -> str:
        line = self._entries[position]
        return decode_key(self._lines[line], line + 1)

    def _entry(self, position: int) -> Entry:
        line = self._entries[position]
        record = decode_record(self._lines[line], line + 1)
        if isinstance(record, Directory):
            raise FormatError(f"manifest line {line + 1} is no entry", line=line + 1)
        return record

    def _first_at_or_after(self, order: str) -> int:
        low, high = 0, len(self._entries)
        while low < high:
            middle = (low + high) // 2
            if tree_order(self._key(middle)) < order:
                low = middle + 1
            else:
                high = middle
        return low


def top_hash_of(header: Mapping[str, Any], entries: Iterable[Entry]) -> str:
    """Return the top hash of a header and entries in tree order.

    Source: quilt3 hashes the canonical JSON of the header and of each entry's hash, logical key,
    metadata and size, with nothing between them.

    Raises:
        FormatError: An entry lacks hash or size.
    """
    try:
        digest = hashlib.sha256(canonical_json(dict(header)).encode())
    except (ValueError, RecursionError) as exc:
        raise FormatError(f"the manifest's header can't be hashed: {exc}") from exc
    batch: list[str] = []
    for entry in entries:
        batch.append(hashed_part(entry))
        if len(batch) == _HASH_BATCH:
            digest.update("".join(batch).encode())
            batch.clear()
    digest.update("".join(batch).encode())
    return digest.hexdigest()

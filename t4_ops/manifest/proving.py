"""What is hashed: the top hash of a header and entries, and what else one pass over them finds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from t4_ops.errors import FormatError
from t4_ops.keys import Limits
from t4_ops.manifest.batches import (
    HashedBlock,
    are_in_order,
    hashed_block,
    hashed_entries,
    is_plain_block,
    ordered_block,
)
from t4_ops.manifest.canonical import canonical_json
from t4_ops.manifest.entry import Entry, decode_entry, decode_record, hashed_part
from t4_ops.manifest.lines import Lines

# So many entries are hashed by one call.
_HASH_BATCH: Final = 500


class _UnusualError(Exception):
    """Some lines can't be taken together; nothing need be wrong with them."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What one pass over all entries finds out.

    Attributes:
        top_hash: The top hash.
        local_key: The first logical key whose physical key is a local file.
        files_size_bytes: Size of all files.
    """

    top_hash: str
    local_key: str | None
    files_size_bytes: int


def prove(header: Mapping[str, Any], blocks: Iterable[HashedBlock]) -> Proof:
    """Return what one pass over all entries finds out, below a header.

    Args:
        header: The header.
        blocks: What the entries add, in tree order.

    Raises:
        FormatError: The header can't be hashed.
    """
    digest = digest_of_header(header)
    size_bytes, local_key = 0, None
    for found in blocks:
        digest.update(found.text)
        size_bytes += found.size_bytes
        local_key = local_key if local_key is not None else found.local_key
    return Proof(digest.hexdigest(), local_key, size_bytes)


def hashed_blocks(entries: Iterable[Entry]) -> Iterator[HashedBlock]:
    """Yield what entries in tree order add to a manifest, some hundred at a time.

    Raises:
        FormatError: An entry lacks hash or size.
    """
    rest = iter(entries)
    while batch := list(islice(rest, _HASH_BATCH)):
        text = _hashed_text(batch)
        size_bytes = sum([entry.size_bytes or 0 for entry in batch])
        yield HashedBlock(text, size_bytes, first_local(batch))


def hashed_lines(lines: Lines, first: int, end: int) -> Iterator[HashedBlock]:
    """Yield what some lines of entries add to a manifest, some hundred at a time.

    Raises:
        FormatError: A record is wrong, or lacks hash or size.
    """
    longest_bytes = lines.longest_line()
    for start, stop in lines.blocks(first, end):
        block = lines.slice(start, stop)
        found = hashed_block(block, is_plain_block(block, longest_bytes))
        if found is None:
            yield from hashed_blocks(decode_entry(lines[n], n + 1) for n in range(start, stop))
        else:
            yield found


def check_and_prove(
    lines: Lines, header: Mapping[str, Any], directories: Sequence[int], limits: Limits
) -> Proof | None:
    """Return what `prove` does, all keys and their order checked in the same pass.

    Args:
        lines: A manifest.
        header: Its header.
        directories: Numbers of the lines of directories, which stand right below the header.
        limits: Bounds on keys.

    Returns:
        None if something is out of the ordinary: passes that do one thing each say what it is.
    """
    try:
        for number in directories:
            decode_record(lines[number], number + 1)
        return prove(header, _checked_lines(lines, 1 + len(directories), limits))
    except (_UnusualError, FormatError):
        return None


def _checked_lines(lines: Lines, first: int, limits: Limits) -> Iterator[HashedBlock]:
    longest_bytes, previous = lines.longest_line(), ""
    for start, stop in lines.blocks(first, len(lines)):
        block = lines.slice(start, stop)
        is_plain = is_plain_block(block, longest_bytes)
        found = ordered_block(block, stop - start, limits, is_plain)
        if found is None or not are_in_order(found[0], previous):
            raise _UnusualError
        previous = found[0][-1]
        yield found[1]


def top_hash_of(header: Mapping[str, Any], entries: Iterable[Entry]) -> str:
    """Return the top hash of a header and entries in tree order.

    Source: quilt3 hashes the canonical JSON of the header and of each entry's hash, logical key,
    metadata and size, with nothing between them.

    Raises:
        FormatError: An entry lacks hash or size.
    """
    return prove(header, hashed_blocks(entries)).top_hash


def first_local(entries: Sequence[Entry]) -> str | None:
    """Return the first logical key whose physical key is a local file."""
    keys = (e.logical_key for e in entries if not e.physical_key.startswith("s3://"))
    return next(keys, None)


def digest_of_header(header: Mapping[str, Any]) -> hashlib._Hash:
    """Return the digest that takes what entries add, having taken the header.

    Raises:
        FormatError: The header can't be hashed.
    """
    try:
        return hashlib.sha256(canonical_json(dict(header)).encode())
    except (ValueError, RecursionError) as exc:
        raise FormatError(f"the manifest's header can't be hashed: {exc}") from exc


def _hashed_text(entries: Sequence[Entry]) -> bytes:
    text = hashed_entries(entries, canonical_json)
    return "".join(map(hashed_part, entries)).encode() if text is None else text

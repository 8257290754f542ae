"""What makes lines a manifest: header, legal keys, each once; and records that can be written."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from t4_ops.errors import FormatError
from t4_ops.keys import Limits, tree_order
from t4_ops.manifest.batches import are_in_order, orders_of
from t4_ops.manifest.canonical import parse_json
from t4_ops.manifest.entry import (
    Directory,
    Entry,
    check_key,
    decode_key,
    encode_directory,
    encode_entry,
    encode_header,
)
from t4_ops.manifest.lines import Lines

VERSION: Final = "v0"
"""The manifest version we read and write. Source: quilt3."""


def check_records(
    header: Mapping[str, Any],
    entries: Iterable[Entry],
    directories: Iterable[Directory],
    limits: Limits,
) -> None:
    """Refuse what `Manifest.of` would refuse, before objects are moved for it.

    Entries without metadata are passed over: with keys and URLs bounded their records are short.

    Raises:
        InvalidInputError: A record is too long, or not valid Unicode.
    """
    encode_header(header, limits)
    for directory in directories:
        encode_directory(directory, limits)
    for entry in entries:
        if entry.meta:
            encode_entry(entry, limits)


def refuse_long_lines(lines: Lines, limits: Limits) -> None:
    """Refuse lines that are longer than a record may be.

    Raises:
        FormatError: There is one.
    """
    size_bytes = lines.longest_line()
    if size_bytes <= limits.record_read_bytes:
        return
    number = next(n for n in range(len(lines)) if len(lines[n]) == size_bytes)
    raise FormatError(
        f"manifest line {number + 1} is {size_bytes} bytes long, more than"
        f" {limits.record_read_bytes}",
        line=number + 1,
    )


def read_header(lines: Lines) -> dict[str, Any]:
    """Return the header.

    Raises:
        FormatError: It is none, or of another version.
    """
    if not len(lines):
        raise FormatError("the manifest is empty", line=1)
    return parse_header(lines[0])


def parse_header(line: bytes) -> dict[str, Any]:
    """Return the header that a line is; errors are those of `read_header`."""
    header = parse_json(line, "manifest header", 1)
    if not isinstance(header, dict):
        raise FormatError("the manifest's header is no mapping", line=1)
    if header.get("version") != VERSION:
        raise FormatError(
            f"the manifest has version {header.get('version')!r}; this library reads {VERSION!r}",
            line=1,
        )
    if not isinstance(header.get("user_meta"), dict | None):
        raise FormatError("the manifest's user_meta is no mapping", line=1)
    if not isinstance(header.get("message"), str | None):
        raise FormatError("the manifest's message is no text", line=1)
    # quilt3 drops the top hash that early manifests carried in their header.
    header.pop("top_hash", None)
    return header


def index_lines(lines: Lines, limits: Limits) -> tuple[array[int] | range, list[int]]:
    """Return the numbers of the lines of entries, in tree order, and of directories.

    Raises:
        FormatError: A key breaks a rule, stands twice, or is both file and directory.
    """
    directories = first_directories(lines, limits)
    first = 1 + len(directories)
    if _are_entries_in_order(lines, first, limits):
        # The usual case: directories first, then entries in order. No table is needed.
        return range(first, len(lines)), directories
    return _index_any_order(lines, limits)


def first_directories(lines: Lines, limits: Limits) -> list[int]:
    """Return the numbers of the lines of directories that stand right below the header."""
    directories: list[int] = []
    for line in range(1, len(lines)):
        key = decode_key(lines[line], line + 1)
        if not key.endswith("/"):
            break
        check_key(key[:-1], line + 1, limits)
        directories.append(line)
    return directories


def _are_entries_in_order(lines: Lines, first: int, limits: Limits) -> bool:
    """Return whether the lines from `first` on are entries in tree order with legal keys.

    Raises:
        FormatError: A key breaks a rule.
    """
    previous = ""
    for start, end in lines.blocks(first, len(lines)):
        block, are_objects = lines.slice(start, end), lines.are_objects(start)
        orders = orders_of(block, end - start, limits, are_objects=are_objects)
        if orders is None:
            orders = _checked_orders(lines, start, end, limits)
        if not orders or not are_in_order(orders, previous):
            return False
        previous = orders[-1]
    return True


def _checked_orders(lines: Lines, start: int, end: int, limits: Limits) -> list[str]:
    """Return the tree orders of some lines, none if a directory is among them."""
    orders = []
    for line in range(start, end):
        key = decode_key(lines[line], line + 1)
        if key.endswith("/"):
            return []
        check_key(key, line + 1, limits)
        orders.append(tree_order(key))
    return orders


def _index_any_order(lines: Lines, limits: Limits) -> tuple[array[int], list[int]]:
    """Do what `index_lines` does for lines in any order; keeps all keys meanwhile.

    They are text that the manifest holds too, so they take less than its bytes.
    """
    directories: list[int] = []
    orders: list[str] = []
    numbers = array("Q")
    for line in range(1, len(lines)):
        key = decode_key(lines[line], line + 1)
        if key.endswith("/"):
            check_key(key[:-1], line + 1, limits)
            directories.append(line)
            continue
        check_key(key, line + 1, limits)
        orders.append(tree_order(key))
        numbers.append(line)
    return _sorted_lines(orders, numbers), directories


def _sorted_lines(orders: list[str], numbers: array[int]) -> array[int]:
    positions = sorted(range(len(orders)), key=orders.__getitem__)
    previous = ""
    for position in positions:
        _refuse_overlap(previous, orders[position], numbers[position])
        previous = orders[position]
    return array("Q", [numbers[position] for position in positions])


def _refuse_overlap(previous: str, order: str, line: int) -> None:
    """Refuse a key that stands twice, or that is a directory of the next one.

    In tree order both are neighbours: NUL sorts before whatever else could come between.
    """
    if previous and order == previous:
        key = order.replace("\0", "/")
        raise FormatError(
            f"manifest line {line + 1}: duplicate logical key {key!r}", key=key, line=line + 1
        )
    if previous and order.startswith(f"{previous}\0"):
        key = previous.replace("\0", "/")
        raise FormatError(
            f"manifest line {line + 1}: {key!r} is both a file and a directory",
            key=key,
            line=line + 1,
        )


def refuse_directories(
    lines: Lines, directories: Iterable[int], is_file: Callable[[str], bool]
) -> None:
    """Refuse metadata that stands twice, or of a directory that is a file or lies below one.

    Args:
        lines: The manifest.
        directories: Numbers of the lines of directories.
        is_file: Whether there is an entry at a logical key.

    Raises:
        FormatError: There is such metadata.
    """
    seen: set[str] = set()
    for line in directories:
        key = decode_key(lines[line], line + 1)
        if key in seen:
            raise FormatError(
                f"manifest line {line + 1}: metadata of {key!r} stands twice",
                key=key,
                line=line + 1,
            )
        seen.add(key)
        end = key.find("/")
        while end > 0:
            if is_file(key[:end]):
                raise FormatError(
                    f"manifest line {line + 1}: {key[:end]!r} is both a file and a directory",
                    key=key[:end],
                    line=line + 1,
                )
            end = key.find("/", end + 1)

"""Many lines at once: the checks and the hash of a manifest at the speed of compiled code.

Decoding a million lines one by one costs a million calls of everything. Here some hundred lines are
decoded by one call, and each rule is asked once for all of them. A batch in which anything is out
of the ordinary is refused (`None`), and the caller goes through it line by line: the plain code
decides, and it words the errors. So these functions may refuse too much, never accept too much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from json.encoder import encode_basestring_ascii
from operator import lt
from typing import Annotated, Any, Final

import msgspec

from t4_ops.checksums import Checksum
from t4_ops.keys import Limits, are_legal, tree_orders
from t4_ops.manifest.entry import MAX_SIZE_BYTES, NO_META, PLACES, Entry

# Shorter lines hold neither metadata nested too deeply nor numbers of too many digits:
# `canonical` bounds the first at 400 levels, each of which opens and closes.
_PLAIN_LINE_BYTES: Final = 800
_LONG_NUMBER: Final = re.compile(rb"[0-9]{1000}")
_REFUSALS: Final = (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError)


class _Number:
    """A float as `repr` writes it: other encoders write 1e16 and 1e-7 in other ways."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text)
        self.text = repr(number)


def _raw_number(value: object) -> msgspec.Raw:
    if not isinstance(value, _Number):
        raise TypeError(type(value).__name__)
    return msgspec.Raw(value.text.encode())


class _Key(msgspec.Struct, gc=False):
    logical_key: str


class _KeyAndSize(msgspec.Struct, gc=False):
    logical_key: str
    size: int | None = None


class _Hash(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    type: str
    value: str


_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE_BYTES)]


# Without its physical keys it is what is hashed: those are left out where they are the default.
class _Record(msgspec.Struct, gc=False, omit_defaults=True):
    logical_key: str
    hash: _Hash
    meta: dict[str, Any]
    size: _Size
    physical_keys: list[str] | None = None


class _Plain(msgspec.Struct, gc=False):
    logical_key: str
    meta: dict[str, Any]
    hash: _Hash | None = None
    size: _Size | None = None
    physical_keys: list[str] | None = None


class _Hashed(msgspec.Struct, gc=False):
    logical_key: str
    hash: _Hash
    meta: msgspec.Raw
    size: int


_decode_keys: Final = msgspec.json.Decoder(_Key).decode_lines
_decode_sizes: Final = msgspec.json.Decoder(_KeyAndSize).decode_lines
_decode_hashed: Final = msgspec.json.Decoder(_Record, float_hook=_Number).decode_lines
_decode_plain: Final = msgspec.json.Decoder(_Plain).decode_lines
_encoder: Final = msgspec.json.Encoder(order="sorted", enc_hook=_raw_number)
_NOTHING: Final = msgspec.Raw(b"{}")
# What a float, or a number that JSON has not, may look like; text may look like it too.
_FLOATS: Final = re.compile(rb"[0-9][.eE]|null")


def orders_of(
    block: bytes, count: int, limits: Limits, *, are_objects: bool = False
) -> list[str] | None:
    """Return the tree orders of the keys of some lines, or None if one of them may be wrong.

    Args:
        block: The lines.
        count: How many they are.
        limits: Bounds on keys.
        are_objects: Whether each was seen to begin with `{` and to end with `}`.
    """
    if not are_objects and not _is_record_a_line(block, count):
        return None
    try:
        keys = [record.logical_key for record in _decode_keys(block)]
    except _REFUSALS:
        return None
    return _orders(keys, count, limits)


def _is_record_a_line(block: bytes, count: int) -> bool:
    # The decoder takes line feeds for white space; here each must stand between two records. As
    # quilt3 and we write them that is found in half the time.
    if not block.startswith(b"{"):
        return False
    return block.count(b'}\n{"logical_') == count - 1 or block.count(b"}\n{") == count - 1


def _orders(keys: list[str], count: int, limits: Limits) -> list[str] | None:
    return tree_orders(keys) if len(keys) == count and are_legal(keys, limits) else None


def keys_of(block: bytes) -> list[str]:
    """Return the keys of some lines that were proved to be right."""
    return [record.logical_key for record in _decode_keys(block)]


def keys_and_sizes_of(block: bytes) -> tuple[list[str], list[int]]:
    """Return keys and sizes of the entries of some lines that were proved to be right."""
    records = _decode_sizes(block)
    return [r.logical_key for r in records], [r.size or 0 for r in records]


def are_in_order(orders: Sequence[str], previous: str) -> bool:
    """Return whether tree orders ascend, none stands twice and none is a folder of the next.

    Args:
        orders: At least one.
        previous: The one before; empty: there is none.
    """
    if previous and (previous >= orders[0] or _is_below(orders[0], previous)):
        return False
    if not all(map(lt, orders, islice(orders, 1, None))):
        return False
    # Few keys begin with the one before, and fewer of those lie below it.
    if not any(map(str.startswith, islice(orders, 1, None), orders)):
        return True
    return not any(map(_is_below, islice(orders, 1, None), orders))


def _is_below(order: str, folder: str) -> bool:
    return order.startswith(f"{folder}\0")


@dataclass(frozen=True, slots=True)
class HashedBlock:
    """What a batch of entries adds to a manifest.

    Attributes:
        text: Its part of what is hashed.
        size_bytes: Sum of the files' sizes.
        local_key: The first logical key whose physical key is a local file.
    """

    text: bytes
    size_bytes: int
    local_key: str | None


def hashed_block(block: bytes, is_plain: bool) -> HashedBlock | None:
    """Return what the lines of some entries add to a manifest, None if one may be wrong.

    Args:
        block: The lines.
        is_plain: What `is_plain_block` says of it.
    """
    records = _records_of(block) if is_plain else None
    return None if records is None else _hashed(records)


def ordered_block(
    block: bytes, count: int, limits: Limits, is_plain: bool
) -> tuple[list[str], HashedBlock] | None:
    """Return what `orders_of` and `hashed_block` do together, decoding the lines once.

    None if a line may be wrong, or one of them describes a directory.
    """
    if not is_plain or not _is_record_a_line(block, count):
        return None
    records = _records_of(block)
    if records is None:
        return None
    orders = _orders([record.logical_key for record in records], count, limits)
    found = None if orders is None else _hashed(records)
    return None if orders is None or found is None else (orders, found)


def _records_of(block: bytes) -> list[_Record] | None:
    try:
        return _decode_hashed(block)
    except _REFUSALS:
        return None


def _hashed(records: list[_Record]) -> HashedBlock | None:
    """Return what records add to a manifest; they lose their physical keys."""
    local_key: str | None = None
    for record in records:
        keys = record.physical_keys
        if not keys or not keys[0].startswith(PLACES):
            return None
        if local_key is None and not keys[0].startswith("s3://"):
            local_key = record.logical_key
        record.physical_keys = None
    try:
        text = _joined(_encoder.encode_lines(records))
    except _REFUSALS:
        return None
    return HashedBlock(text, sum([record.size for record in records]), local_key)


def entries_of(block: bytes, is_plain: bool) -> list[Entry] | None:
    """Return the entries of some lines, None if a line may be wrong or describes a directory."""
    if not is_plain:
        return None
    try:
        found = []
        for record in _decode_plain(block):
            keys, held = record.physical_keys, record.hash
            if not keys or not keys[0].startswith(PLACES):
                return None
            checksum = None if held is None else Checksum(held.type, held.value)
            meta = record.meta or NO_META
            found.append(Entry(record.logical_key, keys[0], record.size, checksum, meta))
    except _REFUSALS:
        return None
    return found


def is_plain_block(block: bytes, longest_bytes: int) -> bool:
    """Return whether no line can hold metadata nested too deeply or a number of endless digits.

    Args:
        block: The lines.
        longest_bytes: At least the size of the longest of them.
    """
    if longest_bytes <= _PLAIN_LINE_BYTES:
        return True
    if _LONG_NUMBER.search(block) is not None:
        return False
    return all(
        line.count(b"[") + line.count(b"{") < _PLAIN_LINE_BYTES // 2
        for line in block.split(b"\n")
        if len(line) > _PLAIN_LINE_BYTES
    )


def hashed_entries(
    entries: Sequence[Entry], canonical_json: Callable[[object], str]
) -> bytes | None:
    """Return what entries add to a top hash, None if one may be wrong.

    Args:
        entries: The entries.
        canonical_json: The plain encoder, for metadata with numbers that others write otherwise.
    """
    records = []
    try:
        for entry in entries:
            checksum, size_bytes = entry.hash, entry.size_bytes
            if checksum is None or size_bytes is None:
                return None
            meta = _NOTHING
            if entry.meta:
                raw = _encoder.encode(entry.meta)
                if _FLOATS.search(raw):
                    raw = canonical_json(entry.meta).encode()
                meta = msgspec.Raw(raw)
            held = _Hash(checksum.type, checksum.value)
            records.append(_Hashed(entry.logical_key, held, meta, size_bytes))
        return _joined(_encoder.encode_lines(records))
    except (*_REFUSALS, TypeError):
        return None


def _joined(lines: bytes) -> bytes:
    """Return what `encode_lines` gave without line feeds, and ASCII only."""
    has_delete = b"\x7f" in lines
    if lines.isascii() and not has_delete:
        return lines.replace(b"\n", b"")
    return b"".join([_ascii(x) if has_delete or not x.isascii() else x for x in lines.split(b"\n")])


def _ascii(text: bytes) -> bytes:
    r"""Return JSON text with every character beyond ASCII, and DEL, as `\uXXXX`.

    The compiled encoder of strings does it to the whole text at once, and escapes quotes and
    backslashes on top; in its result each quote has its own backslash right before it, and the
    remaining ones stand in pairs or begin a `\uXXXX`, so both are taken off again.
    """
    escaped = encode_basestring_ascii(text.decode())[1:-1]
    return escaped.replace('\\"', '"').replace("\\\\", "\\").encode()

"""One entry of a manifest, and its record on a line of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import msgspec

from t4_ops.checksums import Checksum
from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.keys import Limits, logical_key_problem
from t4_ops.manifest.canonical import (
    canonical_json,
    canonical_str,
    parse_json,
    stored_json,
    stored_jsons,
    stored_str,
)

USER_META: Final = "user_meta"
"""Where user metadata sits in an entry's `meta` and in the header. Source: quilt3."""


class _NoMeta(dict[str, Any]):
    """Metadata that is none and stays none: what one user wrote there all entries would have."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("metadata of an entry can't be changed in place: use set_meta")

    __setitem__ = __ior__ = setdefault = update = _refuse

    def __reduce__(self) -> str:
        return "NO_META"


NO_META: Final[Mapping[str, Any]] = _NoMeta()
"""For entries without metadata: one for all, since a million empty ones take 64 MB."""


# Made for every file, sometimes twice: as a struct in a quarter of a dataclass's time.
class Entry(msgspec.Struct, frozen=True, gc=False):
    """One file of a package.

    Attributes:
        logical_key: Its path in the package.
        physical_key: Its URL, `s3://...` or `file:///...`.
        size_bytes: Its size; None until it is known.
        hash: Its hash; None until the package is built.
        meta: The record's `meta`: user metadata under `user_meta`, and what formats remember.
    """

    logical_key: str
    physical_key: str
    size_bytes: int | None = None
    hash: Checksum | None = None
    meta: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def but(self, **changes: Any) -> Entry:
        """Return the entry with other values of the attributes that are named."""
        return msgspec.structs.replace(self, **changes)

    def same_content(self, other: Entry) -> bool:
        """Return whether size, hash and metadata are equal; places don't count."""
        if self.size_bytes != other.size_bytes or self.hash != other.hash:
            return False
        mine, others = dict(self.meta), dict(other.meta)
        if mine != others or not mine:
            return mine == others
        # Compared as they are hashed: 1, 1.0 and true are equal in Python only.
        return canonical_json(mine) == canonical_json(others)


class _Hash(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    value: str


class _Record(msgspec.Struct):
    logical_key: str
    physical_keys: list[str] | None = None
    size: int | None = None
    hash: _Hash | None = None
    meta: msgspec.Raw = msgspec.Raw()


class _KeyRecord(msgspec.Struct):
    logical_key: str


@dataclass(frozen=True, slots=True)
class Directory:
    """A record that gives a directory its metadata. It is stored, but not hashed."""

    key: str
    meta: Mapping[str, Any]


_decode: Final = msgspec.json.Decoder(_Record).decode
_decode_key: Final = msgspec.json.Decoder(_KeyRecord).decode
_EMPTY_METAS: Final = (b"{}", b"null")
MAX_SIZE_BYTES: Final = 2**63 - 1
"""Largest size of a file; no file system and no object store counts further."""
PLACES: Final = ("s3://", "file:///", "file://localhost/")
"""What a physical key may begin with. Source: quilt3."""


def decode_key(line: bytes, number: int) -> str:
    """Return the logical key of a record; a directory's ends in `/`.

    Raises:
        FormatError: The line is no record.
    """
    try:
        return _decode_key(line).logical_key
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise _not_a_record(number, exc) from exc


def check_key(key: str, number: int, limits: Limits) -> None:
    """Refuse a logical key that breaks the rules.

    Raises:
        FormatError: It does; manifests may be hostile, so every one is checked.
    """
    problem = logical_key_problem(key, limits)
    if problem is not None:
        raise FormatError(
            f"manifest line {number}: logical key {key!r} is refused: {problem}",
            key=key,
            line=number,
        )


def decode_record(line: bytes, number: int) -> Entry | Directory:
    """Return the entry or directory of a record.

    Args:
        line: The line, without its line feed.
        number: Its one-based number, for messages.

    Raises:
        FormatError: The line is no record, or a field is missing or wrong.
    """
    try:
        record = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise _not_a_record(number, exc) from exc
    key = record.logical_key
    raw = bytes(record.meta)
    if not raw or raw in _EMPTY_METAS:
        meta = NO_META
    else:
        meta = parse_json(raw, f"manifest line {number}: metadata of {key!r}", number)
    problem = _problem(record, raw, meta)
    if problem is not None:
        raise FormatError(f"manifest line {number}: {key!r} {problem}", key=key, line=number)
    if not record.physical_keys:
        return Directory(key, meta)
    checksum = None if record.hash is None else Checksum(record.hash.type, record.hash.value)
    return Entry(key, record.physical_keys[0], record.size, checksum, meta)


def decode_entry(line: bytes, number: int) -> Entry:
    """Return the entry of a record.

    Args:
        line: The line, without its line feed.
        number: Its one-based number, for messages.

    Raises:
        FormatError: The line is no record of an entry, or a field is missing or wrong.
    """
    record = decode_record(line, number)
    if isinstance(record, Directory):
        raise FormatError(f"manifest line {number} is no entry", line=number)
    return record


def _not_a_record(number: int, exc: Exception) -> FormatError:
    return FormatError(
        f"manifest line {number} is no record: {exc}; the manifest is damaged or cut off",
        line=number,
    )


def _problem(record: _Record, raw_meta: bytes, meta: object) -> str | None:
    is_directory = record.logical_key.endswith("/")
    if not raw_meta:
        return "has no meta"
    if not isinstance(meta, dict):
        return "has metadata that is no mapping"
    if is_directory:
        return "is a directory, but has physical keys" if record.physical_keys else None
    if not record.physical_keys:
        # quilt3 takes such a record for metadata of the parent and overwrites it.
        return "has no physical key"
    if not record.physical_keys[0].startswith(PLACES):
        return f"has a physical key that is no s3:// or file:// URL: {record.physical_keys[0]!r}"
    if record.size is not None and not 0 <= record.size <= MAX_SIZE_BYTES:
        return f"has the size {record.size}"
    return None


def encode_entry(entry: Entry, limits: Limits) -> bytes:
    """Return the record of an entry, with its line feed.

    Raises:
        InvalidInputError: The record is larger than the limit, or not valid Unicode.
    """
    meta = stored_json(entry.meta) if entry.meta else "{}"
    return _line(_text(entry, meta), f"entry {entry.logical_key!r}", limits)


def _text(entry: Entry, meta: str) -> str:
    size = "null" if entry.size_bytes is None else str(entry.size_bytes)
    checksum = "null"
    if entry.hash is not None:
        kind, value = stored_str(entry.hash.type), stored_str(entry.hash.value)
        checksum = f'{{"type": {kind}, "value": {value}}}'
    key, url = stored_str(entry.logical_key), stored_str(entry.physical_key)
    return (
        f'{{"logical_key": {key}, "physical_keys": [{url}], "size": {size},'
        f' "hash": {checksum}, "meta": {meta}}}\n'
    )


def encode_entries(entries: Sequence[Entry], limits: Limits) -> bytes:
    """Return the records of many entries; what it gives and raises is that of `encode_entry`."""
    try:
        metas = iter(stored_jsons([entry.meta for entry in entries if entry.meta]))
        texts = [_text(entry, next(metas) if entry.meta else "{}") for entry in entries]
        data = "".join(texts).encode()
    except (ValueError, RecursionError):
        # One of them is wrong, and is told by itself.
        return b"".join([encode_entry(entry, limits) for entry in entries])
    # No character takes more than four bytes.
    if 4 * max(map(len, texts), default=0) > limits.record_write_bytes:
        return b"".join([encode_entry(entry, limits) for entry in entries])
    return data


def encode_directory(directory: Directory, limits: Limits) -> bytes:
    """Return the record of a directory's metadata, with its line feed.

    Raises:
        InvalidInputError: The record is larger than the limit.
    """
    text = stored_json({"logical_key": directory.key, "meta": dict(directory.meta)})
    return _line(f"{text}\n", f"directory {directory.key!r}", limits)


def encode_header(header: Mapping[str, Any], limits: Limits) -> bytes:
    """Return the header's line.

    Raises:
        InvalidInputError: It is larger than the limit.
    """
    return _line(f"{stored_json(dict(header))}\n", "the package's message and metadata", limits)


def _line(text: str, what: str, limits: Limits) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInputError(f"{what} is not valid Unicode: {exc}") from exc
    # quilt3 measures the record without its line feed.
    if len(data) - 1 > limits.record_write_bytes:
        raise InvalidInputError(
            f"the manifest record of {what} would be {len(data) - 1} bytes, more than"
            f" {limits.record_write_bytes}: put large metadata into a file of the package"
        )
    return data


def hashed_part(entry: Entry) -> str:
    """Return what an entry adds to the top hash: canonical JSON of hash, key, meta and size.

    Raises:
        FormatError: Hash or size are missing, so the package has no top hash.
    """
    if entry.hash is None or entry.size_bytes is None:
        raise FormatError(
            f"{entry.logical_key!r} has no hash or size, so there is no top hash: build the"
            " package",
            key=entry.logical_key,
        )
    kind, value = canonical_str(entry.hash.type), canonical_str(entry.hash.value)
    try:
        meta = canonical_json(entry.meta) if entry.meta else "{}"
    except (ValueError, RecursionError) as exc:
        raise FormatError(
            f"metadata of {entry.logical_key!r} can't be hashed: {exc}", key=entry.logical_key
        ) from exc
    return (
        f'{{"hash":{{"type":{kind},"value":{value}}},"logical_key":{canonical_str(entry.logical_key)},'
        f'"meta":{meta},"size":{entry.size_bytes}}}'
    )

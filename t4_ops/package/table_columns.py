"""The columns of the table that a package holds, as far as they are cheap to know.

Only Parquet files that are here are looked at: their schemas are a few hundred bytes near the end.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from t4_ops.errors import FormatError, T4Error
from t4_ops.formats import ParquetColumn, parquet_columns
from t4_ops.keys import PhysicalKey
from t4_ops.ledger import Column
from t4_ops.manifest import Entry
from t4_ops.package.contents import Contents
from t4_ops.settings import Settings
from t4_ops.storage import open_source
from t4_ops.transfer import OBJECT_SCHEME, Opener, read_verified

MAX_TABLES: Final = 20
"""Most Parquet files of one package that are looked at; a package of more tells no columns."""
MAX_ENTRIES: Final = 10_000
"""Most entries that are searched for them."""
VERIFIED_MAX_BYTES: Final = 8 * 1024 * 1024
"""Largest file that is read whole to see whether it is still what its hash says."""
_EXTENSIONS: Final = (".parquet", ".pq")


def table_columns(contents: Contents, prefix: str, settings: Settings) -> tuple[Column, ...]:
    """Return the columns of a package's table.

    Files with the same columns are one table in parts. Files that differ are a struct each, named
    by logical key. Nothing is told if there are too many files, or one of them is elsewhere, is
    not the package's any more or can't be read: half a schema would be a wrong one.

    Args:
        contents: The package.
        prefix: Directory of it, ending in `/`; empty for all.
        settings: How to read files of it.
    """
    entries = list(islice(contents.entries(prefix), MAX_ENTRIES + 1))
    tables = [entry for entry in entries if entry.logical_key.lower().endswith(_EXTENSIONS)]
    if len(entries) > MAX_ENTRIES or not 0 < len(tables) <= MAX_TABLES:
        return ()
    try:
        found = {
            entry.logical_key[len(prefix) :]: tuple(
                map(_column, _columns(entry, contents, settings))
            )
            for entry in tables
        }
    except T4Error:
        # Building or pushing this entry says what is wrong with it, if anything is.
        return ()
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return tuple(Column(key, "struct", columns) for key, columns in found.items())


def _columns(entry: Entry, contents: Contents, settings: Settings) -> tuple[ParquetColumn, ...]:
    url = entry.physical_key
    if url.startswith(OBJECT_SCHEME):
        payload = contents.payloads[url]
        if payload.path is not None:
            return _columns_of_file(str(payload.path))
        return _columns_of_bytes(payload.data or b"")
    place = PhysicalKey.parse(url)
    if not place.is_local:
        raise FormatError(f"{url} is not here", key=url)
    if entry.hash is None:
        # It is hashed as it is now.
        return _columns_of_file(place.path)
    if (entry.size_bytes or 0) > VERIFIED_MAX_BYTES:
        raise FormatError(f"{url} is too large to see whether it was changed", key=url)
    return _columns_of_bytes(read_verified(entry, Opener(settings, roots=contents.roots)))


def _columns_of_bytes(data: bytes) -> tuple[ParquetColumn, ...]:
    return parquet_columns(len(data), lambda start, end: data[start:end])


def _columns_of_file(path: str) -> tuple[ParquetColumn, ...]:
    with open_source(path) as source:
        return parquet_columns(
            source.size_bytes,
            lambda start, end: b"".join(bytes(piece) for piece in source.pieces(start, end)),
        )


def _column(found: ParquetColumn) -> Column:
    return Column(found.name, found.type, tuple(map(_column, found.columns)))

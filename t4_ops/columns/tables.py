"""Entries as columns, one row each, made in batches so that Python objects never pile up."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from t4_ops.errors import InvalidInputError, StorageError
from t4_ops.manifest import USER_META, Entry, stored_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    ArrowTable = pa.Table
    DataFrame = pd.DataFrame

COLUMNS: Final = ("logical_key", "physical_key", "size_bytes", "hash_type", "hash_value", "meta")
"""The columns. All are text but for `size_bytes`; `meta` is the user metadata as JSON, null where
there is none; size and hash are null where they are not known yet."""
_BATCH_ROWS: Final = 10_000
# Row groups of this size let an SQL engine skip most of a large table and stay some MB each.
_GROUP_ROWS: Final = 100_000


def arrow_table(entries: Iterable[Entry], facts: Mapping[str, str]) -> pa.Table:
    """Return entries as an Arrow table.

    Args:
        entries: The entries.
        facts: What the schema's metadata is to say of the package.
    """
    import pyarrow as pa

    schema = _schema(facts)
    return pa.Table.from_batches(_batches(entries, schema), schema)


def data_frame(entries: Iterable[Entry], facts: Mapping[str, str]) -> pd.DataFrame:
    """Return entries as a pandas frame; arguments are those of `arrow_table`."""
    frame: pd.DataFrame = arrow_table(entries, facts).to_pandas()
    return frame


def write_parquet(entries: Iterable[Entry], path: str, facts: Mapping[str, str]) -> None:
    """Write entries to a Parquet file, which is there when it is complete.

    Args:
        entries: The entries.
        path: The file; what it was is replaced.
        facts: What the schema's metadata is to say of the package.

    Raises:
        InvalidInputError: The path is a folder, or its folder is not there.
        StorageError: The file can't be written.
    """
    import pyarrow.parquet as pq

    folder, name = os.path.split(os.path.abspath(path))
    if not name or os.path.isdir(path) or not os.path.isdir(folder):
        raise InvalidInputError(f"{path!r} can't be a file: name one in a folder", key=path)
    schema = _schema(facts)
    # A name that scans pass over and `clean` finds, should we die: `storage.is_temporary`.
    temporary = os.path.join(folder, f".t4-{secrets.token_hex(8)}.tmp")
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            rest = iter(entries)
            while group := list(_batches(islice(rest, _GROUP_ROWS), schema)):
                writer.write_table(_joined(group), row_group_size=_GROUP_ROWS)
        os.replace(temporary, path)
    except OSError as exc:
        raise StorageError(f"{path} was not written: {exc.strerror or exc}", key=path) from exc
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _joined(batches: list[pa.RecordBatch]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_batches(batches)


def _schema(facts: Mapping[str, str]) -> pa.Schema:
    import pyarrow as pa

    types = {"size_bytes": pa.int64()}
    fields = [pa.field(name, types.get(name, pa.string())) for name in COLUMNS]
    return pa.schema(fields, {f"t4_ops.{name}": value for name, value in facts.items()})


def _batches(entries: Iterable[Entry], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    rest = iter(entries)
    while batch := list(islice(rest, _BATCH_ROWS)):
        columns: tuple[list[Any], ...] = (
            [entry.logical_key for entry in batch],
            [entry.physical_key for entry in batch],
            [entry.size_bytes for entry in batch],
            [None if entry.hash is None else entry.hash.type for entry in batch],
            [None if entry.hash is None else entry.hash.value for entry in batch],
            [_meta(entry) for entry in batch],
        )
        yield pa.record_batch(
            [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)],
            schema=schema,
        )


def _meta(entry: Entry) -> str | None:
    meta = entry.meta.get(USER_META)
    return stored_json(meta) if meta else None

"""Parquet as pandas DataFrames or Arrow Tables."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from t4_ops.errors import FormatError, InvalidInputError
from t4_ops.formats.base import FormatHandler
from t4_ops.formats.parquet_footer import footer_bytes
from t4_ops.formats.parquet_sizes import Chunk, read_chunks
from t4_ops.formats.tables import (
    TABLE_WORDS,
    arrow_reader,
    check_as_arrow,
    is_table,
    refuse_pickled_types,
    to_frame,
    to_table,
)

# What pyarrow.parquet.write_table compresses with.
_CODECS: Final = ("snappy", "gzip", "brotli", "zstd", "lz4", "none")
# quilt3 8.0.0 (ParquetFormatHandler.defaults).
_DEFAULT_CODEC: Final = "snappy"

# Most rows decoded at a time where a bound has to be watched.
_MAX_BATCH_ROWS: Final = 1024 * 1024
# One batch may take this part of the bound, so that little more than the bound is ever held.
_BATCH_SHARE: Final = 8


class ParquetHandler(FormatHandler):
    """Parquet, with the bytes and the metadata of quilt3 8.0.0.

    Options: `compression`, a codec or a dict of column to codec, for writing (quilt3 keeps it
    beside the format's name, not under `opts`); `as_arrow=True` to read a Table instead of a
    DataFrame (remembered if it is given at writing). "pyarrow" is what older Quilt clients
    called the format.
    """

    name = "parquet"
    aliases = ("pyarrow",)
    extensions = ("parquet", "pq")
    opts = ("compression", "as_arrow")
    accepts = TABLE_WORDS

    def handles(self, obj: object) -> bool:
        """Whether `obj` is a DataFrame or a Table."""
        return is_table(obj)

    def check_opts(self, opts: Mapping[str, object]) -> None:
        """Check the codec names and `as_arrow`."""
        compression = opts.get("compression", _DEFAULT_CODEC)
        codecs = compression.values() if isinstance(compression, Mapping) else [compression]
        for codec in codecs:
            if not isinstance(codec, str) or codec.lower() not in _CODECS:
                raise InvalidInputError(
                    f"the option compression takes one of {', '.join(_CODECS)}, or a dict of "
                    f"column to one of them, not {codec!r}"
                )
        check_as_arrow(opts.get("as_arrow", False))

    def serialize(
        self,
        obj: object,
        *,
        extension: str,  # noqa: ARG002
        opts: Mapping[str, object],
    ) -> tuple[bytes, dict[str, object]]:
        """Write one file."""
        from pyarrow import parquet

        compression = opts.get("compression", _DEFAULT_CODEC)
        table = to_table(obj)
        if table.num_rows and not table.num_columns:
            raise InvalidInputError("rows without a column are lost in Parquet; use .arrow")
        buffer = io.BytesIO()
        parquet.write_table(table, buffer, compression=compression)
        remembered: dict[str, object] = {"compression": compression}
        if "as_arrow" in opts:
            remembered["opts"] = {"as_arrow": opts["as_arrow"]}
        return buffer.getvalue(), remembered

    def deserialize(
        self,
        data: bytes,
        *,
        extension: str,  # noqa: ARG002
        opts: Mapping[str, object],
        max_size_bytes: int,
    ) -> object:
        """Read a DataFrame or a Table, without ever decoding more than the bound."""
        from pyarrow import parquet

        # All of this comes before pyarrow sees the file.
        footer = footer_bytes(data)
        refuse_pickled_types(footer)
        chunks = list(read_chunks(data, footer))
        certain_bytes = sum(chunk.decoded_bytes for chunk in chunks)
        if certain_bytes > max_size_bytes:
            raise _too_large(certain_bytes, max_size_bytes)
        longest = _longest_repeats(data, chunks, max_size_bytes - certain_bytes)
        file = parquet.ParquetFile(arrow_reader(data))
        table = _read_watched(file, longest, max_size_bytes) if longest else file.read()
        return table if opts.get("as_arrow") else to_frame(table)


def _too_large(size_bytes: int, max_size_bytes: int) -> FormatError:
    return FormatError(
        f"it decodes to {size_bytes:,} bytes or more, above {max_size_bytes:,}; "
        "raise max_size_bytes if you trust it"
    )


def _longest_repeats(
    data: bytes, chunks: Sequence[Chunk], spare_bytes: int
) -> dict[tuple[str, int], int]:
    """Which columns could break the bound by repeating stored strings.

    Args:
        data: The whole file.
        chunks: All its column chunks.
        spare_bytes: What the bound leaves for repetitions.

    Returns:
        Column and row group -> longest value in bytes. Empty if all fits even if every value
        were the longest, so that the file can be read at full speed.

    Raises:
        FormatError: A list column could break it; those can't be read row by row.
    """
    repeating = [chunk for chunk in chunks if chunk.repeats_dictionary or chunk.repeats_prefixes]
    # A page bounds the longest value for free; the dictionary itself must be read to be exact.
    if sum(chunk.values * chunk.largest_page_bytes for chunk in repeating) <= spare_bytes:
        return {}
    longest = {(chunk.path, chunk.row_group): _longest_string(data, chunk) for chunk in repeating}
    worst = [chunk.values * longest[chunk.path, chunk.row_group] for chunk in repeating]
    if sum(worst) <= spare_bytes:
        return {}
    in_lists = sum(size for size, chunk in zip(worst, repeating, strict=True) if chunk.is_repeated)
    if in_lists > spare_bytes:
        raise _too_large(in_lists, spare_bytes)
    return longest


def _longest_string(data: bytes, chunk: Chunk) -> int:
    """The longest string of a chunk: of its dictionary, read with the first row, or any page."""
    import pyarrow as pa
    from pyarrow import parquet

    if chunk.repeats_prefixes:
        return chunk.largest_page_bytes
    # Read by this thread alone, so Python's memory will do.
    file = parquet.ParquetFile(pa.BufferReader(data), read_dictionary=[chunk.path])
    batches = file.iter_batches(
        batch_size=1, row_groups=[chunk.row_group], columns=[chunk.path], use_threads=False
    )
    for batch in batches:
        for dictionary in _dictionaries(batch.columns):
            return _longest_of(dictionary)
    return chunk.largest_page_bytes


def _dictionaries(arrays: Iterable[Any]) -> Iterator[Any]:
    """The dictionaries inside arrays of any nesting."""
    import pyarrow as pa

    for array in arrays:
        if isinstance(array, pa.DictionaryArray):
            yield array.dictionary
        elif isinstance(array, pa.StructArray):
            yield from _dictionaries(array.flatten())
        elif isinstance(array, pa.MapArray):
            yield from _dictionaries([array.keys, array.items])
        elif isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
            yield from _dictionaries([array.values])


def _longest_of(strings: Any) -> int:
    from pyarrow import compute

    return compute.max(compute.binary_length(strings)).as_py() or 0


def _read_watched(file: Any, longest: Mapping[tuple[str, int], int], max_size_bytes: int) -> Any:
    """Read so few rows at a time that the bound is seen before it is far behind."""
    import pyarrow as pa

    batches, size_bytes = [], 0
    row_bytes = Counter[int]()
    for (_, row_group), length in longest.items():
        row_bytes[row_group] += length
    batch_rows = max(
        1, min(_MAX_BATCH_ROWS, max_size_bytes // _BATCH_SHARE // max(1, *row_bytes.values()))
    )
    for batch in file.iter_batches(batch_size=batch_rows):
        size_bytes += batch.nbytes
        if size_bytes > max_size_bytes:
            raise _too_large(size_bytes, max_size_bytes)
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=file.schema_arrow).unify_dictionaries()

"""How large a Parquet file becomes when it is decoded, found without decoding it.

The footer's own sizes are claims of whoever wrote it, so the page headers are walked: theirs
are the sizes that the reader allocates. Encodings that repeat values (a dictionary; shared
prefixes) make columns far larger than their pages; those are told apart.

Source: parquet.thrift of the Apache Parquet format (PageHeader, Encoding, Type).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from t4_ops.errors import FormatError
from t4_ops.formats.parquet_footer import ColumnPlace, Leaf, parse_footer
from t4_ops.formats.thrift import STRUCT, CompactReader

# Numbers of physical types, and bytes of one decoded value (Arrow keeps INT96 as a 64-bit
# timestamp; of a byte array this is the offset, the content is counted apart).
_BYTE_ARRAY: Final = 6
_WIDTH_BYTES: Final = {0: 1, 1: 4, 2: 8, 3: 8, 4: 4, 5: 8, _BYTE_ARRAY: 4}
# Each value of a list also costs offsets.
_LIST_BYTES: Final = 8

# Encoding numbers by which one stored value can become many.
_PLAIN_DICTIONARY, _DELTA_BYTE_ARRAY, _RLE_DICTIONARY = 2, 7, 8
_DICTIONARY_ENCODINGS: Final = frozenset({_PLAIN_DICTIONARY, _RLE_DICTIONARY})

# Field numbers of PageHeader, and of the number of values and the encoding in the header of a
# data page of version 1 (field 5) and 2 (field 8).
_UNCOMPRESSED_SIZE, _COMPRESSED_SIZE, _DATA_V1, _DATA_V2 = 2, 3, 5, 8
_VALUES_FIELD: Final = 1
_ENCODING_FIELD: Final = {_DATA_V1: 2, _DATA_V2: 4}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of one row group.

    Attributes:
        path: Dotted path of the column.
        row_group: Its number.
        values: How many values come out, at most.
        is_repeated: Whether a row may hold several of them.
        decoded_bytes: What they take when decoded, if each stored string comes out once.
        largest_page_bytes: The largest page, decompressed: no single value can be longer.
        repeats_dictionary: Strings refer to a dictionary and may come out many times.
        repeats_prefixes: Strings refer to the one before and may share any length with it.
    """

    path: str
    row_group: int
    values: int
    is_repeated: bool
    decoded_bytes: int
    largest_page_bytes: int
    repeats_dictionary: bool
    repeats_prefixes: bool


def read_chunks(data: bytes, footer: bytes) -> Iterator[Chunk]:
    """Measure every column of every row group.

    Args:
        data: The whole file.
        footer: Its footer, as `footer_bytes` gives it.

    Raises:
        FormatError: The footer or a page header can't be read.
    """
    leaves, groups = parse_footer(footer)
    for number, group in enumerate(groups):
        for leaf, place in zip(leaves, group.columns, strict=True):
            yield _measure(data, leaf, place, number, group.num_rows)


def _measure(data: bytes, leaf: Leaf, place: ColumnPlace, group: int, num_rows: int) -> Chunk:
    pages = _Pages()
    try:
        pages.walk(data, place)
    except (IndexError, ValueError) as error:
        raise FormatError(
            f"the pages of its column {leaf.path!r} can't be read: {error}"
        ) from error
    values = max(place.num_values, num_rows)
    width_bytes = _WIDTH_BYTES.get(leaf.physical_type, leaf.length_bytes)
    fixed_bytes = values * (width_bytes + (_LIST_BYTES if leaf.is_repeated else 0))
    is_string = leaf.physical_type == _BYTE_ARRAY
    return Chunk(
        path=leaf.path,
        row_group=group,
        values=values,
        is_repeated=leaf.is_repeated,
        decoded_bytes=(
            fixed_bytes + pages.total_bytes if is_string else max(fixed_bytes, pages.total_bytes)
        ),
        largest_page_bytes=pages.largest_bytes,
        repeats_dictionary=is_string and bool(pages.encodings & _DICTIONARY_ENCODINGS),
        repeats_prefixes=is_string and _DELTA_BYTE_ARRAY in pages.encodings,
    )


class _Pages:
    """Sums over the pages of a column chunk."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self.largest_bytes = 0
        self.encodings: set[int] = set()

    def walk(self, data: bytes, place: ColumnPlace) -> None:
        """Read page headers until the chunk's values are all seen, where Arrow stops too."""
        position, seen = place.first_page, 0
        while seen < place.num_values:
            reader = CompactReader(data, position)
            sizes = {_UNCOMPRESSED_SIZE: -1, _COMPRESSED_SIZE: -1}
            for field, kind in reader.fields():
                if field in sizes:
                    sizes[field] = reader.integer()
                elif field in _ENCODING_FIELD and kind == STRUCT:
                    seen += self._read_data_header(reader, _ENCODING_FIELD[field])
                else:
                    reader.skip(kind)
            if min(sizes.values()) < 0:
                raise ValueError("a page without a size")
            self.total_bytes += sizes[_UNCOMPRESSED_SIZE]
            self.largest_bytes = max(self.largest_bytes, sizes[_UNCOMPRESSED_SIZE])
            position = reader.position + sizes[_COMPRESSED_SIZE]

    def _read_data_header(self, reader: CompactReader, encoding_field: int) -> int:
        values = 0
        for field, kind in reader.fields():
            if field == _VALUES_FIELD:
                values = max(0, reader.integer())
            elif field == encoding_field:
                self.encodings.add(reader.integer())
            else:
                reader.skip(kind)
        return values

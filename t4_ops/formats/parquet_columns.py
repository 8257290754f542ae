"""The columns of a Parquet file and their types, from the schema in its footer alone.

Source: parquet.thrift of the Apache Parquet format (FileMetaData, SchemaElement, ConvertedType,
LogicalType). Written for hostile input like `parquet_footer`; the rows' own metadata is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from t4_ops.errors import FormatError
from t4_ops.formats.thrift import CompactReader

MAX_COLUMNS: Final = 2000
"""Most columns, nested ones included, of a file whose columns are told."""
SCHEMA_MAX_BYTES: Final = 1024 * 1024
"""Most bytes of a footer that are read; the schema is at its front."""
_MAX_DEPTH: Final = 20
# A file ends with its footer, the footer's length (little endian) and the magic number.
_TAIL_BYTES: Final = 8
_MAGIC: Final = b"PAR1"

# Field numbers.
_FILE_SCHEMA: Final = 2
_TYPE, _NAME, _CHILDREN, _CONVERTED, _SCALE, _PRECISION, _LOGICAL = 1, 4, 5, 6, 7, 8, 10

_PHYSICAL: Final = ("boolean", "int32", "int64", "int96", "float", "double", "binary", "binary")
# By number of ConvertedType; writers set it besides the newer LogicalType where there is one.
_CONVERTED_TYPES: Final = {
    0: "string",
    1: "map",
    2: "map",
    3: "list",
    4: "string",
    5: "decimal",
    6: "date",
    7: "time",
    8: "time",
    9: "timestamp",
    10: "timestamp",
    11: "uint8",
    12: "uint16",
    13: "uint32",
    14: "uint64",
    15: "int8",
    16: "int16",
    17: "int32",
    18: "int64",
    19: "json",
    20: "bson",
    21: "interval",
}
# By field number of the LogicalType union.
_LOGICAL_TYPES: Final = {
    1: "string",
    2: "map",
    3: "list",
    4: "string",
    5: "decimal",
    6: "date",
    7: "time",
    8: "timestamp",
    11: "null",
    12: "json",
    13: "bson",
    14: "uuid",
    15: "float16",
}


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    """A column of a Parquet file.

    Attributes:
        name: Its name.
        type: Its logical type if it has one, else its physical one; `struct` for a group.
        columns: What a `struct` consists of.
    """

    name: str
    type: str
    columns: tuple[ParquetColumn, ...] = ()


@dataclass(slots=True)
class _Group:
    name: str
    type: str
    waiting: int
    columns: list[ParquetColumn] = field(default_factory=list)


def parquet_columns(
    size_bytes: int, read: Callable[[int, int], bytes]
) -> tuple[ParquetColumn, ...]:
    """Return the columns of a Parquet file; reads at most `SCHEMA_MAX_BYTES` near its end.

    Args:
        size_bytes: Size of the file.
        read: Returns the bytes from an offset to before another.

    Raises:
        FormatError: It is no Parquet file, can't be read, or has more than `MAX_COLUMNS` columns.
    """
    tail = read(max(0, size_bytes - _TAIL_BYTES), size_bytes)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > size_bytes - _TAIL_BYTES:
        raise FormatError("this is not a Parquet file, or its end is cut off")
    start = size_bytes - _TAIL_BYTES - length
    # The schema is at the front; the rows' own metadata behind it may be large.
    reader = CompactReader(read(start, start + min(length, SCHEMA_MAX_BYTES)), 0)
    try:
        for number, kind in reader.fields():
            if number == _FILE_SCHEMA:
                return _tree(_element(reader) for _ in reader.elements(kind))
            reader.skip(kind)
    except (IndexError, ValueError, StopIteration) as error:
        raise FormatError(f"the schema of this Parquet file can't be read: {error}") from error
    raise FormatError("this Parquet file has no schema")


def _tree(elements: Iterator[_Group]) -> tuple[ParquetColumn, ...]:
    """Put together what is stored depth first, its root at the front."""
    open_groups = [next(elements)]
    count = 0
    while True:
        group = open_groups[-1]
        if group.waiting > 0:
            group.waiting -= 1
            count += 1
            element = next(elements)
            if count > MAX_COLUMNS or len(open_groups) > _MAX_DEPTH:
                raise ValueError("the schema has too many columns, or is too deep")
            open_groups.append(element)
            continue
        open_groups.pop()
        if not open_groups:
            return tuple(group.columns)
        # What a list or a map is made of in the file is its own business.
        inner = tuple(group.columns) if group.type == "struct" else ()
        open_groups[-1].columns.append(ParquetColumn(group.name, group.type, inner))


def _element(reader: CompactReader) -> _Group:
    numbers: dict[int, int] = {}
    name, logical = "", None
    for number, kind in reader.fields():
        if number == _NAME:
            name = reader.binary().decode("utf-8", "replace")
        elif number in (_TYPE, _CHILDREN, _CONVERTED, _SCALE, _PRECISION):
            numbers[number] = reader.integer()
        elif number == _LOGICAL:
            for choice, inner in reader.fields():
                logical = _LOGICAL_TYPES.get(choice, logical)
                reader.skip(inner)
        else:
            reader.skip(kind)
    known = _CONVERTED_TYPES.get(numbers.get(_CONVERTED, -1), logical)
    if known == "decimal":
        known = f"decimal({numbers.get(_PRECISION, 0)},{numbers.get(_SCALE, 0)})"
    physical = numbers.get(_TYPE, -1)
    plain = _PHYSICAL[physical] if 0 <= physical < len(_PHYSICAL) else "struct"
    return _Group(name, known or plain, max(0, numbers.get(_CHILDREN, 0)))

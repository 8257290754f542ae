"""The footer of a Parquet file: which columns it has and where their pages begin.

pyarrow can tell this too, but it ends the whole process when the statistics of a hostile footer
don't add up, and it follows a schema of any depth. So the footer is read here first.

Source: parquet.thrift of the Apache Parquet format (FileMetaData, SchemaElement, RowGroup,
ColumnChunk, ColumnMetaData) and "File Format" for what surrounds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from t4_ops.errors import FormatError
from t4_ops.formats.thrift import CompactReader

# A file ends with its footer, the footer's length (little endian) and the magic number.
_TAIL_BYTES: Final = 8
_MAGIC: Final = b"PAR1"

# Field numbers.
_FILE_SCHEMA, _FILE_ROW_GROUPS = 2, 4
_ELEMENT_TYPE, _ELEMENT_LENGTH, _ELEMENT_REPETITION = 1, 2, 3
_ELEMENT_NAME, _ELEMENT_CHILDREN = 4, 5
_GROUP_COLUMNS, _GROUP_ROWS = 1, 3
_CHUNK_META: Final = 3
_META_VALUES, _META_DATA_PAGE, _META_DICTIONARY_PAGE = 5, 9, 11

# FieldRepetitionType.REPEATED.
_REPEATED: Final = 2
# A schema this deep is an attack on the stack of whoever follows it.
_MAX_SCHEMA_DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class Leaf:
    """A column of the schema that holds values.

    Attributes:
        path: Names from the root, joined by dots.
        physical_type: Number of its Type.
        length_bytes: Length of its values, if the type has a fixed one of its own.
        is_repeated: Whether a row may hold several values.
    """

    path: str
    physical_type: int
    length_bytes: int
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class ColumnPlace:
    """Where the values of one column of a row group are.

    Attributes:
        num_values: How many, nulls included.
        first_page: Offset of the dictionary page, or of the first data page.
    """

    num_values: int
    first_page: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group: its rows, and one place for each leaf in schema order."""

    num_rows: int
    columns: tuple[ColumnPlace, ...]


@dataclass(frozen=True, slots=True)
class _Element:
    name: str
    physical_type: int | None
    length_bytes: int
    is_repeated: bool
    num_children: int


def footer_bytes(data: bytes) -> bytes:
    """The serialised footer.

    Raises:
        FormatError: The file is of another kind, or cut off.
    """
    if len(data) < _TAIL_BYTES + len(_MAGIC) or data[-len(_MAGIC) :] != _MAGIC:
        raise FormatError("this is not a Parquet file, or its end is cut off")
    length = int.from_bytes(data[-_TAIL_BYTES : -len(_MAGIC)], "little")
    if length > len(data) - _TAIL_BYTES:
        raise FormatError("the footer of this Parquet file is longer than the file")
    return data[len(data) - _TAIL_BYTES - length : -_TAIL_BYTES]


def parse_footer(footer: bytes) -> tuple[tuple[Leaf, ...], tuple[RowGroup, ...]]:
    """Read the leaves of the schema, and the row groups.

    Args:
        footer: What `footer_bytes` gave.

    Raises:
        FormatError: It can't be read.
    """
    elements: list[_Element] = []
    groups: list[RowGroup] = []
    reader = CompactReader(footer, 0)
    try:
        for field, kind in reader.fields():
            if field == _FILE_SCHEMA:
                elements = [_read_element(reader) for _ in reader.elements(kind)]
            elif field == _FILE_ROW_GROUPS:
                groups = [_read_group(reader) for _ in reader.elements(kind)]
            else:
                reader.skip(kind)
        leaves = tuple(_leaves(elements))
    except (IndexError, ValueError) as error:
        raise FormatError(f"the footer of this Parquet file can't be read: {error}") from error
    if any(len(group.columns) != len(leaves) for group in groups):
        raise FormatError("a row group of this Parquet file doesn't have the schema's columns")
    return leaves, tuple(groups)


def _read_element(reader: CompactReader) -> _Element:
    numbers: dict[int, int] = {}
    name = ""
    for field, kind in reader.fields():
        if field == _ELEMENT_NAME:
            name = reader.binary().decode("utf-8", "replace")
        elif field in (_ELEMENT_TYPE, _ELEMENT_LENGTH, _ELEMENT_REPETITION, _ELEMENT_CHILDREN):
            numbers[field] = reader.integer()
        else:
            reader.skip(kind)
    return _Element(
        name=name,
        physical_type=numbers.get(_ELEMENT_TYPE),
        length_bytes=max(0, numbers.get(_ELEMENT_LENGTH, 0)),
        is_repeated=numbers.get(_ELEMENT_REPETITION) == _REPEATED,
        num_children=numbers.get(_ELEMENT_CHILDREN, 0),
    )


def _leaves(elements: list[_Element]) -> Iterator[Leaf]:
    """The leaves of a schema that is stored depth first, its root at the front."""
    if not elements:
        raise ValueError("there is no schema")
    # Of each open group its path, whether a row may hold several, and the children to come.
    open_groups: list[tuple[tuple[str, ...], bool, int]] = [((), False, elements[0].num_children)]
    for element in elements[1:]:
        while open_groups and open_groups[-1][2] <= 0:
            open_groups.pop()
        if not open_groups or len(open_groups) > _MAX_SCHEMA_DEPTH:
            raise ValueError("the schema is no tree, or a very deep one")
        parent, is_repeated, waiting = open_groups.pop()
        open_groups.append((parent, is_repeated, waiting - 1))
        path, is_repeated = (*parent, element.name), is_repeated or element.is_repeated
        if element.num_children > 0:
            open_groups.append((path, is_repeated, element.num_children))
        elif element.physical_type is not None:
            yield Leaf(".".join(path), element.physical_type, element.length_bytes, is_repeated)


def _read_group(reader: CompactReader) -> RowGroup:
    columns: list[ColumnPlace] = []
    num_rows = 0
    for field, kind in reader.fields():
        if field == _GROUP_COLUMNS:
            columns = [_read_chunk(reader) for _ in reader.elements(kind)]
        elif field == _GROUP_ROWS:
            num_rows = reader.integer()
        else:
            reader.skip(kind)
    return RowGroup(max(0, num_rows), tuple(columns))


def _read_chunk(reader: CompactReader) -> ColumnPlace:
    numbers: dict[int, int] = {}
    for field, kind in reader.fields():
        if field != _CHUNK_META:
            reader.skip(kind)
            continue
        for inner, inner_kind in reader.fields():
            if inner in (_META_VALUES, _META_DATA_PAGE, _META_DICTIONARY_PAGE):
                numbers[inner] = reader.integer()
            else:
                reader.skip(inner_kind)
    if _META_VALUES not in numbers or _META_DATA_PAGE not in numbers:
        raise ValueError("a column without metadata")
    first_page = numbers[_META_DATA_PAGE]
    dictionary_page = numbers.get(_META_DICTIONARY_PAGE, 0)
    # Arrow begins at the dictionary only where it stands before the data.
    if 0 < dictionary_page < first_page:
        first_page = dictionary_page
    return ColumnPlace(max(0, numbers[_META_VALUES]), first_page)

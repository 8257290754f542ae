"""How large an Arrow IPC file becomes when it is read, found without decompressing it.

A compressed buffer names its own size, and the reader allocates what it names; the footer may
list one record batch many times. So this follows the footer's blocks and adds up what the
buffers say.

Source: the Apache Arrow columnar format, "IPC File Format" and the flatbuffer schemas File.fbs
and Message.fbs; the layout of a flatbuffer table from FlatBuffers' "Internals".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from t4_ops.errors import FormatError

MAGIC: Final = b"ARROW1"
# Footer length, then the magic number again.
_TAIL_BYTES: Final = 4 + len(MAGIC)

# Field numbers: Footer.dictionaries and .recordBatches; Message.header_type and .header;
# DictionaryBatch.data; RecordBatch.buffers and .compression.
_FOOTER_BLOCKS: Final = (2, 3)
_HEADER_TYPE, _HEADER = 1, 2
_DICTIONARY_DATA: Final = 1
_BUFFERS, _COMPRESSION = 2, 3
# MessageHeader's number for a dictionary batch.
_IS_DICTIONARY: Final = 2

# Block {offset: int64, metaDataLength: int32, padding, bodyLength: int64};
# Buffer {offset: int64, length: int64}.
_BLOCK: Final = struct.Struct("<qi4xq")
_BUFFER: Final = struct.Struct("<qq")
# Since format 0.15 a message begins with this, then its length; before, with its length.
_CONTINUATION: Final = b"\xff\xff\xff\xff"
# What the reader needs for a buffer beside its bytes.
_BUFFER_OVERHEAD_BYTES: Final = 64


def footer(data: bytes) -> bytes:
    """The footer of an IPC file, which holds its schema.

    Raises:
        FormatError: The file is of another kind, or cut off.
    """
    if not data.startswith(MAGIC) or not data.endswith(MAGIC) or len(data) < 2 * _TAIL_BYTES:
        raise FormatError("this is not an Arrow IPC file (Feather version 2), or it is cut off")
    length = int.from_bytes(data[-_TAIL_BYTES : -len(MAGIC)], "little")
    return data[max(0, len(data) - _TAIL_BYTES - length) : -_TAIL_BYTES]


def read_size_bytes(data: bytes, max_size_bytes: int) -> int:
    """Sum of all buffers, decompressed, of all blocks that the footer lists.

    Args:
        data: The whole file.
        max_size_bytes: Counting stops soon after this is passed.

    Raises:
        FormatError: The structure can't be followed.
    """
    total_bytes = 0
    try:
        for offset, metadata_length, _ in _blocks(footer(data)):
            for size_bytes in _buffer_sizes(data, offset, offset + metadata_length):
                total_bytes += size_bytes + _BUFFER_OVERHEAD_BYTES
                if total_bytes > max_size_bytes:
                    return total_bytes
    except (struct.error, ValueError) as error:
        raise FormatError(f"the structure of this Arrow file is damaged: {error}") from error
    return total_bytes


def _blocks(tail: bytes) -> Iterator[tuple[Any, ...]]:
    reader = _Flatbuffer(tail)
    for field in _FOOTER_BLOCKS:
        yield from reader.structs(reader.root(), field, _BLOCK)


def _buffer_sizes(data: bytes, message_start: int, body_start: int) -> Iterator[int]:
    if message_start < 0 or body_start < message_start:
        raise ValueError("a block with negative numbers")
    prefix = 8 if data[message_start : message_start + 4] == _CONTINUATION else 4
    message = _Flatbuffer(data[message_start + prefix : body_start])
    root = message.root()
    batch = message.table(root, _HEADER)
    if message.byte(root, _HEADER_TYPE) == _IS_DICTIONARY:
        batch = message.table(batch, _DICTIONARY_DATA)
    is_compressed = message.field(batch, _COMPRESSION) is not None
    for offset, length in message.structs(batch, _BUFFERS, _BUFFER):
        if offset < 0 or length < 0:
            raise ValueError("a buffer with negative numbers")
        yield _uncompressed(data, body_start + offset, length) if is_compressed else length


def _uncompressed(data: bytes, start: int, length: int) -> int:
    """A compressed buffer begins with its size; -1 says that it was left as it is."""
    if length == 0:
        return 0
    (size_bytes,) = struct.unpack_from("<q", data, start)
    if size_bytes < -1:
        raise ValueError("a buffer of negative size")
    return length if size_bytes == -1 else int(size_bytes)


class _Flatbuffer:
    """Reads tables, vectors of structs and single bytes; offsets never lead outside."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def root(self) -> int:
        """Position of the root table."""
        return self._number("<I", 0)

    def field(self, table: int, number: int) -> int | None:
        """Position of a field of a table; None if it has its default."""
        vtable = table - self._number("<i", table)
        slot = 4 + 2 * number
        if slot >= self._number("<H", vtable):
            return None
        offset = self._number("<H", vtable + slot)
        return table + offset if offset else None

    def table(self, parent: int, number: int) -> int:
        """Position of a table that another table holds."""
        return self._follow(self._required(parent, number))

    def byte(self, table: int, number: int) -> int:
        """A field of one byte."""
        return self._number("<B", self._required(table, number))

    def structs(self, table: int, number: int, layout: struct.Struct) -> Iterator[tuple[Any, ...]]:
        """The elements of a vector of structs; none if the field is left out."""
        position = self.field(table, number)
        if position is None:
            return
        start = self._follow(position)
        for index in range(self._number("<I", start)):
            yield layout.unpack_from(self._data, start + 4 + index * layout.size)

    def _required(self, table: int, number: int) -> int:
        position = self.field(table, number)
        if position is None:
            raise ValueError(f"field {number} is missing")
        return position

    def _follow(self, position: int) -> int:
        return position + self._number("<I", position)

    def _number(self, layout: str, position: int) -> int:
        if position < 0:
            raise ValueError("an offset leads outside")
        (value,) = struct.unpack_from(layout, self._data, position)
        return int(value)

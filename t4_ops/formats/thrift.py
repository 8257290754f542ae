"""Just enough of Thrift's compact protocol to walk over a struct.

Source: the Thrift specification, "Thrift compact protocol". Written for hostile input: it reads
inside the given bytes only, and every loop consumes at least one byte a turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY = 1, 2, 3, 4, 5, 6, 7, 8
_LIST, _SET, _MAP, STRUCT = 9, 10, 11, 12
_INTEGERS: Final = (_I16, _I32, _I64)

_FIXED_BYTES: Final = {_BYTE: 1, _DOUBLE: 8}
# A 64-bit integer in groups of seven bits.
_MAX_VARINT_BYTES: Final = 10
# The structs this is used on are three deep.
_MAX_DEPTH: Final = 16


class CompactReader:
    """Reads fields from `data`, starting at `position`.

    Attributes:
        position: Offset of the next byte.
    """

    def __init__(self, data: bytes, position: int) -> None:
        if position < 0:
            raise ValueError(f"a negative offset, {position}")
        self._data = data
        self.position = position

    def fields(self) -> Iterator[tuple[int, int]]:
        """Walk over one struct; between two steps the caller reads or skips the value.

        Yields:
            The number and the type of each field.

        Raises:
            IndexError: The data ends inside the struct.
        """
        number = 0
        while head := self._byte():
            step = head >> 4
            number = number + step if step else self.integer()
            yield number, head & 0x0F

    def integer(self) -> int:
        """Read one signed integer of any width.

        Raises:
            IndexError: The data ends inside it.
            ValueError: It is longer than 64 bits.
        """
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def binary(self) -> bytes:
        """Read a string of bytes.

        Raises:
            IndexError: The data ends inside it.
        """
        length = self._varint()
        start = self.position
        self._advance(length)
        return self._data[start : self.position]

    def elements(self, kind: int) -> Iterator[int]:
        """Walk over a list of structs; between two steps the caller reads one.

        Args:
            kind: The type that `fields` gave.

        Yields:
            The number of each element, from 0.

        Raises:
            IndexError: The data ends inside the list.
            ValueError: It is no list of structs.
        """
        count, element_kind = self._list_head()
        if kind != _LIST or (count and element_kind != STRUCT):
            raise ValueError("something else stands where a list of structs should")
        yield from range(count)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over the value of a field.

        Args:
            kind: The type that `fields` gave.
            depth: How many containers it stands in.

        Raises:
            IndexError: The data ends inside it.
            ValueError: An unknown type, or too deep.
        """
        if depth > _MAX_DEPTH:
            raise ValueError("structs nested too deeply")
        if kind in (_TRUE, _FALSE):  # the type is the value
            return
        if kind in _FIXED_BYTES:
            self._advance(_FIXED_BYTES[kind])
        elif kind in _INTEGERS:
            self._varint()
        elif kind == _BINARY:
            self._advance(self._varint())
        elif kind in (_LIST, _SET):
            self._skip_list(depth)
        elif kind == _MAP:
            self._skip_map(depth)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise ValueError(f"an unknown Thrift type, {kind}")

    def _skip_list(self, depth: int) -> None:
        count, kind = self._list_head()
        for _ in range(count):
            self._skip_element(kind, depth)

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4
        return (self._varint() if count == 0x0F else count), head & 0x0F

    def _skip_map(self, depth: int) -> None:
        count = self._varint()
        kinds = self._byte() if count else 0
        for _ in range(count):
            self._skip_element(kinds >> 4, depth)
            self._skip_element(kinds & 0x0F, depth)

    def _skip_element(self, kind: int, depth: int) -> None:
        if kind in (_TRUE, _FALSE):  # inside containers a boolean takes a byte
            self._advance(1)
        else:
            self.skip(kind, depth + 1)

    def _byte(self) -> int:
        value = self._data[self.position]
        self.position += 1
        return value

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("an integer longer than 64 bits")

    def _advance(self, count: int) -> None:
        self.position += count
        if self.position > len(self._data):
            raise IndexError("the data ends inside a field")

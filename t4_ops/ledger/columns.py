"""Columns of tables, and the columns of inputs that they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from t4_ops.ledger.text import required_text

_COLUMN_MAX_BYTES: Final = 1024


def column_name(value: object) -> str:
    """Return `value` if it may be the name of a column.

    Raises:
        InvalidInputError: It is no text, empty or too long.
    """
    return required_text(value, "the name of a column", _COLUMN_MAX_BYTES)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name.
        type: Its type, in lower case: `int64`, `string`, `timestamp`, `struct`; None: unknown.
        columns: What a `struct` consists of.
    """

    name: str
    type: str | None = None
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnSource:
    """A column of an input.

    Attributes:
        namespace: Namespace of the dataset.
        name: Name of the dataset.
        column: Name of the column.
    """

    namespace: str
    name: str
    column: str

    def __post_init__(self) -> None:
        """Check the name of the column.

        Raises:
            InvalidInputError: It is no text, empty or too long.
        """
        column_name(self.column)


ColumnLineage: TypeAlias = tuple[tuple[str, tuple[ColumnSource, ...]], ...]
"""Each column with the columns that it was made from."""

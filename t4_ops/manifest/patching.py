"""A manifest with changes: which of its lines stay, and what stands between them.

A million entries of which ten changed are a million lines of which ten are written anew. Blocks of
lines that no change falls into are not even looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from t4_ops.keys import tree_order
from t4_ops.manifest.entry import Entry
from t4_ops.manifest.making import Kept, Piece
from t4_ops.manifest.model import Manifest


@dataclass(frozen=True, slots=True)
class Changes:
    """What is other than in a manifest.

    Attributes:
        orders: Tree orders of the entries that were set, ascending.
        at: Returns the entry that was set, by its tree order.
        deleted: Tree orders of entries that are gone, and of directories (ending in NUL).
        is_hidden: Whether an entry of the manifest, by its logical key, is gone.
    """

    orders: Sequence[str]
    at: Callable[[str], Entry]
    deleted: Collection[str]
    is_hidden: Callable[[str], bool]


def patched(base: Manifest, changes: Changes) -> Iterator[Piece]:
    """Yield what a manifest consists of after some changes, in tree order.

    Args:
        base: The manifest; its entries stand in tree order (`is_in_order`).
        changes: The changes.
    """
    first, end = base.entry_lines()
    orders, position = changes.orders, 0
    marks = sorted([*orders, *changes.deleted])
    mark = 0
    kept = _Run(base)
    for start, stop in base.blocks(first, end):
        after = base.order_of_line(stop) if stop < end else None
        is_touched = mark < len(marks) and (after is None or marks[mark] < after)
        while mark < len(marks) and (after is None or marks[mark] < after):
            mark += 1
        if not is_touched and not changes.is_hidden(base.key_of_line(start)):
            yield from kept.add(start, stop)
            continue
        for line, key in enumerate(base.keys(start, stop), start):
            order = tree_order(key)
            while position < len(orders) and orders[position] < order:
                yield from kept.flush()
                yield changes.at(orders[position])
                position += 1
            is_edited = position < len(orders) and orders[position] == order
            if not is_edited and not changes.is_hidden(key):
                yield from kept.add(line, line + 1)
    yield from kept.flush()
    for order in orders[position:]:
        yield changes.at(order)


class _Run:
    """Lines that stay and follow each other."""

    def __init__(self, base: Manifest) -> None:
        self._lines = base.lines
        self._first = self._end = 0

    def add(self, first: int, end: int) -> Iterator[Kept]:
        """Add lines; yield those before them if there is something between."""
        if first != self._end:
            yield from self.flush()
            self._first = first
        self._end = end

    def flush(self) -> Iterator[Kept]:
        """Yield what was added, and begin anew."""
        if self._end > self._first:
            yield Kept(self._lines, self._first, self._end)
        self._first = self._end

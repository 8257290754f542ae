"""Entries that were set, in tree order."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from t4_ops.keys import tree_order
from t4_ops.manifest import Entry

# Up to so many edits a new one is put in its place in the order; above, the order is made anew.
_INSERT_MAX: Final = 1000


class Edits:
    """Entries by logical key; the order of the keys is kept where that costs little."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        # None when it has to be made anew, for whoever asks: of a scanned folder nobody may.
        self._order: list[str] | None = []
        # Whether the entries themselves were put in that order, as those of a scanned folder are,
        # and behind which key the next one must come to go on so.
        self._is_sorted, self._last = True, ""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def get(self, key: str) -> Entry | None:
        """Return the entry at a logical key, or None."""
        return self._entries.get(key)

    def put(self, entry: Entry) -> None:
        """Put an entry at its logical key."""
        key = entry.logical_key
        if key not in self._entries:
            self._add_order(tree_order(key))
        self._entries[key] = entry

    def append(self, entries: Sequence[Entry], keys: Sequence[str], orders: Sequence[str]) -> None:
        """Put many entries whose keys come, in this order, after all that are there.

        Args:
            entries: The entries, at least one.
            keys: Their logical keys.
            orders: The tree orders of the keys.
        """
        self._entries.update(zip(keys, entries, strict=True))
        self._order, self._last = None, orders[-1]

    def replace(self, entries: Iterable[Entry]) -> None:
        """Put entries at keys that have one."""
        self._entries.update([(entry.logical_key, entry) for entry in entries])

    def drop(self, key: str) -> bool:
        """Remove the entry at a logical key; return whether there was one."""
        if self._entries.pop(key, None) is None:
            return False
        self._order = None
        return True

    def orders(self, prefix: str = "") -> list[str]:
        """Return the tree orders of the keys below a prefix as they are now."""
        if self._order is None:
            orders = map(tree_order, self._entries)
            self._order = list(orders) if self._is_sorted else sorted(orders)
        start = tree_order(prefix)
        # \x01 sorts after every key inside the directory and before its next sibling.
        first = bisect_left(self._order, start)
        after = bisect_left(self._order, start[:-1] + "\x01") if prefix else len(self._order)
        return self._order[first:after]

    def at(self, order: str) -> Entry:
        """Return the entry at the key with a tree order."""
        return self._entries[order.replace("\0", "/")]

    def still_at(self, orders: list[str]) -> Iterator[Entry]:
        """Yield the entries at the keys with these tree orders that were not removed since."""
        return self._held([order.replace("\0", "/") for order in orders])

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the entries below a prefix in tree order, but for those removed in a walk."""
        if self._is_sorted and not prefix:
            return self._held(list(self._entries))
        return self.still_at(self.orders(prefix))

    def _held(self, keys: list[str]) -> Iterator[Entry]:
        return filter(None, map(self._entries.get, keys))

    def _add_order(self, order: str) -> None:
        """Keep the order; one key out of order among many has it made anew later."""
        is_next = self._is_sorted and self._last < order
        if is_next:
            self._last = order
        else:
            self._is_sorted = False
        if self._order is None:
            return
        if not self._order or self._order[-1] < order:
            self._order.append(order)
        elif len(self._order) < _INSERT_MAX:
            insort(self._order, order)
        else:
            self._order = None


def ancestors(key: str) -> tuple[str, ...]:
    """Return the folders above a key, outermost first, each ending in `/`."""
    return _folders_of(key[: key.rfind("/") + 1])


@lru_cache(maxsize=256)
def _folders_of(folder: str) -> tuple[str, ...]:
    """Return the folders of a path that ends in `/`; one folder has many files in a row."""
    ends = (end for end, letter in enumerate(folder, 1) if letter == "/")
    return tuple(folder[:end] for end in ends)

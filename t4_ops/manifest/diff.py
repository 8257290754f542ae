"""What changed between two packages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from t4_ops.keys import tree_order
from t4_ops.manifest.entry import Entry


@dataclass(frozen=True, slots=True)
class Diff:
    """Logical keys that differ, each list in tree order. It unpacks as three lists, as quilt3's.

    Attributes:
        added: Keys only the new package has.
        modified: Keys whose size, hash or metadata differ.
        deleted: Keys only the old package has.
    """

    added: list[str]
    modified: list[str]
    deleted: list[str]

    def __iter__(self) -> Iterator[list[str]]:
        """Yield added, modified, deleted."""
        return iter((self.added, self.modified, self.deleted))

    def __bool__(self) -> bool:
        """Return whether anything differs."""
        return bool(self.added or self.modified or self.deleted)


def diff_entries(old: Iterable[Entry], new: Iterable[Entry]) -> Diff:
    """Return what changed from `old` to `new`, both in tree order, in one pass over both.

    Places don't count: an entry that only moved to another physical key is unchanged.
    """
    result = Diff([], [], [])
    olds, news = iter(old), iter(new)
    left, right = next(olds, None), next(news, None)
    while left is not None or right is not None:
        if right is None or (left is not None and _before(left, right)):
            assert left is not None
            result.deleted.append(left.logical_key)
            left = next(olds, None)
        elif left is None or _before(right, left):
            result.added.append(right.logical_key)
            right = next(news, None)
        else:
            if not left.same_content(right):
                result.modified.append(right.logical_key)
            left, right = next(olds, None), next(news, None)
    return result


def _before(one: Entry, other: Entry) -> bool:
    return tree_order(one.logical_key) < tree_order(other.logical_key)

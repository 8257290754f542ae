"""What changed between two packages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from t4_ops.keys import tree_order
from t4_ops.manifest.entry import Entry

if TYPE_CHECKING:
    from t4_ops.manifest.model import Manifest


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


class Change(Enum):
    """How a logical key differs between two packages."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


Changes = Iterator[tuple[Change, str]]
"""Differences as they are found, in tree order: memory does not grow with their number."""


def diff_entries(old: Iterable[Entry], new: Iterable[Entry]) -> Diff:
    """Return what changed from `old` to `new`, both in tree order, in one pass over both.

    Places don't count: an entry that only moved to another physical key is unchanged.
    """
    return _gathered(changed_entries(old, new))


def diff_manifests(old: Manifest, new: Manifest) -> Diff:
    """Return what changed from `old` to `new`; see `changed_lines`."""
    return _gathered(changed_lines(old, new))


def _gathered(changes: Changes) -> Diff:
    result = Diff([], [], [])
    lists = {
        Change.ADDED: result.added,
        Change.MODIFIED: result.modified,
        Change.DELETED: result.deleted,
    }
    for change, key in changes:
        lists[change].append(key)
    return result


def changed_entries(old: Iterable[Entry], new: Iterable[Entry]) -> Changes:
    """Yield how `new` differs from `old`, both in tree order."""
    olds, news = iter(old), iter(new)
    left, right = next(olds, None), next(news, None)
    while left is not None or right is not None:
        side, change = _compare(left, right)
        if change is not None:
            yield change
        if side <= 0:
            left = next(olds, None)
        if side >= 0:
            right = next(news, None)


def changed_lines(old: Manifest, new: Manifest) -> Changes:
    """Yield how `new` differs from `old`.

    Lines of the same bytes are the same entry, so only the others are decoded.
    """
    olds, news = old.ordered_lines(), new.ordered_lines()
    one, other = next(olds, None), next(news, None)
    left: Entry | None = None
    right: Entry | None = None
    while one is not None or other is not None:
        if one is not None and other is not None and one[0] == other[0]:
            one, other, left, right = next(olds, None), next(news, None), None, None
            continue
        if left is None and one is not None:
            left = old.entry_of_line(*one)
        if right is None and other is not None:
            right = new.entry_of_line(*other)
        side, change = _compare(left, right)
        if change is not None:
            yield change
        if side <= 0:
            one, left = next(olds, None), None
        if side >= 0:
            other, right = next(news, None), None


def _compare(left: Entry | None, right: Entry | None) -> tuple[int, tuple[Change, str] | None]:
    """Return which side to go on with (-1 the old one, 1 the new one, 0 both), and the difference.

    Args:
        left: An entry of the old package; None at its end.
        right: One of the new package; None at its end.
    """
    if right is None or (left is not None and _before(left, right)):
        assert left is not None
        return -1, (Change.DELETED, left.logical_key)
    if left is None or _before(right, left):
        return 1, (Change.ADDED, right.logical_key)
    if not left.same_content(right):
        return 0, (Change.MODIFIED, right.logical_key)
    return 0, None


def _before(one: Entry, other: Entry) -> bool:
    return tree_order(one.logical_key) < tree_order(other.logical_key)

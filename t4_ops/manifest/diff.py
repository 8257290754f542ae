"""What changed between two packages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


def diff_entries(old: Iterable[Entry], new: Iterable[Entry]) -> Diff:
    """Return what changed from `old` to `new`, both in tree order, in one pass over both.

    Places don't count: an entry that only moved to another physical key is unchanged.
    """
    result = Diff([], [], [])
    olds, news = iter(old), iter(new)
    left, right = next(olds, None), next(news, None)
    while left is not None or right is not None:
        side = _compare(left, right, result)
        if side <= 0:
            left = next(olds, None)
        if side >= 0:
            right = next(news, None)
    return result


def diff_manifests(old: Manifest, new: Manifest) -> Diff:
    """Return what changed from `old` to `new`.

    Lines of the same bytes are the same entry, so only the others are decoded.
    """
    result = Diff([], [], [])
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
        side = _compare(left, right, result)
        if side <= 0:
            one, left = next(olds, None), None
        if side >= 0:
            other, right = next(news, None), None
    return result


def _compare(left: Entry | None, right: Entry | None, result: Diff) -> int:
    """Note how two entries differ; return -1 to go on with the old one's successor, 1, or 0: both.

    Args:
        left: An entry of the old package; None at its end.
        right: One of the new package; None at its end.
        result: Where to note it.
    """
    if right is None or (left is not None and _before(left, right)):
        assert left is not None
        result.deleted.append(left.logical_key)
        return -1
    if left is None or _before(right, left):
        result.added.append(right.logical_key)
        return 1
    if not left.same_content(right):
        result.modified.append(right.logical_key)
    return 0


def _before(one: Entry, other: Entry) -> bool:
    return tree_order(one.logical_key) < tree_order(other.logical_key)

"""What the triggers of one poll loop watch, in one triggerer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from t4_ops import operations

if TYPE_CHECKING:
    from t4_ops import Settings


class Group:
    """Packages of one registry, and how far each was followed."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self._marks: dict[str, dict[str, Any]] = {}

    @contextmanager
    def watching(self, name: str, mark: dict[str, Any]) -> Iterator[None]:
        """Have a package watched, from a watermark on unless it is followed already."""
        self.names[name] += 1
        self._marks.setdefault(name, mark)
        try:
            yield
        finally:
            self.names[name] -= 1
            if not self.names[name]:
                del self.names[name]
                self._marks.pop(name, None)

    def look(self, registry: str, settings: Settings) -> dict[str, Any] | None:
        """Return moves and new watermarks by package, from one look at all of them; None: none.

        Called in a thread; packages that come or go meanwhile are left to the next look.
        """
        before = {name: mark for name, mark in list(self._marks.items()) if name in self.names}
        if not before:
            return None
        watermark = operations.joined_marks(registry, before)
        found = operations.poll(
            registry,
            sorted(before),
            watermark=watermark,
            max_packages=len(before),
            # Of one package: the others are watched on.
            skip_damaged=True,
            settings=settings,
        )
        marks = operations.marks_of(found.watermark)
        news = {name: mark for name, mark in marks.items() if mark != before[name]}
        for name, mark in news.items():
            # Who left and came back meanwhile brought a watermark of his own.
            if self._marks.get(name) is before[name]:
                self._marks[name] = mark
        moves: dict[str, list[Any]] = {}
        for move in found.moves:
            moves.setdefault(move["name"], []).append(move)
        return {"moves": moves, "marks": news} if news or moves else None


_GROUPS: dict[Hashable, Group] = {}


def group_of(key: Hashable) -> Group:
    """Return the group of a poll loop, the same for all its triggers."""
    return _GROUPS.setdefault(key, Group())

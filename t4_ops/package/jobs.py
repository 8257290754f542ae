"""What a publication does with entries, whoever else publishes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from t4_ops.manifest import Entry
from t4_ops.transfer import Progress


@dataclass(frozen=True, slots=True)
class Job:
    """How to publish, whatever the contents are in the end.

    Attributes:
        must_move: Whether an entry must be brought into the registry.
        key_of: Where it goes; None for the place its content names.
        bar: Shows how far it is.
        is_pinned: Whether the registry keeps versions, and entries name them.
        checks_first: Whether to look at `latest` before anything is moved.
        may_merge: Whether it may be done again on top of what others published meanwhile, so that
            where entries were brought has to be remembered.
        only: Logical keys of the only entries to move; None: all that must.
    """

    must_move: Callable[[Entry], bool]
    key_of: Callable[[Entry], str | None]
    bar: Progress
    is_pinned: bool
    checks_first: bool = False
    may_merge: bool = False
    only: frozenset[str] | None = None

    def moves(self, entry: Entry) -> bool:
        """Return whether to bring an entry; those of others stay where they put them."""
        return (self.only is None or entry.logical_key in self.only) and self.must_move(entry)

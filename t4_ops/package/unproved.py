"""Entries that were read by way of an index: proved before they go into a revision of their own.

A line that an index leads to was compared with nothing. Whoever only reads it is told so
(`verified`), but a new revision names other people's packages as where its entries are from, and
has to be right.
"""

from __future__ import annotations

from t4_ops.errors import IntegrityError
from t4_ops.manifest import Entry, Manifest, View


class Unproved:
    """What a package under edit took from manifests of which only an index was read."""

    def __init__(self) -> None:
        # By logical key here: the manifest, and the entry as its index gave it.
        self._taken: dict[str, tuple[View, Entry]] = {}

    def take(self, key: str, entry: Entry, base: View | None) -> None:
        """Remember an entry of a manifest; one that was read whole was proved by that.

        An indexed manifest counts even if it was proved by now: the entry may be older.
        """
        if base is not None and not isinstance(base, Manifest):
            self._taken[key] = base, entry

    def take_from(self, key: str, other: Unproved, other_key: str) -> None:
        """Remember what another package has taken and not proved yet."""
        if other_key in other._taken:
            self._taken[key] = other._taken[other_key]

    def clear(self) -> None:
        """Forget all: it is proved, or not wanted."""
        self._taken.clear()

    def prove(self) -> None:
        """Read and prove the manifests, and compare what was taken with them.

        Raises:
            IntegrityError: An entry is not what its manifest says, or the manifest is another.
            NotFoundError: A manifest is gone.
        """
        for base, entry in self._taken.values():
            held = base.whole().get(entry.logical_key)
            if held is None or not held.same_content(entry):
                raise IntegrityError(
                    f"{entry.logical_key!r} was read by way of an index, and the manifest"
                    f" {base.top_hash} has another entry there: browse it again and take that one",
                    key=entry.logical_key,
                )
        self.clear()

"""What a frozen manifest and edits on top hold together: entries, and metadata of directories.

A package of a million entries that changes in ten costs ten objects, not a million. This is what
can be read; `Contents` is what changes it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from t4_ops.keys import Limits, tree_order
from t4_ops.manifest import Changes, Directory, Entry, Piece, View, patched
from t4_ops.package.edits import Edits, ancestors


def copied(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metadata as a copy, so that what users do to theirs does not reach the package."""
    copy: dict[str, Any] = json.loads(json.dumps(meta)) if meta else {}
    return copy


class Overlay:
    """Entries and directories' metadata of a package under edit, to be read."""

    def __init__(self, base: View | None, limits: Limits) -> None:
        self._limits = limits
        self._lay(base)

    def _lay(self, base: View | None) -> None:
        """Take a manifest as the base and forget all edits."""
        self._base = base
        self._edits = Edits()
        # How many edits there were when it was looked whether they cover the base, and the answer.
        self._covered: tuple[int, bool] | None = None
        # How many edits, and directories with metadata, each directory has below it or is, so that
        # conflicts show at once.
        self._folders: Counter[str] = Counter()
        self._deleted: set[str] = set()
        self._deleted_folders: set[str] = set()
        directories = () if base is None else base.directories()
        self._meta: dict[str, Mapping[str, Any]] = {d.key: d.meta for d in directories}
        for folder in self._meta:
            self._folders.update(ancestors(folder))

    @property
    def limits(self) -> Limits:
        """Bounds on keys and records."""
        return self._limits

    @property
    def base(self) -> View | None:
        """The manifest below."""
        return self._base

    def is_plain(self) -> bool:
        """Return whether the entries are those of the manifest below, or there are none."""
        return not (self._edits or self._deleted or self._deleted_folders)

    def get(self, key: str) -> Entry | None:
        """Return the entry at a logical key, or None."""
        edit = self._edits.get(key)
        if edit is not None:
            return edit
        if self._base is None or self._is_hidden(key):
            return None
        return self._base.get(key)

    def has_folder(self, prefix: str) -> bool:
        """Return whether `prefix`, which ends in `/`, has entries or metadata, or a part has."""
        if self._folders.get(prefix, 0) > 0:
            return True
        if self._base is None or not self._base.has_directory(prefix):
            return False
        if not (self._deleted or self._deleted_folders):
            return True
        return any(not self._is_hidden(entry.logical_key) for entry in self._base.entries(prefix))

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Yield entries below a prefix in tree order.

        Entries may be set and deleted meanwhile, as when metadata is set in a walk: each entry that
        was there from the beginning to the end comes once.
        """
        if self._base is None or (not prefix and self._covers_base(self._base)):
            # What is set meanwhile was not there from the beginning.
            return self._edits.entries(prefix)
        if self.is_plain():
            return self._plain_entries(self._base, prefix)
        return self._merged_entries(self._base, prefix, self._edits.orders(prefix))

    def _plain_entries(self, base: View, prefix: str) -> Iterator[Entry]:
        for entry in base.entries(prefix):
            if self.is_plain():
                yield entry
            elif not self._is_hidden(entry.logical_key):
                yield self._edits.get(entry.logical_key) or entry

    def _merged_entries(self, base: View, prefix: str, orders: list[str]) -> Iterator[Entry]:
        edited, position = set(orders), 0
        for entry in base.entries(prefix):
            order = tree_order(entry.logical_key)
            while position < len(orders) and orders[position] < order:
                yield from self._edits.still_at(orders[position : position + 1])
                position += 1
            if order not in edited and not self._is_hidden(entry.logical_key):
                yield self._edits.get(entry.logical_key) or entry
        yield from self._edits.still_at(orders[position:])

    def edited(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the entries below a prefix that were set on top, in tree order."""
        return map(self._edits.at, self._edits.orders(prefix))

    def pieces(self) -> Iterator[Piece]:
        """Yield what `entries` does, lines of the manifest below that stay as lines.

        Only what has an index is read for it as a whole.
        """
        base = None if self._base is None else self._base.whole()
        if base is None or not base.is_in_order or self._covers_base(base):
            return self.entries()
        deleted = [*map(tree_order, self._deleted), *map(tree_order, self._deleted_folders)]
        orders = self._edits.orders()
        return patched(base, Changes(orders, self._edits.at, deleted, self._is_hidden))

    def count(self, prefix: str = "") -> int:
        """Return the number of entries below a prefix."""
        if self._base is not None and self.is_plain():
            return self._base.count(prefix)
        if self._base is None and not prefix:
            return len(self._edits)
        return sum(1 for _ in self.entries(prefix))

    def size_bytes(self, prefix: str = "") -> int:
        """Return the size of all files below a prefix whose size is known."""
        if self._base is not None and self.is_plain():
            return self._base.files_size_bytes(prefix)
        return sum(entry.size_bytes or 0 for entry in self.entries(prefix))

    def _covers_base(self, base: View) -> bool:
        """Return whether every entry of the base is edited, as after its whole folder was set.

        Its records need not be decoded then, which would take most of the time of a push.
        """
        edits = len(self._edits)
        if edits < base.count("") or self._deleted or self._deleted_folders:
            return False
        if self._covered is None or self._covered[0] != edits:
            is_covered = all(key in self._edits for key in base.whole().logical_keys())
            self._covered = edits, is_covered
        return self._covered[1]

    def children(self, prefix: str = "") -> Iterator[str]:
        """Yield the names right below a prefix in order; those of folders end in `/`.

        The cost grows with the names and with the edits below the prefix, not with the base.
        """
        if not (self._edits or self._deleted or self._deleted_folders or self._meta):
            yield from () if self._base is None else self._base.children(prefix)
            return
        names = {name for name in self._base_children(prefix) if self._is_visible(prefix + name)}
        for order in self._edits.orders(prefix):
            name, slash, _ = order.replace("\0", "/")[len(prefix) :].partition("/")
            names.add(name + slash)
        for folder in self._meta:
            if folder.startswith(prefix) and folder != prefix:
                names.add(folder[len(prefix) :].split("/")[0] + "/")
        yield from sorted(names, key=tree_order)

    def _base_children(self, prefix: str) -> Iterator[str]:
        return iter(()) if self._base is None else self._base.children(prefix)

    def _is_visible(self, key: str) -> bool:
        """Return whether a name of the base is still there, for a folder anything below it."""
        if not (self._deleted or self._deleted_folders):
            return True
        if not key.endswith("/"):
            return not self._is_hidden(key)
        assert self._base is not None
        return any(not self._is_hidden(entry.logical_key) for entry in self._base.entries(key))

    def _is_hidden(self, key: str) -> bool:
        """Return whether an entry of the base was deleted."""
        if key in self._deleted:
            return True
        if not self._deleted_folders:
            return False
        return any(folder in self._deleted_folders for folder in ancestors(key))

    def directories(self, prefix: str = "") -> Iterator[Directory]:
        """Yield the metadata of directories below a prefix in tree order."""
        for key in sorted(self._meta, key=tree_order):
            if key.startswith(prefix) and key != prefix and self._meta[key]:
                yield Directory(key, self._meta[key])

    def folder_meta(self, prefix: str) -> dict[str, Any]:
        """Return the metadata of a directory, a copy."""
        return copied(self._meta.get(prefix))

"""What a package holds while it can be edited: a frozen manifest below, edits on top.

A package of a million entries that changes in ten costs ten objects, not a million.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import Limits, PackageRef, tree_order, validate_logical_key
from t4_ops.manifest import VERSION, Directory, Entry, Manifest, canonical_json
from t4_ops.package.provenance import Provenance, Taken
from t4_ops.transfer import Payload

# Up to so many edits a new one is put in its place in the order; above, the order is made anew.
_INSERT_MAX: Final = 1000


def copied(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metadata as a copy, so that what users do to theirs does not reach the package."""
    copy: dict[str, Any] = json.loads(json.dumps(meta)) if meta else {}
    return copy


class Contents:
    """Header, directory metadata and entries of a package under edit.

    Attributes:
        header: The manifest header.
        payloads: Objects that wait to be stored, by physical key.
        roots: Real paths of the folders that were scanned.
        origin: The revision that the manifest below is.
    """

    def __init__(self, base: Manifest | None, limits: Limits) -> None:
        self.roots: set[str] = set()
        self.origin: PackageRef | None = None
        self._limits = limits
        self._provenance = Provenance()
        self.rebase(base)

    def rebase(self, base: Manifest | None) -> None:
        """Take a manifest as the base and forget all edits: they are in it, or not wanted."""
        self.header: dict[str, Any] = {"version": VERSION} if base is None else base.header
        self.payloads: dict[str, Payload] = {}
        self._provenance.forget_entries()
        self._base = base
        self._edits: dict[str, Entry] = {}
        # How many edits, and directories with metadata, each directory has below it or is, so that
        # conflicts show at once.
        self._folders: Counter[str] = Counter()
        # Tree orders of the edits; None when it has to be made anew.
        self._order: list[str] | None = []
        self._deleted: set[str] = set()
        self._deleted_folders: set[str] = set()
        directories = () if base is None else base.directories()
        self._meta: dict[str, Mapping[str, Any]] = {d.key: d.meta for d in directories}
        for folder in self._meta:
            self._folders.update(_ancestors(folder))

    @property
    def limits(self) -> Limits:
        """Bounds on keys and records."""
        return self._limits

    def frozen(self) -> Manifest | None:
        """Return the manifest below if nothing was changed since, else None."""
        base = self._base
        if base is None or self._edits or self._deleted or self._deleted_folders:
            return None
        metas = {d.key: d.meta for d in base.directories()}
        # Compared as they are hashed: 1, 1.0 and true are equal in Python only.
        is_same = canonical_json([self.header, self._meta]) == canonical_json([base.header, metas])
        return base if is_same else None

    # Where entries came from

    def adopt(self, entry: Entry, taken: Taken | None) -> None:
        """Remember where an entry of another package is from."""
        if taken is not None:
            self._provenance.take(entry, taken)

    def taken_from(self, entry: Entry) -> Taken | None:
        """Return the revision an entry is from, and its key there; None if it is from elsewhere."""
        taken = self._provenance.taken(entry)
        if taken is not None or self.origin is None or self._base is None:
            return taken
        key = entry.logical_key
        if key in self._edits:
            # Edited, but perhaps in its metadata only.
            before = self._base.get(key)
            if before is None or before.physical_key != entry.physical_key:
                return None
        return Taken(self.origin, key)

    def revisions(self, prefix: str = "") -> dict[PackageRef, tuple[str, ...]]:
        """Return the revisions that entries below a directory are from.

        Each with the keys and directories there that they are from; none stands for all.
        """
        found: dict[PackageRef, dict[str, None]] = {}
        for key in self._provenance.taken_keys(prefix):
            entry = self.get(key)
            taken = None if entry is None else self._provenance.taken(entry)
            if taken is not None:
                found.setdefault(taken.ref, {})[taken.logical_key] = None
        revisions = {ref: tuple(keys) for ref, keys in found.items()}
        if self.origin is not None and self._has_own(prefix):
            own = (prefix,) if prefix else ()
            revisions = {self.origin: own, **revisions}
        return revisions

    def _has_own(self, prefix: str) -> bool:
        """Return whether an entry of the base is there as it was, but perhaps for its metadata."""
        return any(
            (taken := self.taken_from(entry)) is not None and taken.ref == self.origin
            for entry in self.entries(prefix)
        )

    def add_source(self, url: str, *, is_folder: bool) -> None:
        """Remember a folder, prefix or object that entries were set from."""
        self._provenance.add_source(url, is_folder=is_folder)

    def adopt_sources(self, entry: Entry, other: Contents) -> None:
        """Remember what another package knows of where an entry was set from."""
        self._provenance.add_sources_of(entry.physical_key, other._provenance)

    def sources(self, prefix: str = "") -> list[str]:
        """Return the folders, prefixes and objects that entries below a directory were set from.

        What was built since is in the revision instead.
        """
        orders = self._edit_orders(prefix)
        edits = (self._edits[order.replace("\0", "/")].physical_key for order in orders)
        return self._provenance.sources_of(edits)

    # Reading

    def get(self, key: str) -> Entry | None:
        """Return the entry at a logical key, or None."""
        if key in self._edits:
            return self._edits[key]
        if self._base is None or self._is_hidden(key):
            return None
        return self._base.get(key)

    def has_folder(self, prefix: str) -> bool:
        """Return whether `prefix`, which ends in `/`, has entries or metadata, or a part has."""
        if self._folders[prefix] > 0:
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
        orders = self._edit_orders(prefix)
        edited, position = set(orders), 0
        for entry in () if self._base is None else self._base.entries(prefix):
            order = tree_order(entry.logical_key)
            while position < len(orders) and orders[position] < order:
                yield from self._edit_at(orders[position])
                position += 1
            if order not in edited and not self._is_hidden(entry.logical_key):
                yield self._edits.get(entry.logical_key, entry)
        for order in orders[position:]:
            yield from self._edit_at(order)

    def children(self, prefix: str = "") -> Iterator[str]:
        """Yield the names right below a prefix in order; those of folders end in `/`.

        The cost grows with the names and with the edits below the prefix, not with the base.
        """
        if not (self._edits or self._deleted or self._deleted_folders or self._meta):
            yield from () if self._base is None else self._base.children(prefix)
            return
        names = {name for name in self._base_children(prefix) if self._is_visible(prefix + name)}
        for order in self._edit_orders(prefix):
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

    def _edit_orders(self, prefix: str) -> list[str]:
        """Return the tree orders of the edits below a prefix as they are now."""
        if self._order is None:
            self._order = sorted(map(tree_order, self._edits))
        start = tree_order(prefix)
        # \x01 sorts after every key inside the directory and before its next sibling.
        first = bisect_left(self._order, start)
        after = bisect_left(self._order, start[:-1] + "\x01") if prefix else len(self._order)
        return self._order[first:after]

    def _edit_at(self, order: str) -> Iterator[Entry]:
        edit = self._edits.get(order.replace("\0", "/"))
        if edit is not None:
            yield edit

    def _is_hidden(self, key: str) -> bool:
        """Return whether an entry of the base was deleted."""
        if key in self._deleted:
            return True
        if not self._deleted_folders:
            return False
        return any(folder in self._deleted_folders for folder in _ancestors(key))

    # Changing

    def set(self, entry: Entry) -> None:
        """Put an entry at its logical key.

        Raises:
            InvalidInputError: The key breaks a rule, names a folder, or lies below a file.
        """
        key = validate_logical_key(entry.logical_key, self._limits)
        if key not in self._edits:
            if self.has_folder(f"{key}/"):
                raise InvalidInputError(
                    f"{key!r} is a directory of the package: delete it before setting a file there",
                    key=key,
                )
            self._refuse_below_file(key)
            self._folders.update(_ancestors(key))
            self._add_order(tree_order(key))
        self._edits[key] = entry

    def set_all(self, entries: Iterable[Entry]) -> None:
        """Put all entries, or none of them if one is refused or the iterator fails.

        Raises:
            InvalidInputError: A key breaks a rule, names a folder, or lies below a file.
        """
        done: list[tuple[str, Entry | None]] = []
        try:
            for entry in entries:
                before = self._edits.get(entry.logical_key)
                self.set(entry)
                done.append((entry.logical_key, before))
        except BaseException:
            for key, before in reversed(done):
                if before is None:
                    self._drop_edit(key)
                else:
                    self._edits[key] = before
            raise

    def _add_order(self, order: str) -> None:
        """Keep the order of the edits; one out of order among many has it made anew later."""
        if self._order is None:
            return
        if not self._order or self._order[-1] < order:
            self._order.append(order)
        elif len(self._order) < _INSERT_MAX:
            insort(self._order, order)
        else:
            self._order = None

    def _refuse_below_file(self, key: str) -> None:
        for folder in _ancestors(key):
            if self._folders[folder] == 0 and self.get(folder[:-1]) is not None:
                raise InvalidInputError(
                    f"{folder[:-1]!r} is a file of the package, so {key!r} can't lie below it",
                    key=key,
                )

    def delete(self, key: str) -> None:
        """Remove an entry, or a directory with all below it.

        Raises:
            NotFoundError: There is neither.
        """
        prefix = f"{key}/"
        if self.get(key) is not None:
            self._drop_edit(key)
            self._deleted.add(key)
        elif self.has_folder(prefix):
            for order in self._edit_orders(prefix):
                self._drop_edit(order.replace("\0", "/"))
            self._deleted_folders.add(prefix)
            for folder in [f for f in self._meta if f.startswith(prefix)]:
                self.set_folder_meta(folder, None)
        else:
            raise NotFoundError(f"the package has no {key!r}", key=key)

    def _drop_edit(self, key: str) -> None:
        if self._edits.pop(key, None) is not None:
            self._order = None
            self._folders.subtract(_ancestors(key))

    # Metadata of directories

    def directories(self, prefix: str = "") -> Iterator[Directory]:
        """Yield the metadata of directories below a prefix in tree order."""
        for key in sorted(self._meta, key=tree_order):
            if key.startswith(prefix) and key != prefix and self._meta[key]:
                yield Directory(key, self._meta[key])

    def folder_meta(self, prefix: str) -> dict[str, Any]:
        """Return the metadata of a directory, a copy."""
        return copied(self._meta.get(prefix))

    def set_folder_meta(self, prefix: str, meta: Mapping[str, Any] | None) -> None:
        """Set the metadata of a directory; None or nothing removes it.

        Raises:
            InvalidInputError: The key breaks a rule, or is a file or below one.
        """
        validate_logical_key(prefix[:-1], self._limits)
        if not meta:
            if self._meta.pop(prefix, None) is not None:
                self._folders.subtract(_ancestors(prefix))
            return
        if prefix not in self._meta:
            # With its slash the directory itself is among the places where no file may be.
            self._refuse_below_file(prefix)
            self._folders.update(_ancestors(prefix))
        self._meta[prefix] = meta


def _ancestors(key: str) -> Iterator[str]:
    """Yield the folders above a key, outermost first, each ending in `/`."""
    position = key.find("/")
    while position >= 0:
        yield key[: position + 1]
        position = key.find("/", position + 1)

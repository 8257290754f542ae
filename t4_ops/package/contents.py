"""What a package holds while it can be edited: a frozen manifest below, edits on top.

A package of a million entries that changes in ten costs ten objects, not a million.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import Limits, PackageRef, are_legal, tree_orders, validate_logical_key
from t4_ops.manifest import (
    VERSION,
    Entry,
    Manifest,
    View,
    are_in_order,
    canonical_json,
    top_hash_of,
    top_hash_of_pieces,
)
from t4_ops.package.edits import ancestors
from t4_ops.package.overlay import Overlay
from t4_ops.package.provenance import Provenance, Taken
from t4_ops.package.unproved import Unproved
from t4_ops.package.walking import KeyWalk
from t4_ops.transfer import Payload

# So many keys are looked at together.
_CHECK_BATCH: Final = 500


class Contents(Overlay):
    """Header, directory metadata and entries of a package under edit.

    Attributes:
        header: The manifest header.
        payloads: Objects that wait to be stored, by physical key.
        roots: Real paths of the folders that were scanned.
        origin: The revision that the manifest below is.
    """

    def __init__(self, base: View | None, limits: Limits) -> None:
        super().__init__(base, limits)
        self.roots: set[str] = set()
        self.origin: PackageRef | None = None
        self._provenance = Provenance()
        self._unproved = Unproved()
        self._begin(base)

    def rebase(self, base: View | None) -> None:
        """Take a manifest as the base and forget all edits: they are in it, or not wanted."""
        self._lay(base)
        self._provenance.forget_entries()
        self._unproved.clear()
        self._begin(base)

    def _begin(self, base: View | None) -> None:
        self.header: dict[str, Any] = {"version": VERSION} if base is None else base.header
        self.payloads: dict[str, Payload] = {}
        # The last top hash that was asked for: the canonical header, and the hash.
        self._hashed: tuple[str, str] | None = None

    def frozen(self) -> Manifest | None:
        """Return the manifest below if nothing was changed since, else None."""
        base = self._base
        if base is None or not self.is_plain():
            return None
        metas = {d.key: d.meta for d in base.directories()}
        # Compared as they are hashed: 1, 1.0 and true are equal in Python only.
        is_same = canonical_json([self.header, self._meta]) == canonical_json([base.header, metas])
        return base.whole() if is_same else None

    def top_hash(self, header: Mapping[str, Any]) -> str:
        """Return the top hash of the entries below a header; computed once until they change.

        Raises:
            FormatError: An entry has no hash yet.
        """
        try:
            text = canonical_json(dict(header))
        except (ValueError, RecursionError):
            return top_hash_of(header, ())  # says what is wrong with it
        if self._hashed is None or self._hashed[0] != text:
            if self._base is None or not self.is_plain():
                found = top_hash_of_pieces(header, self.pieces())
            elif text == canonical_json(self._base.header):
                found = self._base.top_hash
            else:
                found = self._base.whole().top_hash_with(header)
            self._hashed = text, found
        return self._hashed[1]

    # Where entries came from

    def adopt(self, entry: Entry, taken: Taken | None) -> None:
        """Remember where an entry of another package is from."""
        if taken is not None:
            self._provenance.take(entry, taken)

    def take_unproved(self, key: str, entry: Entry, other: Contents) -> None:
        """Remember an entry that is to be proved with its manifest before it is published.

        Args:
            key: Where it goes to.
            entry: The entry as it is in `other`.
            other: Whose it is; perhaps these contents themselves, when it is edited.
        """
        if entry.logical_key in other._edits:
            self._unproved.take_from(key, other._unproved, entry.logical_key)
        else:
            self._unproved.take(key, entry, other.base)

    def prove(self) -> None:
        """Prove the entries that were taken by way of an index.

        Raises:
            IntegrityError: An entry is not what its manifest says.
            NotFoundError: A manifest is gone.
        """
        self._unproved.prove()

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
        return self._provenance.sources_of(entry.physical_key for entry in self.edited(prefix))

    # Changing

    def fill(self, entries: Sequence[Entry]) -> None:
        """Put entries that only became more complete since they were read: size and hash."""
        for entry in entries:
            if entry.logical_key not in self._edits:
                self.set(entry)
        self._edits.replace(entries)

    def set(self, entry: Entry) -> None:
        """Put an entry at its logical key.

        Raises:
            InvalidInputError: The key breaks a rule, names a folder, or lies below a file.
        """
        if entry.logical_key not in self._edits:
            validate_logical_key(entry.logical_key, self._limits)
        self._set_legal(entry, None)

    def _set_legal(self, entry: Entry, walk: KeyWalk | None) -> None:
        """Do what `set` does with an entry whose key follows the rules.

        Args:
            entry: The entry.
            walk: Knows keys at which nothing is in the way.
        """
        key = entry.logical_key
        if key not in self._edits:
            if walk is None or not walk.has(key):
                self._refuse_folder(key)
                self._refuse_below_file(key)
            counts = self._folders
            for folder in ancestors(key):
                # By hand: `update` of a Counter takes longer than all the rest of this.
                counts[folder] = counts.get(folder, 0) + 1
        self._edits.put(entry)
        self._hashed = None

    def set_all(self, entries: Iterable[Entry]) -> None:
        """Put all entries, or none of them if one is refused or the iterator fails.

        Raises:
            InvalidInputError: A key breaks a rule, names a folder, or lies below a file.
        """
        done: list[tuple[str, Entry | None]] = []
        rest, base = iter(entries), self._base
        # Where the manifest below has a file, nothing is in the way of one: unless edits are.
        is_known = base is not None and base.is_whole and self.is_plain()
        walk = KeyWalk(base.whole()) if base is not None and is_known else None
        # Where nothing was before, keys in order are in nobody's way: a scanned folder's are.
        last = "" if base is None and not self._edits and not self._meta else None
        try:
            while batch := list(islice(rest, _CHECK_BATCH)):
                keys = [entry.logical_key for entry in batch]
                is_legal = are_legal(keys, self._limits)
                last = self._append(batch, keys, last) if is_legal and last is not None else None
                if last is not None:
                    done.extend((key, None) for key in keys)
                    continue
                for entry in batch:
                    before = self._edits.get(entry.logical_key)
                    if is_legal:
                        self._set_legal(entry, walk)
                    else:
                        self.set(entry)
                    done.append((entry.logical_key, before))
        except BaseException:
            for key, before in reversed(done):
                if before is None:
                    self._drop_edit(key)
                else:
                    self._edits.put(before)
            self._hashed = None
            raise

    def _append(self, entries: list[Entry], keys: list[str], last: str) -> str | None:
        """Put entries that come in order after all that are there, and return where they end.

        Args:
            entries: The entries.
            keys: Their logical keys, which follow the rules.
            last: The tree order of the last key that is there; empty: there is none.

        Returns:
            The tree order of the last one; None if they are not in order, and nothing was put.
        """
        orders = tree_orders(keys)
        if not are_in_order(orders, last):
            return None
        counts = self._folders
        for folder, files in Counter([key[: key.rfind("/") + 1] for key in keys]).items():
            for above in ancestors(folder):
                counts[above] += files
        self._edits.append(entries, keys, orders)
        self._hashed = None
        return orders[-1]

    def _refuse_folder(self, key: str) -> None:
        if self.has_folder(f"{key}/"):
            raise InvalidInputError(
                f"{key!r} is a directory of the package: delete it before setting a file there",
                key=key,
            )

    def _refuse_below_file(self, key: str) -> None:
        for folder in ancestors(key):
            if self._folders.get(folder, 0) == 0 and self.get(folder[:-1]) is not None:
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
        self._hashed = None
        if self.get(key) is not None:
            self._drop_edit(key)
            self._deleted.add(key)
        elif self.has_folder(prefix):
            for order in self._edits.orders(prefix):
                self._drop_edit(order.replace("\0", "/"))
            self._deleted_folders.add(prefix)
            for folder in [f for f in self._meta if f.startswith(prefix)]:
                self.set_folder_meta(folder, None)
        else:
            raise NotFoundError(f"the package has no {key!r}", key=key)

    def _drop_edit(self, key: str) -> None:
        if self._edits.drop(key):
            self._covered = None
            self._folders.subtract(ancestors(key))

    def set_folder_meta(self, prefix: str, meta: Mapping[str, Any] | None) -> None:
        """Set the metadata of a directory; None or nothing removes it.

        Raises:
            InvalidInputError: The key breaks a rule, or is a file or below one.
        """
        validate_logical_key(prefix[:-1], self._limits)
        if not meta:
            if self._meta.pop(prefix, None) is not None:
                self._folders.subtract(ancestors(prefix))
            return
        if prefix not in self._meta:
            # With its slash the directory itself is among the places where no file may be.
            self._refuse_below_file(prefix)
            self._folders.update(ancestors(prefix))
        self._meta[prefix] = meta

"""Pointers: `latest`, and one for each revision.

`latest` moves only by compare-and-swap and is the commit point: whoever dies before leaves a
registry that reads as before, whoever dies after has published.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import is_top_hash, validate_hash_prefix, validate_name, validate_top_hash
from t4_ops.registry.common import LATEST, NAMED, patiently
from t4_ops.registry.latest import Latest, Swap
from t4_ops.registry.pointer import Anything, Pointer, Published, conflict, is_expected
from t4_ops.registry.revisions import Claim, Revisions
from t4_ops.storage import ObjectInfo, Store

_log = logging.getLogger(__name__)


class Pointers:
    """The pointers of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._latest = Latest(store)
        self._revisions = Revisions(store)

    @property
    def url(self) -> str:
        """The normalised registry URL."""
        return self._store.url

    def latest(self, name: str) -> Pointer | None:
        """Return where `latest` points, or None if there is no such package.

        Raises:
            FormatError: The pointer holds something else than a top hash.
        """
        return self._latest.read(name)

    def publish(self, name: str, top_hash: str, *, expected: str | Anything | None) -> Published:
        """Make a stored manifest a revision of a package and move `latest` to it.

        A loser's own pointer is withdrawn, unless a reply was lost on the way: then the revision
        may have been `latest` for a moment and others may build on it, so it stays listed.

        Args:
            name: Package name.
            top_hash: The manifest's; it must be stored already.
            expected: What `latest` must hold: a top hash, None for "no such package", or ANYTHING.

        Raises:
            ConflictError: `latest` holds something else.
            StorageError: The storage failed; whether `latest` moved is not known. Repeat the call.
        """
        validate_top_hash(top_hash)
        claim = Claim(self._revisions, name, top_hash)
        return self._latest.swap(Swap(self.url, name, top_hash, expected, claim))

    def check_latest(
        self, name: str, expected: str | Anything | None, top_hash: str | None
    ) -> None:
        """Refuse early what `publish` would refuse later, before anything is moved.

        Args:
            name: Package name.
            expected: What `latest` must hold.
            top_hash: What is going to be published, if known: nobody conflicts with himself.

        Raises:
            ConflictError: `latest` holds something else.
        """
        current = self._latest.read(name)
        held = None if current is None else current.top_hash
        if not is_expected(held, expected) and (held is None or held != top_hash):
            raise conflict(self.url, name, expected, held)

    def revisions(self, name: str) -> list[Pointer]:
        """Return the pointers of a package's revisions, oldest first; `latest` is not among them.

        Raises:
            NotFoundError: There is no such package.
        """
        names = self._names(name)
        return self._revisions.read_all(name, _oldest_first(names))

    def pointers(self, name: str) -> list[Pointer]:
        """Return all pointers of a package: its revisions, oldest first, and then `latest`.

        It costs a listing, and one read for each pointer.

        Raises:
            NotFoundError: There is no such package.
            FormatError: `latest` holds something else than a top hash.
        """
        names = self._names(name)
        latest = [pointer for pointer in names if pointer == LATEST]
        return self._revisions.read_all(name, [*_oldest_first(names), *latest], strict=latest)

    def listed(self, name: str, after: str = "") -> list[ObjectInfo]:
        """Return what a listing says of a package's revision pointers, oldest first, unread.

        Args:
            name: Package name.
            after: Only pointers whose names sort after this one.

        Returns:
            Their facts; `key` is the pointer's own name. Empty where there is no such package.
        """
        return patiently(lambda: list(self._revisions.listed(name, after)))

    def read_all(self, name: str, pointers: Iterable[str]) -> list[Pointer]:
        """Return the pointers of these names; one that is damaged or gone hides no other."""
        return self._revisions.read_all(name, pointers)

    def _names(self, name: str) -> list[str]:
        names = patiently(lambda: list(self._revisions.names(name)))
        if not names:
            raise NotFoundError(f"{self.url} has no package {name!r}", key=name)
        return names

    def newest_first(self, name: str, damaged: dict[str, str]) -> Iterator[Pointer]:
        """Yield the pointers of a package's revisions, newest first, each read when asked for.

        Args:
            name: Package name.
            damaged: Takes those that hold something else than a top hash: where, and what is wrong.
        """
        return self._revisions.newest_first(name, damaged)

    def packages(self, prefix: str = "") -> list[str]:
        """Return the names of all packages, sorted; stray objects are passed over.

        Args:
            prefix: What names begin with; with a `/` in it only that namespace is listed.
        """
        found = []
        own, slash, _ = prefix.partition("/")
        for namespace in [f"{NAMED}{own}/"] if slash else self._folders(NAMED):
            for folder in self._folders(namespace):
                name = folder[len(NAMED) : -1]
                try:
                    found.append(validate_name(name))
                except InvalidInputError:
                    _log.warning("%s: %s is no package name, passed over", self.url, folder)
        return sorted(name for name in found if name.startswith(prefix))

    def _folders(self, prefix: str) -> tuple[str, ...]:
        return patiently(lambda: self._store.list_folder(prefix)).folders

    def resolve(self, name: str, top_hash: str | None = None) -> str:
        """Return the full top hash of a revision.

        Args:
            name: Package name.
            top_hash: A full top hash, taken as it is (its manifest proves itself); a prefix, which
                must be unique among the package's own revisions; or None for `latest`.

        Raises:
            NotFoundError: There is no such package or revision.
            InvalidInputError: The prefix is none, or several revisions begin with it.
        """
        validate_name(name)
        if top_hash is None:
            current = self._latest.read(name)
            if current is None:
                raise NotFoundError(
                    f"{self.url} has no package {name!r}: check the name and the registry", key=name
                )
            return current.top_hash
        validate_hash_prefix(top_hash)
        if is_top_hash(top_hash):
            return top_hash
        matches = sorted(item for item in self._own_hashes(name) if item.startswith(top_hash))
        if not matches:
            raise NotFoundError(
                f"{self.url}: no revision of {name!r} begins with {top_hash!r}", key=top_hash
            )
        if len(matches) > 1:
            raise InvalidInputError(
                f"{self.url}: {len(matches)} revisions of {name!r} begin with {top_hash!r}; give"
                " more digits",
                key=top_hash,
            )
        return matches[0]

    def _own_hashes(self, name: str) -> set[str]:
        """Return what the package's own pointers hold; one that is damaged hides no other.

        Raises:
            NotFoundError: There is no such package.
        """
        return {p.top_hash for p in self._revisions.read_all(name, self._names(name))}

    def rollback(self, name: str, top_hash: str, *, expected: str | Anything | None) -> Published:
        """Move `latest` back to an earlier revision of the same package.

        Args:
            name: Package name.
            top_hash: A top hash, or a prefix, that one of the package's own pointers holds.
            expected: What `latest` must hold, or ANYTHING.

        Raises:
            NotFoundError: No pointer of this package holds it.
            ConflictError: `latest` holds something else than expected.
        """
        validate_hash_prefix(top_hash)
        target = self.resolve(name, top_hash)
        # A prefix resolves among the package's own revisions only.
        if is_top_hash(top_hash) and target not in self._own_hashes(name):
            raise NotFoundError(
                f"{self.url}: {target} is no revision of {name!r}; rolling back to another"
                " package's content would mix them up",
                key=target,
            )
        return self._latest.swap(Swap(self.url, name, target, expected), may_be_damaged=True)

    def delete(
        self,
        name: str,
        top_hash: str | None = None,
        *,
        is_readable: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Remove a package's pointers, or those of one revision; manifests and objects stay.

        When `latest` points at the removed revision it moves to the newest that is left first.

        Args:
            name: Package name.
            top_hash: The revision; None: all.
            is_readable: Whether `latest` may move to a revision: one whose manifest is there.

        Raises:
            NotFoundError: There is no such package or revision, or none that `latest` may move to.
            ConflictError: `latest` moved meanwhile; nothing was removed.
        """
        if top_hash is None:
            self._delete_all(name)
            return
        pointers = self.revisions(name)
        target = self.resolve(name, top_hash)
        doomed = [p for p in pointers if p.top_hash == target]
        current = self._latest.read(name)
        points_there = current is not None and current.top_hash == target
        if not doomed and not points_there:
            raise NotFoundError(f"{self.url}: {top_hash} is no revision of {name!r}", key=top_hash)
        if current is not None and points_there:
            left = [p.top_hash for p in reversed(pointers) if p not in doomed]
            successor = next(filter(is_readable, left), None)
            if left and successor is None:
                raise NotFoundError(
                    f"{self.url}: of {name!r} no other revision has its manifest, so `latest` would"
                    " lead nowhere: push one, or delete the package",
                    key=name,
                )
            self._latest.leave(name, current, successor)
        for pointer in doomed:
            self._revisions.remove(name, pointer.name)

    def unpublish(self, name: str, top_hash: str) -> None:
        """Take back the first publication of a package: `latest` goes away, and with it the name.

        `latest` moves nowhere else. An older pointer is of a writer who died before he moved it,
        and stays as it is.

        Raises:
            ConflictError: `latest` holds something else, or a newer revision is listed, which may
                be on its way or was rolled back; nothing was removed.
        """
        pointers = self.read_all(name, [info.key for info in self.listed(name)])
        current = self._latest.read(name)
        held = None if current is None else current.top_hash
        if current is None or held != top_hash:
            raise conflict(self.url, name, top_hash, held)
        if pointers and pointers[-1].top_hash != top_hash:
            raise conflict(self.url, name, top_hash, pointers[-1].top_hash)
        self._latest.leave(name, current, None)
        for pointer in pointers:
            if pointer.top_hash == top_hash:
                self._revisions.remove(name, pointer.name)

    def _delete_all(self, name: str) -> None:
        """Remove a package's pointers, damaged ones too, `latest` first."""
        names = self._names(name)
        current = self._latest.read_or_damaged(name)
        if current is not None:
            self._latest.leave(name, current, None)
        for pointer in names:
            if pointer != LATEST:
                self._revisions.remove(name, pointer)


def _oldest_first(names: Iterable[str]) -> list[str]:
    return sorted((pointer for pointer in names if pointer != LATEST), key=int)

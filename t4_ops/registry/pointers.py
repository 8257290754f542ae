"""Pointers: `latest`, and one for each revision.

`latest` moves only by compare-and-swap and is the commit point: whoever dies before leaves a
registry that reads as before, whoever dies after has published.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from t4_ops.errors import ConflictError, FormatError, InvalidInputError, NotFoundError
from t4_ops.keys import is_top_hash, validate_hash_prefix, validate_name, validate_top_hash
from t4_ops.registry.common import LATEST, MAX_ROUNDS, NAMED, gives_up, pause
from t4_ops.storage import PreconditionFailedError, Store

# A pointer is 64 digits; T4 and careless editors add white space.
_POINTER_MAX_BYTES: Final = 1024
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a pointer holds.

    Attributes:
        name: The pointer's own name: `latest`, or unix seconds.
        top_hash: The revision it points at.
        etag: The token to move it with.
    """

    name: str
    top_hash: str
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of a publication.

    Attributes:
        top_hash: What `latest` holds now.
        previous: What it held before; None: the package is new.
        changed: Whether it moved.
    """

    top_hash: str
    previous: str | None
    changed: bool


class Anything:
    """The type of `ANYTHING`."""


ANYTHING: Final = Anything()
"""As `expected`: whatever `latest` holds may be replaced, still by compare-and-swap."""


class Pointers:
    """The pointers of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def url(self) -> str:
        """The normalised registry URL."""
        return self._store.url

    def latest(self, name: str) -> Pointer | None:
        """Return where `latest` points, or None if there is no such package.

        Raises:
            FormatError: The pointer holds something else than a top hash.
        """
        try:
            return self._read_pointer(name, LATEST)
        except NotFoundError:
            return None

    def _read_pointer(self, name: str, pointer: str) -> Pointer:
        key = f"{NAMED}{validate_name(name)}/{pointer}"
        advice = "roll back to one of the package's revisions" if pointer == LATEST else "remove it"
        try:
            content = self._store.read(key, max_bytes=_POINTER_MAX_BYTES)
        except FormatError as exc:
            raise FormatError(f"{exc}, so it is no pointer: {advice}", key=key) from exc
        # quilt3 writes no newline, T4 strips one: write without, read with strip.
        text = content.data.decode("ascii", errors="replace").strip()
        if not is_top_hash(text):
            raise FormatError(
                f"{self.url}: pointer {key} holds {text[:80]!r}, not a top hash: {advice}", key=key
            )
        return Pointer(pointer, text, content.info.etag)

    def _latest_or_damaged(self, name: str) -> Pointer | None:
        """Return where `latest` points; for a damaged one a pointer to nothing, to move it away."""
        try:
            return self.latest(name)
        except FormatError:
            return Pointer(LATEST, "", self._store.head(f"{NAMED}{name}/{LATEST}").etag)

    def publish(self, name: str, top_hash: str, *, expected: str | Anything | None) -> Published:
        """Make a stored manifest a revision of a package and move `latest` to it.

        Args:
            name: Package name.
            top_hash: The manifest's; it must be stored already.
            expected: What `latest` must hold: a top hash, None for "no such package", or ANYTHING.

        Raises:
            ConflictError: `latest` holds something else; nothing changed.
        """
        validate_top_hash(top_hash)
        own_pointer: str | None = None
        for _ in range(MAX_ROUNDS):
            current = self.latest(name)
            held = None if current is None else current.top_hash
            if held == top_hash:
                # Also the answer when our own write succeeded and its reply was lost.
                return Published(top_hash, held, changed=own_pointer is not None)
            if not _is_expected(held, expected):
                self._remove_pointer(name, own_pointer)
                raise _conflict(self.url, name, expected, held)
            if own_pointer is None:
                own_pointer = self._add_revision(name, top_hash)
            if self._move_latest(name, top_hash, current):
                return Published(top_hash, held, changed=True)
            pause()
        raise gives_up(self.url, name)

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
        current = self.latest(name)
        held = None if current is None else current.top_hash
        if not _is_expected(held, expected) and (held is None or held != top_hash):
            raise _conflict(self.url, name, expected, held)

    def _move_latest(self, name: str, top_hash: str, current: Pointer | None) -> bool:
        key = f"{NAMED}{name}/{LATEST}"
        try:
            if current is None:
                self._store.write(key, top_hash.encode(), create_only=True)
            else:
                self._store.write(key, top_hash.encode(), if_match=current.etag)
        except PreconditionFailedError:
            return False
        return True

    def _add_revision(self, name: str, top_hash: str) -> str:
        """Create a pointer for a revision and return its name, the unix second it took.

        It sorts after all others, also when this machine's clock is slow: whoever deletes the
        newest revision later must find the one before it.
        """
        prefix = f"{NAMED}{name}/"
        second = int(time.time())
        for _ in range(MAX_ROUNDS):
            later = [int(p) for p in self._pointer_names(name, after=str(second)) if p != LATEST]
            second = max([second, *(p + 1 for p in later)])
            try:
                self._store.write(f"{prefix}{second}", top_hash.encode(), create_only=True)
            except PreconditionFailedError:
                second += 1
                continue
            return str(second)
        raise gives_up(self.url, prefix)

    def _remove_pointer(self, name: str, pointer: str | None) -> None:
        if pointer is not None:
            self._store.delete(f"{NAMED}{name}/{pointer}")

    def _pointer_names(self, name: str, after: str = "") -> Iterator[str]:
        """Yield the names of a package's pointers in order, passing over stray objects."""
        prefix = f"{NAMED}{validate_name(name)}/"
        for info in self._store.list(prefix, start_after=prefix + after if after else ""):
            pointer = info.key[len(prefix) :]
            if pointer == LATEST or (pointer.isascii() and pointer.isdigit()):
                yield pointer

    def revisions(self, name: str) -> list[Pointer]:
        """Return the pointers of a package's revisions, oldest first; `latest` is not among them.

        Raises:
            NotFoundError: There is no such package.
        """
        names = list(self._pointer_names(name))
        if not names:
            raise NotFoundError(f"{self.url} has no package {name!r}", key=name)
        seconds = sorted((pointer for pointer in names if pointer != LATEST), key=int)
        return self._readable(name, seconds)

    def _readable(
        self, name: str, names: list[str], damaged: dict[str, str] | None = None
    ) -> list[Pointer]:
        """Return the pointers of these names; one that is damaged or gone hides no other."""
        found = []
        for pointer in names:
            try:
                found.append(self._read_pointer(name, pointer))
            except NotFoundError:
                continue  # withdrawn since it was listed
            except FormatError as exc:
                _log.warning("%s; passed over", exc)
                if damaged is not None:
                    damaged[f"{self.url}/{NAMED}{name}/{pointer}"] = str(exc)
        return found

    def newest_first(self, name: str, damaged: dict[str, str]) -> Iterator[Pointer]:
        """Yield the pointers of a package's revisions, newest first, each read when asked for.

        Args:
            name: Package name.
            damaged: Takes those that hold something else than a top hash: where, and what is wrong.
        """
        seconds = (pointer for pointer in self._pointer_names(name) if pointer != LATEST)
        for second in sorted(seconds, key=int, reverse=True):
            yield from self._readable(name, [second], damaged)

    def packages(self) -> list[str]:
        """Return the names of all packages, sorted; stray objects are passed over."""
        found = []
        for namespace in self._store.list_folder(NAMED).folders:
            for folder in self._store.list_folder(namespace).folders:
                name = folder[len(NAMED) : -1]
                try:
                    found.append(validate_name(name))
                except InvalidInputError:
                    _log.warning("%s: %s is no package name, passed over", self.url, folder)
        return sorted(found)

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
            current = self.latest(name)
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
        names = list(self._pointer_names(name))
        if not names:
            raise NotFoundError(f"{self.url} has no package {name!r}", key=name)
        return {pointer.top_hash for pointer in self._readable(name, names)}

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
        for _ in range(MAX_ROUNDS):
            current = self._latest_or_damaged(name)
            held = None if current is None else current.top_hash or None
            if held == target:
                return Published(target, held, changed=False)
            if not _is_expected(held, expected):
                raise _conflict(self.url, name, expected, held)
            if self._move_latest(name, target, current):
                return Published(target, held, changed=True)
            pause()
        raise gives_up(self.url, name)

    def delete(self, name: str, top_hash: str | None = None) -> None:
        """Remove a package's pointers, or those of one revision; manifests and objects stay.

        When `latest` points at the removed revision it moves to the newest that is left first.

        Raises:
            NotFoundError: There is no such package or revision.
            ConflictError: `latest` moved meanwhile; nothing was removed.
        """
        if top_hash is None:
            self._delete_all(name)
            return
        pointers = self.revisions(name)
        target = self.resolve(name, top_hash)
        doomed = [p for p in pointers if p.top_hash == target]
        current = self.latest(name)
        points_there = current is not None and current.top_hash == target
        if not doomed and not points_there:
            raise NotFoundError(f"{self.url}: {top_hash} is no revision of {name!r}", key=top_hash)
        if current is not None and points_there:
            left = [p for p in pointers if p not in doomed]
            self._leave_latest(name, current, left[-1].top_hash if left else None)
        for pointer in doomed:
            self._remove_pointer(name, pointer.name)

    def _delete_all(self, name: str) -> None:
        """Remove a package's pointers, damaged ones too, `latest` first."""
        names = list(self._pointer_names(name))
        if not names:
            raise NotFoundError(f"{self.url} has no package {name!r}", key=name)
        current = self._latest_or_damaged(name)
        if current is not None:
            self._leave_latest(name, current, None)
        for pointer in names:
            if pointer != LATEST:
                self._remove_pointer(name, pointer)

    def _leave_latest(self, name: str, current: Pointer, successor: str | None) -> None:
        try:
            if successor is not None:
                if self._move_latest(name, successor, current):
                    return
            else:
                self._store.delete(f"{NAMED}{name}/{LATEST}", if_match=current.etag)
                return
        except PreconditionFailedError:
            pass
        now = self.latest(name)
        raise _conflict(self.url, name, current.top_hash, None if now is None else now.top_hash)


def _is_expected(held: str | None, expected: str | Anything | None) -> bool:
    return isinstance(expected, Anything) or held == expected


def _conflict(
    url: str, name: str, expected: str | Anything | None, held: str | None
) -> ConflictError:
    wanted = None if isinstance(expected, Anything) else expected
    return ConflictError(
        f"{url}: latest of {name!r} is {held or 'absent'}, expected {wanted or 'absent'}: browse"
        " it again and redo the change, or push with force=True",
        name=name,
        expected=wanted,
        actual=held,
    )

"""One pointer for each revision, named by the unix second it was published in."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from t4_ops.errors import FormatError, NotFoundError, StorageError
from t4_ops.keys import is_folder
from t4_ops.registry.common import LATEST, MAX_ROUNDS, Doubts, gives_up, patiently
from t4_ops.registry.pointer import Pointer, pointer_key, read_pointer
from t4_ops.storage import NoStoreError, ObjectInfo, PreconditionFailedError, Store

# Each pointer is a request of its own. At 30 ms a request, 1,000 revisions take 2 s this way.
_READERS: Final = 16
# Seconds that a pointer's name may be ahead of its neighbour's for a collision.
_LONGEST_JUMP: Final = 32
_log = logging.getLogger(__name__)
# The last pointer that this process made, by package.
_last_seen: dict[tuple[object, ...], int] = {}
_MOST_SEEN: Final = 1024


class Revisions:
    """The pointers of revisions of the packages of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def names(self, name: str, after: str = "") -> Iterator[str]:
        """Yield the names of a package's pointers, `latest` too, passing over stray objects.

        Args:
            name: Package name.
            after: Only names that sort after this one.
        """
        for info in self._listed(name, after):
            yield info.key

    def listed(self, name: str, after: str = "") -> list[ObjectInfo]:
        """Return the facts of a package's pointers, oldest first, without `latest`.

        Args:
            name: Package name.
            after: Only names that sort after this one.
        """
        found = [info for info in self._listed(name, after) if info.key != LATEST]
        return sorted(found, key=lambda info: int(info.key))

    def _listed(self, name: str, after: str) -> Iterator[ObjectInfo]:
        """Yield the facts of a package's pointers with the pointers' own names as keys."""
        prefix = pointer_key(name, "")
        for info in self._store.list_level(prefix, start_after=prefix + after if after else ""):
            pointer = info.key[len(prefix) :]
            if pointer == LATEST or (pointer.isascii() and pointer.isdigit()):
                yield info.with_key(pointer)

    def read_all(
        self, name: str, pointers: Iterable[str], strict: Collection[str] = ()
    ) -> list[Pointer]:
        """Return the pointers of these names; one that is damaged or gone hides no other.

        Args:
            name: Package name.
            pointers: Names of pointers.
            strict: Those that must not be damaged.

        Raises:
            FormatError: One of `strict` holds something else than a top hash.
        """
        wanted = list(pointers)
        if len(wanted) < 2 or is_folder(self._store.url):
            found = [self._readable(name, pointer, strict) for pointer in wanted]
        else:
            with ThreadPoolExecutor(min(_READERS, len(wanted)), "t4-pointers") as pool:
                reads = [pool.submit(self._readable, name, pointer, strict) for pointer in wanted]
                try:
                    found = [read.result() for read in reads]
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return [pointer for pointer in found if pointer is not None]

    def _readable(
        self,
        name: str,
        pointer: str,
        strict: Collection[str] = (),
        damaged: dict[str, str] | None = None,
    ) -> Pointer | None:
        try:
            return read_pointer(self._store, name, pointer)
        except NoStoreError:
            raise
        except NotFoundError:
            return None  # withdrawn since it was listed
        except FormatError as exc:
            if pointer in strict:
                raise
            _log.warning("%s; passed over", exc)
            if damaged is not None:
                damaged[f"{self._store.url}/{pointer_key(name, pointer)}"] = str(exc)
            return None

    def newest_first(self, name: str, damaged: dict[str, str]) -> Iterator[Pointer]:
        """Yield the pointers of a package's revisions, newest first, each read when asked for.

        Args:
            name: Package name.
            damaged: Takes those that hold something else than a top hash: where, and what is wrong.
        """
        seconds = (pointer for pointer in self.names(name) if pointer != LATEST)
        for second in sorted(seconds, key=int, reverse=True):
            pointer = self._readable(name, second, damaged=damaged)
            if pointer is not None:
                yield pointer

    def add(self, name: str, top_hash: str) -> tuple[str, bool]:
        """Create a pointer for a revision.

        It sorts after all others, also when this machine's clock is slow: whoever deletes the
        newest revision later must find the one before it.

        Returns:
            The pointer's name, and whether it is sure that this very call created it: after a lost
            reply a rival who publishes the same content may have.

        Raises:
            ConflictError: Others took every second that was tried.
            StorageError: The storage failed for good.
        """
        second, doubts = self._free_second(name), Doubts()
        for lost in range(MAX_ROUNDS):
            key = pointer_key(name, str(second))
            try:
                self._store.write(key, top_hash.encode(), create_only=True)
            except PreconditionFailedError as exc:
                if exc.was_repeated and self._holds(name, second, top_hash):
                    return str(second), False
                # Rivals who all took the next second would meet there again and again.
                second += random.randint(1, min(2**lost, _LONGEST_JUMP))
            except StorageError as exc:
                doubts.count(exc)
                if self._holds(name, second, top_hash):
                    return str(second), False
            else:
                self._note(name, second)
                return str(second), True
        raise gives_up(self._store.url, pointer_key(name, ""))

    def _free_second(self, name: str) -> int:
        """Return a second that sorts after all pointers of a package: now, if it does.

        Where many revisions were published within seconds their names lie ahead of the clock. What
        this process saw of them last time it need not be told again: it asks for that name and
        those after it, and for all if that one is gone.
        """
        now, last = int(time.time()), _last_seen.get(self._place(name), 0)
        later = self._seconds(name, last - 1) if last > now else []
        if last not in later:
            later = self._seconds(name, now - 1)
        return max([now, *(second + 1 for second in later)])

    def _seconds(self, name: str, after: int) -> list[int]:
        names = patiently(lambda: list(self.names(name, after=str(after))))
        return [int(pointer) for pointer in names if pointer != LATEST]

    def _place(self, name: str) -> tuple[object, ...]:
        return self._store.url, getattr(self._store, "settings", None), name

    def _note(self, name: str, second: int) -> None:
        _last_seen[self._place(name)] = second
        while len(_last_seen) > _MOST_SEEN:
            # Another thread may take it out first.
            _last_seen.pop(next(iter(_last_seen)), None)

    def _holds(self, name: str, second: int, top_hash: str) -> bool:
        pointer = self._readable(name, str(second))
        return pointer is not None and pointer.top_hash == top_hash

    def remove(self, name: str, pointer: str) -> None:
        """Remove a pointer."""
        self._store.delete(pointer_key(name, pointer))


class Claim:
    """The pointer of a revision that is on its way to be `latest`."""

    def __init__(self, revisions: Revisions, name: str, top_hash: str) -> None:
        self._revisions = revisions
        self._name = name
        self._top_hash = top_hash
        self._made: tuple[str, bool] | None = None

    @property
    def is_made(self) -> bool:
        """Whether there is one."""
        return self._made is not None

    def make(self) -> None:
        """Create the pointer, the first time."""
        if self._made is None:
            self._made = self._revisions.add(self._name, self._top_hash)

    def withdraw(self) -> None:
        """Remove the pointer of a revision that came too late, if it is ours beyond doubt."""
        if self._made is not None:
            pointer, is_own = self._made
            if is_own:
                self._revisions.remove(self._name, pointer)

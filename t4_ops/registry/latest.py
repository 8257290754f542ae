"""`latest`: the one pointer that moves, by compare-and-swap only."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import Enum, auto

from t4_ops.errors import ConflictError, FormatError, NotFoundError, StorageError
from t4_ops.registry.common import LATEST, Doubts, rounds
from t4_ops.registry.pointer import (
    POINTER_MAX_BYTES,
    Anything,
    Pointer,
    Published,
    conflict,
    is_expected,
    parse_pointer,
    pointer_key,
    read_pointer,
)
from t4_ops.registry.revisions import Claim
from t4_ops.storage import Content, FolderStore, NoStoreError, PreconditionFailedError, Store


class Move(Enum):
    """What became of an attempt to move `latest`."""

    DONE = auto()
    LOST = auto()
    """Another writer was first; ours changed nothing."""
    UNKNOWN = auto()
    """No answer, or one that an earlier try of ours may have caused: read `latest` again."""


class Swap:
    """One wish to move `latest`, and what was seen on the way.

    Args:
        url: The registry.
        name: Package name.
        top_hash: Where to.
        expected: What it must hold: a top hash, None for "no such package", or ANYTHING.
        claim: The revision's own pointer, made before the first try.

    Attributes:
        is_doubtful: Whether a try of ours may have succeeded without our knowing.
    """

    def __init__(
        self,
        url: str,
        name: str,
        top_hash: str,
        expected: str | Anything | None,
        claim: Claim | None = None,
    ) -> None:
        self.url = url
        self.name = name
        self.top_hash = top_hash
        self.is_doubtful = False
        self._expected = expected
        self._claim = claim
        self._before: str | None = None

    def look(self, current: Pointer | None) -> Published | None:
        """Return the outcome if `latest` is where it shall be, else None: it may be moved.

        Raises:
            ConflictError: It holds something else than expected.
        """
        held = None if current is None else current.top_hash or None
        if held == self.top_hash:
            # Also the answer when our own write succeeded and its reply was lost.
            is_ours = self.is_doubtful or (self._claim is not None and self._claim.is_made)
            return Published(self.top_hash, self._before if is_ours else held, is_ours)
        if not is_expected(held, self._expected):
            raise conflict(self.url, self.name, self._expected, held)
        self._before = held
        return None

    def claim(self) -> None:
        """List the revision before `latest` points at it."""
        if self._claim is not None:
            self._claim.make()

    def withdraw(self) -> None:
        """Take the revision from the list again, unless it may have been `latest` for a moment."""
        if self._claim is not None and not self.is_doubtful:
            self._claim.withdraw()

    def done(self) -> Published:
        """Return the outcome of a move from what was looked at last."""
        return Published(self.top_hash, self._before, changed=True)


class Latest:
    """The `latest` of the packages of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, name: str) -> Pointer | None:
        """Return where `latest` points, or None if there is no such package.

        Raises:
            FormatError: The pointer holds something else than a top hash.
        """
        try:
            return read_pointer(self._store, name, LATEST)
        except NoStoreError:
            raise
        except NotFoundError:
            return None

    def read_or_damaged(self, name: str) -> Pointer | None:
        """Return where `latest` points; for a damaged one a pointer to nothing, to move it away."""
        try:
            return self.read(name)
        except FormatError:
            return Pointer(LATEST, "", self._store.head(pointer_key(name, LATEST)).etag)

    def swap(self, swap: Swap, *, may_be_damaged: bool = False) -> Published:
        """Move `latest`, if it holds what is expected.

        Args:
            swap: From what to what.
            may_be_damaged: Whether to move it away from something that is no top hash, too.

        Raises:
            ConflictError: It holds something else; a pointer made for the revision is withdrawn.
            FormatError: It holds no top hash.
            StorageError: The storage failed; whether `latest` moved is not known.
        """
        way = self._wait if isinstance(self._store, FolderStore) else self._race
        try:
            return way(swap, may_be_damaged)
        except ConflictError:
            swap.withdraw()
            raise

    def _wait(self, swap: Swap, may_be_damaged: bool) -> Published:
        """Move it in a folder, whose lock makes rivals wait for their turn; nobody loses."""
        assert isinstance(self._store, FolderStore)
        read = self.read_or_damaged if may_be_damaged else self.read
        if (outcome := swap.look(read(swap.name))) is not None:
            return outcome
        swap.claim()
        found: list[Published] = []

        def accept(content: Content | None) -> bool:
            outcome = swap.look(self._parsed(swap.name, content, may_be_damaged))
            found.extend(() if outcome is None else (outcome,))
            return not found

        self._store.replace(
            pointer_key(swap.name, LATEST),
            swap.top_hash.encode(),
            accept,
            max_bytes=POINTER_MAX_BYTES,
        )
        return found[0] if found else swap.done()

    def _race(self, swap: Swap, may_be_damaged: bool) -> Published:
        """Move it in a bucket: look, write on condition that it is still so, else look again."""
        read = self.read_or_damaged if may_be_damaged else self.read
        doubts = Doubts()
        with _turn(f"{self._store.url}/{swap.name}"):
            for _ in rounds(self._store.url, swap.name):
                current = read(swap.name)
                if (outcome := swap.look(current)) is not None:
                    return outcome
                swap.claim()
                move = self._move(swap.name, swap.top_hash, current, doubts)
                if move is Move.DONE:
                    return swap.done()
                swap.is_doubtful = swap.is_doubtful or move is Move.UNKNOWN
        raise AssertionError("unreachable")

    def _parsed(self, name: str, content: Content | None, may_be_damaged: bool) -> Pointer | None:
        if content is None:
            return None
        try:
            return parse_pointer(self._store.url, name, LATEST, content)
        except FormatError:
            if not may_be_damaged:
                raise
            return Pointer(LATEST, "", content.info.etag)

    def _move(self, name: str, top_hash: str, current: Pointer | None, doubts: Doubts) -> Move:
        """Try once to move `latest` away from what it was seen to hold."""
        key = pointer_key(name, LATEST)
        try:
            if current is None:
                self._store.write(key, top_hash.encode(), create_only=True)
            else:
                self._store.write(key, top_hash.encode(), if_match=current.etag)
        except PreconditionFailedError as exc:
            return Move.UNKNOWN if exc.was_repeated else Move.LOST
        except StorageError as exc:
            doubts.count(exc)
            return Move.UNKNOWN
        return Move.DONE

    def leave(self, name: str, current: Pointer, successor: str | None) -> None:
        """Move `latest` away from a revision that is going to be removed.

        Args:
            name: Package name.
            current: What `latest` was seen to hold.
            successor: Where to; None removes it.

        Raises:
            ConflictError: It moved meanwhile.
        """
        try:
            if successor is None:
                self._store.delete(pointer_key(name, LATEST), if_match=current.etag)
                return
            if self._move(name, successor, current, Doubts()) is Move.DONE:
                return
        except PreconditionFailedError:
            pass
        now = self.read(name)
        held = None if now is None else now.top_hash
        if held != successor:
            raise conflict(self._store.url, name, current.top_hash, held)


def _turn(pointer: str) -> AbstractContextManager[None]:
    # Imported here: users of folders are spared loading ctypes.
    try:
        from t4_ops.registry.turns import turn
    except ImportError as exc:
        if exc.name not in ("ctypes", "_ctypes"):
            raise
        # A Python that was built without libffi. It races, as between machines.
        return nullcontext()
    return turn(pointer)

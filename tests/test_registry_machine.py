"""A registry with rivals and lost replies does what a plain model does, whatever comes in turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_mock import MockerFixture

from t4_ops.errors import ConflictError, NotFoundError, StorageError
from t4_ops.keys import DEFAULT_LIMITS
from t4_ops.manifest import Manifest
from t4_ops.registry import ANYTHING, Anything, Registry
from t4_ops.settings import load_settings
from t4_ops.storage import (
    Content,
    FolderStore,
    ObjectInfo,
    PreconditionFailedError,
    Store,
    open_store,
)

NAME = "team/data"
PLACES = ("latest", "time")
TROUBLES = (
    None,
    "not sent",  # the request never arrives
    "lost",  # it does its work, but the reply is lost
    "repeated",  # so too, and the client's own retry is refused
    "rival before",  # somebody else is faster
    "rival after",  # lost, and somebody else comes before we look again
)


@dataclass
class Trouble:
    """What happens at the next write of a pointer.

    Attributes:
        place: `latest`, or `time`, the pointer of the revision.
        kind: One of `TROUBLES`.
    """

    place: str
    kind: str


class Wire:
    """A real store behind a wire that loses replies, and rivals who use its delays."""

    def __init__(self, store: Any, rival: Callable[[], None]) -> None:
        self._store = store
        self._rival = rival
        self.trouble: Trouble | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, key: str, data: bytes, **conditions: Any) -> ObjectInfo:
        kind = self._kind(key)
        if kind == "not sent":
            raise StorageError("the connection broke", key=key, retryable=True)
        if kind == "rival before":
            self._rival()
        try:
            written: ObjectInfo = self._store.write(key, data, **conditions)
        except PreconditionFailedError:
            # Nothing was done whose reply could be lost: the trouble is still to come.
            if kind not in (None, "rival before"):
                self.trouble = Trouble("latest" if key.endswith("/latest") else "time", kind)
            raise
        if kind == "repeated":
            raise PreconditionFailedError("there is another", key=key, was_repeated=True)
        if kind == "rival after":
            self._rival()
        if kind in ("lost", "rival after"):
            raise StorageError("the connection broke", key=key, retryable=True)
        return written

    def _kind(self, key: str) -> str | None:
        if not self.trouble or "/named_packages/" not in key:
            return None
        if (self.trouble.place == "latest") != key.endswith("/latest"):
            return None
        kind, self.trouble = self.trouble.kind, None
        return kind


class BusyFolder(FolderStore):
    """A folder in which somebody else is faster, now and then; there is no wire to lose replies."""

    def __init__(self, url: str, rival: Callable[[], None]) -> None:
        super().__init__(url)
        self._rival = rival
        self.trouble: Trouble | None = None

    def write(
        self, key: str, data: bytes, *, create_only: bool = False, if_match: str | None = None
    ) -> ObjectInfo:
        self._be_beaten(key)
        return super().write(key, data, create_only=create_only, if_match=if_match)

    def replace(
        self, key: str, data: bytes, accept: Callable[[Content | None], bool], *, max_bytes: int
    ) -> bool:
        self._be_beaten(key)
        return super().replace(key, data, accept, max_bytes=max_bytes)

    def _be_beaten(self, key: str) -> None:
        trouble = self.trouble
        if trouble is None or "/named_packages/" not in key:
            return
        if (trouble.place == "latest") == key.endswith("/latest"):
            self.trouble = None
            if trouble.kind == "rival before":
                self._rival()


@dataclass
class Model:
    """What a registry with one package should hold: revisions in order, and where `latest` is."""

    latest: str | None = None
    revisions: list[str] = field(default_factory=list)

    def publish(self, top_hash: str) -> None:
        if self.latest != top_hash:
            self.revisions.append(top_hash)
            self.latest = top_hash

    def delete(self, top_hash: str) -> None:
        self.revisions = [other for other in self.revisions if other != top_hash]
        if self.latest == top_hash:
            self.latest = self.revisions[-1] if self.revisions else None


class Machine(RuleBasedStateMachine):
    """Publishes, rolls back and deletes by the wire, and compares by a way without trouble.

    Attributes:
        folders: Where the registry of each run is.
    """

    folders: Iterator[Path]
    wire: Wire | BusyFolder

    def __init__(self) -> None:
        super().__init__()
        store = open_store(str(next(self.folders)), load_settings())
        self.clean = Registry(store, DEFAULT_LIMITS)
        self.wire = self.way(store)
        self.registry = Registry(self.wire, DEFAULT_LIMITS)
        self.model = Model()
        self.rivals = itertools.count()

    def way(self, store: Store) -> Wire | BusyFolder:
        """Return the store by which we publish, as in a bucket: all by compare-and-swap."""
        return Wire(store, self.rival)

    def stored(self, content: str) -> str:
        header = {"version": "v0", "message": content}
        return self.clean.manifests.put(Manifest.of(header, [])).top_hash

    def rival(self) -> None:
        """Publish something of somebody else's, whatever is there."""
        top_hash = self.stored(f"rival {next(self.rivals)}")
        self.clean.pointers.publish(NAME, top_hash, expected=ANYTHING)
        self.model.publish(top_hash)

    @rule(
        content=st.integers(0, 4),
        expects=st.sampled_from(["latest", "other", "anything"]),
        place=st.sampled_from(PLACES),
        kind=st.sampled_from(TROUBLES),
    )
    def publish(self, content: int, expects: str, place: str, kind: str | None) -> None:
        top_hash, before = self.stored(f"ours {content}"), self.model.latest
        expected: str | Anything | None = ANYTHING
        if expects == "latest":
            expected = before
        elif expects == "other":
            expected = "0" * 64
        self.wire.trouble = None if kind is None else Trouble(place, kind)
        may_begin = before != top_hash and expects != "other"
        is_beaten = kind is not None and kind.startswith("rival") and may_begin
        if is_beaten:
            self.expect_rival(top_hash, expected, place, kind)
        elif before == top_hash or expects != "other":
            outcome = self.registry.pointers.publish(NAME, top_hash, expected=expected)
            assert outcome.changed == (before != top_hash)
            assert outcome.previous == before
            self.model.publish(top_hash)
        else:
            with pytest.raises(ConflictError):
                self.registry.pointers.publish(NAME, top_hash, expected=expected)
        self.wire.trouble = None

    def expect_rival(
        self, top_hash: str, expected: str | Anything | None, place: str, kind: str | None
    ) -> None:
        """Publish while a rival does; what is certainly lost goes, what may have counted stays."""
        start = len(self.model.revisions)

        def ours(index: int) -> None:
            self.model.revisions.insert(start + index, top_hash)

        # The rival's pointer comes first only if he was faster at that pointer.
        index = 1 if (place, kind) == ("time", "rival before") else 0
        if isinstance(expected, Anything):
            outcome = self.registry.pointers.publish(NAME, top_hash, expected=expected)
            assert outcome.changed
            ours(index)
            self.model.latest = top_hash
            return
        with pytest.raises(ConflictError):
            self.registry.pointers.publish(NAME, top_hash, expected=expected)
        if kind == "rival after":
            ours(index)

    @precondition(lambda self: self.model.revisions)
    @rule(data=st.data(), kind=st.sampled_from([None, "not sent", "lost", "repeated"]))
    def rollback(self, data: st.DataObject, kind: str | None) -> None:
        target = data.draw(st.sampled_from(self.model.revisions))
        self.wire.trouble = None if kind is None else Trouble("latest", kind)
        before = self.model.latest
        outcome = self.registry.pointers.rollback(NAME, target, expected=before)
        assert (outcome.previous, outcome.changed) == (before, before != target)
        self.model.latest = target
        self.wire.trouble = None

    @precondition(lambda self: self.model.revisions)
    @rule(data=st.data(), kind=st.sampled_from([None, "lost", "repeated"]))
    def delete(self, data: st.DataObject, kind: str | None) -> None:
        target = data.draw(st.sampled_from(self.model.revisions))
        self.wire.trouble = None if kind is None else Trouble("latest", kind)
        self.registry.pointers.delete(NAME, target)
        self.model.delete(target)
        self.wire.trouble = None

    @rule()
    def delete_all(self) -> None:
        if self.model.latest is None and not self.model.revisions:
            with pytest.raises(NotFoundError):
                self.registry.pointers.delete(NAME)
        else:
            self.registry.pointers.delete(NAME)
        self.model = Model()

    @invariant()
    def what_is_listed_is_what_was_published(self) -> None:
        latest = self.clean.pointers.latest(NAME)
        assert (None if latest is None else latest.top_hash) == self.model.latest
        listed: list[str] = []
        if self.model.revisions:
            listed = [pointer.top_hash for pointer in self.clean.pointers.revisions(NAME)]
        assert listed == self.model.revisions
        for top_hash in {*listed, *filter(None, [self.model.latest])}:
            assert self.clean.manifests.get(top_hash).top_hash == top_hash
        assert self.clean.pointers.packages() == ([NAME] if listed or latest else [])


class FolderMachine(Machine):
    """The same in a folder as it is, where a lock decides who is first."""

    def way(self, store: Store) -> Wire | BusyFolder:
        return BusyFolder(store.url, self.rival)

    @rule(
        content=st.integers(0, 4),
        expects=st.sampled_from(["latest", "other", "anything"]),
        place=st.sampled_from(PLACES),
        kind=st.sampled_from([None, "rival before"]),
    )
    def publish(self, content: int, expects: str, place: str, kind: str | None) -> None:
        super().publish(content=content, expects=expects, place=place, kind=kind)


@pytest.mark.parametrize("machine", [Machine, FolderMachine])
def test_a_registry_is_what_a_model_says(
    machine: type[Machine], tmp_path: Path, mocker: MockerFixture
) -> None:
    mocker.patch("time.sleep", autospec=True)
    # All of it in one second, the worst case; whose pointer is first must not depend on a tick.
    mocker.patch("time.time", autospec=True, return_value=1_700_000_000.5)
    mocker.patch.object(
        machine, "folders", (tmp_path / str(number) for number in itertools.count()), create=True
    )
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=40, stateful_step_count=15, deadline=None),
    )

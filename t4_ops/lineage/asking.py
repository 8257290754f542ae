"""Putting questions to ledgers: which registries are asked, and many look-ups at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from t4_ops.errors import FormatError, NotFoundError, StorageError, T4Error
from t4_ops.keys import PhysicalKey, is_folder
from t4_ops.ledger import Event, Input, Role, event_ids_for, oldest_first, read_event
from t4_ops.ledger.layout import event_key
from t4_ops.registry import Registry
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from t4_ops.transfer import run_all

MAX_REGISTRIES: Final = 50
"""Most registries that are asked who read something, besides those that the caller names: an event
may name any number of them, and each costs one listing for each dataset of an answer."""

_log = logging.getLogger("t4_ops.lineage")

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


def gather(
    asked: Collection[_Asked], work: Callable[[_Asked], _Answer], workers: int
) -> list[tuple[_Asked, _Answer | T4Error]]:
    """Return what `work` answers to each question, or its error, many at a time.

    An error is an answer here: one registry that can't be read must not end the questions to the
    others. Stores retry by themselves.

    Args:
        asked: The questions.
        work: Called in a thread.
        workers: Threads at most.
    """

    def answer(question: _Asked) -> _Answer | T4Error:
        try:
            return work(question)
        except T4Error as exc:
            return exc

    if not asked:
        return []
    answers = run_all(asked, answer, workers=min(workers, len(asked)))
    return list(zip(asked, answers, strict=True))


class _Question(NamedTuple):
    """Which events of a registry have a dataset on this side?"""

    registry: str
    role: Role
    item: Input


class _Place(NamedTuple):
    """Where an event should be."""

    registry: str
    event_id: str


class Ledgers:
    """The registries that one question is put to, and what they have answered so far.

    An event is in the registry of each of its outputs. So who published a revision is asked of the
    revision's own registry alone: one listing. Who read a dataset may be recorded in any registry:
    one listing in each that is known. Each event costs one read. What was answered is not asked
    again.

    Args:
        settings: How to reach the registries; the default one and the lineage registry are asked
            who read something.
        required: Registries to ask that too, whose errors are raised. Others are noted.

    Attributes:
        settings: The settings.
        failed: Registries that can't be read, and why.
    """

    def __init__(self, settings: Settings, required: Iterable[str]) -> None:
        self.settings = settings
        self.failed: dict[str, str] = {}
        # A dict, for the order: what the caller named is asked first.
        self._known = dict.fromkeys(required)
        self._required = frozenset(self._known)
        own = (settings.registry, settings.lineage_registry)
        self._known.update(dict.fromkeys(registry for registry in own if registry))
        # What the caller has chosen may not be there yet: then it holds nothing.
        self._chosen = frozenset(self._known)
        self._too_many: dict[str, None] = {}
        self._not_asked: dict[str, str] = {}
        self._ids: dict[_Question, list[str]] = {}
        self._events: dict[str, Event] = {}
        self._missing: set[_Place] = set()
        self._damaged: dict[_Place, str] = {}

    @property
    def known(self) -> int:
        """How many registries are asked; it grows when an event names a new one."""
        return len(self._known)

    @property
    def unread(self) -> dict[str, str]:
        """What could not be asked or read, and why: registries, and single events."""
        damaged = {
            f"{place.registry}/{event_key(place.event_id)}": why
            for place, why in self._damaged.items()
            if place.event_id not in self._events
        }
        return {**self.failed, **self._not_asked, **damaged}

    def registry(self, url: str) -> Registry:
        """Return the manifests and pointers of a registry.

        Raises:
            StorageError: It is a folder that is not on this machine.
        """
        _check_is_here(url)
        return Registry(open_store(url, self.settings), self.settings.limits)

    def events(self, items: Collection[Input], role: Role) -> dict[Input, list[Event]]:
        """Return the events that have each dataset on one side, oldest first.

        Args:
            items: Versions of datasets.
            role: `outputs` for the runs that published them, `inputs` for those that read them.

        Raises:
            T4Error: A required registry can't be read.
        """
        while True:
            failed = len(self.failed)
            questions = [_Question(at, role, item) for item in items for at in self._at(item, role)]
            self._list(questions)
            self._read(questions)
            # Where a revision's own registry has failed just now, others may know it.
            if len(self.failed) == failed:
                break
        found: dict[Input, list[Event]] = {item: [] for item in items}
        for question in questions:
            ids = self._ids.get(question, [])
            found[question.item] += [self._events[i] for i in ids if i in self._events]
        for event in {e.event_id: e for events in found.values() for e in events}.values():
            self._meet(item.registry for item in event.inputs)
            self._meet(output.ref.registry for output in event.outputs)
        return {item: oldest_first(events) for item, events in found.items()}

    def give_up(self, registry: str, exc: T4Error) -> None:
        """Note that a registry can't be asked, so that it is not asked again.

        Raises:
            T4Error: That error, if the registry is required.
        """
        if registry in self._required:
            raise exc
        if registry not in self.failed:
            _log.warning("lineage: %s can't be read and is passed over: %s", registry, exc)
            self.failed[registry] = str(exc)

    def _at(self, item: Input, role: Role) -> list[str]:
        """Return the registries that are asked about a dataset."""
        if role == "inputs":
            why = f"not asked who read these: more than {MAX_REGISTRIES} registries are named"
            self._not_asked.update(dict.fromkeys(self._too_many, why))
            return list(self._known)
        if item.ref is None:
            # Only revisions are published.
            return []
        own = item.ref.registry
        return [own] if own not in self.failed else list(self._known)

    def _meet(self, registries: Iterable[str | None]) -> None:
        for registry in registries:
            if registry is None or registry in self._known:
                continue
            is_full = len(self._known) - len(self._chosen) >= MAX_REGISTRIES
            (self._too_many if is_full else self._known)[registry] = None

    def _list(self, questions: Iterable[_Question]) -> None:
        """Look up the markers of each dataset in each registry, once."""

        def ids(question: _Question) -> list[str]:
            if question.registry not in self._chosen:
                _check_is_here(question.registry)
            store = open_store(question.registry, self.settings)
            item = question.item
            return event_ids_for(store, question.role, item.dataset, item.version)

        new = [q for q in questions if q not in self._ids and q.registry not in self.failed]
        for question, answer in gather(new, ids, self.settings.workers):
            if isinstance(answer, T4Error):
                self.give_up(question.registry, answer)
            else:
                self._ids[question] = answer

    def _read(self, questions: Collection[_Question]) -> None:
        """Read each event once, from the first registry that has it whole."""

        def read(place: _Place) -> Event:
            store = open_store(place.registry, self.settings)
            return read_event(store, place.event_id)

        while places := self._unread_places(questions):
            for place, answer in gather(places, read, self.settings.workers):
                if isinstance(answer, Event):
                    self._events[place.event_id] = answer
                elif isinstance(answer, NotFoundError):
                    # Its writer is between marker and event, or died there.
                    self._missing.add(place)
                elif isinstance(answer, FormatError):
                    # One damaged event says nothing about the others beside it.
                    self._damaged[place] = str(answer)
                else:
                    self.give_up(place.registry, answer)

    def _unread_places(self, questions: Iterable[_Question]) -> list[_Place]:
        places: dict[str, _Place] = {}
        for question in questions:
            if question.registry in self.failed:
                continue
            for event_id in self._ids.get(question, ()):
                place = None if event_id in self._events else self._place(question, event_id)
                if place is not None:
                    places.setdefault(event_id, place)
        return list(places.values())

    def _place(self, question: _Question, event_id: str) -> _Place | None:
        """Return where to read an event: beside its marker; if it is damaged there, elsewhere."""
        beside = _Place(question.registry, event_id)
        others = tuple(self._known) if beside in self._damaged else ()
        for place in (beside, *(_Place(other, event_id) for other in others)):
            is_useless = place in self._missing or place in self._damaged
            if not is_useless and place.registry not in self.failed:
                return place
        return None


def _check_is_here(registry: str) -> None:
    """Fail if a registry is a folder that this machine has not: it may well be on another one.

    Raises:
        StorageError: There is no such folder.
    """
    if is_folder(registry) and not Path(PhysicalKey.parse(registry).path).is_dir():
        raise StorageError(
            f"{registry} is no folder of this machine: ask where it is, or copy it here",
            key=registry,
        )

"""Removing what dead writers left: markers whose event never came."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, get_args

from t4_ops.errors import FormatError, InvalidInputError, NotFoundError
from t4_ops.ledger.layout import (
    EVENTS_PREFIX,
    Role,
    event_id_of_marker,
    event_key,
    marker_keys,
    markers_prefix,
)
from t4_ops.ledger.reading import read_event
from t4_ops.storage import ObjectInfo, PreconditionFailedError, Store

GRACE_S: Final = 3600.0
"""How long a marker may wait for its event: a writer needs seconds, and clocks may differ."""
_WORKERS: Final = 16

_log = logging.getLogger("t4_ops.lineage")


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair found.

    Attributes:
        events: Events in the ledger.
        markers: Markers that belong to them.
        removed: Markers without an event that were removed.
        waiting: Markers without an event that are too young to tell a dead writer from a slow one.
        restored: Markers that were missing and are there again.
    """

    events: int
    markers: int
    removed: int
    waiting: int
    restored: int = 0


def repair(store: Store, *, grace_s: float = GRACE_S, is_thorough: bool = False) -> Repair:
    """Remove old markers that have no event, and make lost ones again; a second call finds nothing.

    Writers may be at work meanwhile: one whose marker vanishes under it makes it again once its
    event is there, and so does this one if the event came at the last moment. Where one of them was
    killed just before that, an event lacks markers: one without any is found by the listing, others
    by reading every event. Events of runs that neither read nor published anything have none by
    right, and are read too.

    Args:
        store: The registry.
        grace_s: Seconds that a marker may be without its event. Below the five minutes after which
            writers make their markers again by themselves, a slow one may lose some to it.
        is_thorough: Read every event and look whether all its markers are there.

    Raises:
        InvalidInputError: `grace_s` is negative.
    """
    if not grace_s >= 0:
        raise InvalidInputError(f"grace_s is {grace_s}: it must be 0 or more")
    events = {_event_id(info.key) for info in store.list(EVENTS_PREFIX)}
    counts = dict.fromkeys(events, 0)
    orphans: list[tuple[str, str]] = []
    waiting = 0
    for info, event_id in _markers(store):
        if event_id in events:
            counts[event_id] += 1
        if event_id not in events and _age_s(info) < grace_s:
            waiting += 1
        elif event_id not in events:
            orphans.append((info.key, event_id))
    removed = sum(_remove(store, key, event_id) for key, event_id in orphans)
    suspects = [event_id for event_id, count in counts.items() if is_thorough or not count]
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="t4-repair") as pool:
        restored = sum(pool.map(partial(_restore, store), suspects))
    # What was not removed has an event that is younger than the listing of them.
    markers = sum(counts.values()) + len(orphans) - removed + restored
    return Repair(len(events), markers, removed, waiting, restored)


def _restore(store: Store, event_id: str) -> int:
    """Make the markers of an event that are missing; return how many there were."""
    try:
        event = read_event(store, event_id)
    except (NotFoundError, FormatError) as exc:
        _log.warning("event %s can't be read, so its markers stay as they are: %s", event_id, exc)
        return 0
    markers = marker_keys(event_id, event.inputs, event.outputs)
    return len(markers) - len(store.create_empty(markers, workers=1))


def _markers(store: Store) -> Iterator[tuple[ObjectInfo, str]]:
    for role in get_args(Role):
        for info in store.list(markers_prefix(role)):
            event_id = event_id_of_marker(info.key)
            if event_id is not None:
                yield info, event_id


def _age_s(info: ObjectInfo) -> float:
    """Return how old a marker is; one that does not tell is new."""
    return 0.0 if info.mtime_s is None else time.time() - info.mtime_s


def _event_id(key: str) -> str:
    return key.removeprefix(EVENTS_PREFIX).removesuffix(".json")


def _remove(store: Store, key: str, event_id: str) -> bool:
    """Remove a marker unless its event is there by now; return whether it is gone."""
    if _has_event(store, event_id):
        return False
    store.delete(key)
    if not _has_event(store, event_id):
        return True
    # The event came in between, and its writer took the marker for one that stays.
    with suppress(PreconditionFailedError):
        store.write(key, b"", create_only=True)
    return False


def _has_event(store: Store, event_id: str) -> bool:
    try:
        store.head(event_key(event_id))
    except NotFoundError:
        return False
    return True

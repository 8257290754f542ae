"""Recording: one event, its markers first, into every registry that has to hold it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias, TypeVar, get_args

from t4_ops.errors import InvalidInputError, NotFoundError, StorageError, T4Error
from t4_ops.ledger.datasets import Input, Output
from t4_ops.ledger.events import State, build_event
from t4_ops.ledger.layout import derive_event_id, event_key, marker_keys
from t4_ops.ledger.runs import RunInfo
from t4_ops.settings import Settings
from t4_ops.storage import PreconditionFailedError, Store

# One name for everything about lineage, whatever module it comes from.
_log = logging.getLogger("t4_ops.lineage")
# Stores retry by themselves; these rounds, 0.7 s at most, bridge a short outage on top.
_ATTEMPTS: Final = 4
_BACKOFF_S: Final = 0.1

_T = TypeVar("_T")
StoreOpener: TypeAlias = Callable[[str, Settings], Store]


@dataclass(frozen=True)
class RecordedEvent:
    """Where an event went.

    Attributes:
        event_id: Its derived id.
        registries: The registries that hold it now.
    """

    event_id: str
    registries: tuple[str, ...]


def record(
    run: RunInfo,
    inputs: Iterable[Input],
    outputs: Iterable[Output],
    *,
    settings: Settings,
    open_store: StoreOpener,
    state: State = "COMPLETE",
    error: BaseException | str | None = None,
    event_time: datetime | None = None,
) -> RecordedEvent:
    """Record that a run read `inputs` and published `outputs`; a repeat changes nothing.

    The event goes to the registry of each output. Without outputs it goes to
    `settings.lineage_registry`, else to the registries that were read, where we may write there.

    Args:
        run: The run.
        inputs: What it read; `parse_inputs` makes them.
        outputs: What it published.
        settings: `lineage` says whether failing to record fails the step.
        open_store: Opens a registry's store.
        state: How the run ended.
        error: Why it failed; credentials are hidden, the text is cut.
        event_time: When; now unless given.

    Raises:
        StorageError: `settings.lineage` is `required`, and a registry did not take the event after
            several tries.
        InvalidInputError: The state is unknown, the time has no offset, or the event is too large.
    """
    if state not in get_args(State):
        raise InvalidInputError(f"state {state!r} is unknown: use one of {get_args(State)}")
    read, written = tuple(dict.fromkeys(inputs)), tuple(dict.fromkeys(outputs))
    event_id = derive_event_id(run, state, read, written)
    if settings.lineage == "off":
        return RecordedEvent(event_id, ())
    data = build_event(
        run,
        read,
        written,
        state=state,
        error=error,
        event_time=event_time,
        secrets=_secrets(settings),
    )
    markers = marker_keys(event_id, read, written)
    registries, must_hold = _destinations(read, written, settings)
    held: list[str] = []
    failures: dict[str, T4Error] = {}
    for registry in registries:
        try:
            store = _retried(partial(open_store, registry, settings))
            _put(store, event_id, data, markers, settings.workers)
            held.append(registry)
        except T4Error as exc:
            failures[registry] = exc
    if failures:
        _report(event_id, failures, is_required=must_hold and settings.lineage == "required")
    return RecordedEvent(event_id, tuple(held))


def _secrets(settings: Settings) -> list[str]:
    known = [settings.s3, *(s3 for _, s3 in settings.registries)]
    values = [
        value
        for s3 in known
        for value in (s3.secret_access_key, s3.session_token, s3.access_key_id, s3.proxy_url)
    ]
    return [value for value in values if value]


def _destinations(
    inputs: Sequence[Input], outputs: Sequence[Output], settings: Settings
) -> tuple[list[str], bool]:
    """Return where the event goes, and whether it must arrive there."""
    if outputs:
        return list(dict.fromkeys(output.ref.registry for output in outputs)), True
    if settings.lineage_registry:
        return [settings.lineage_registry], True
    return list(dict.fromkeys(item.registry for item in inputs if item.registry)), False


def _put(store: Store, event_id: str, data: bytes, markers: Sequence[str], workers: int) -> None:
    """Write the markers, then the event: whoever finds a marker may find no event, never half."""
    key = event_key(event_id)
    if _exists(store, key):
        return
    with ThreadPoolExecutor(max(1, min(workers, len(markers)))) as pool:
        for _ in pool.map(lambda marker: _create(store, marker, b""), markers):
            pass
    _create(store, key, data)


def _exists(store: Store, key: str) -> bool:
    try:
        _retried(lambda: store.head(key))
    except NotFoundError:
        return False
    return True


def _create(store: Store, key: str, data: bytes) -> None:
    try:
        _retried(lambda: store.write(key, data, create_only=True))
    except PreconditionFailedError:
        # Ours from an earlier try, or that of another process: the same id says the same.
        return


def _retried(call: Callable[[], _T]) -> _T:
    for attempt in range(1, _ATTEMPTS):
        try:
            return call()
        except StorageError as exc:
            if not exc.retryable:
                raise
            _log.debug("try %d of %d failed: %s", attempt, _ATTEMPTS, exc)
        time.sleep(random.uniform(0, _BACKOFF_S * 2 ** (attempt - 1)))
    return call()


def _report(event_id: str, failures: dict[str, T4Error], *, is_required: bool) -> None:
    """Raise if the event had to be recorded, else say where it is missing."""
    if not is_required:
        for registry, exc in failures.items():
            _log.warning("lineage event %s is not recorded in %s: %s", event_id, registry, exc)
        return
    registry, first = next(iter(failures.items()))
    raise StorageError(
        f"lineage event {event_id} could not be recorded in {', '.join(failures)}: {first}. What"
        " was published stands: run the step again to record it, or set lineage to best-effort",
        key=registry,
        retryable=any(isinstance(e, StorageError) and e.retryable for e in failures.values()),
    ) from first

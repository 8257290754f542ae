"""Recording: one event, its markers first, into every registry that has to hold it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias, TypeVar, get_args

from t4_ops.errors import InvalidInputError, NotFoundError, StorageError
from t4_ops.ledger.credentials import secrets_in, secrets_of
from t4_ops.ledger.datasets import MAX_INPUTS, Input, Output, merged_inputs
from t4_ops.ledger.emitting import send
from t4_ops.ledger.events import BuiltEvent, State, Statement, build_event, fitted
from t4_ops.ledger.layout import derive_event_id, event_key, marker_keys
from t4_ops.ledger.runs import RunInfo
from t4_ops.ledger.text import clean
from t4_ops.settings import Settings
from t4_ops.storage import PreconditionFailedError, Store

# One name for everything about lineage, whatever module it comes from.
_log = logging.getLogger("t4_ops.lineage")
# Stores retry by themselves; these rounds, 0.7 s at most, bridge a short outage on top.
_ATTEMPTS: Final = 4
_BACKOFF_S: Final = 0.1
# Markers this old may have been taken for those of a dead writer; far below any sensible grace.
_MARKER_LIFE_S: Final = 300.0
_REASON_MAX_CHARS: Final = 1000

_T = TypeVar("_T")
StoreOpener: TypeAlias = Callable[[str, Settings], Store]


@dataclass(frozen=True)
class RecordedEvent:
    """Where an event went.

    Attributes:
        event_id: Its derived id.
        registries: The registries that hold it now.
        more_event_ids: Those of further events, where one would have become too large.
    """

    event_id: str
    registries: tuple[str, ...]
    more_event_ids: tuple[str, ...] = ()


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
    omitted_inputs: int = 0,
    secrets: Iterable[str] = (),
) -> RecordedEvent:
    """Record that a run read `inputs` and published `outputs`; a repeat changes nothing.

    The event goes to the registry of each output. Without outputs it goes to
    `settings.lineage_registry`, else to the registries that were read, where we may write there.
    Once it is there it is sent to the OpenLineage transport that the user has configured, if any.
    What does not fit into one event is said by several, or left out (see `fitted`).

    Args:
        run: The run.
        inputs: What it read; `parse_inputs` makes them.
        outputs: What it published.
        settings: `lineage` says whether failing to record fails the step.
        open_store: Opens a registry's store.
        state: How the run ended.
        error: Why it failed; credentials are hidden, the text is cut.
        event_time: When; now unless given.
        omitted_inputs: How many inputs more there were than an event takes.
        secrets: Credentials to hide, besides those of `settings` and of the environment.

    Raises:
        StorageError: `settings.lineage` is `required`, and a registry did not take the event after
            several tries.
        InvalidInputError: The state is unknown, or `required` and the time has no offset.
    """
    if state not in get_args(State):
        raise InvalidInputError(f"state {state!r} is unknown: use one of {get_args(State)}")
    read = merged_inputs(inputs)
    statement = Statement(
        read[:MAX_INPUTS],
        tuple(dict.fromkeys(outputs)),
        omitted_inputs + len(read[MAX_INPUTS:]),
    )
    if settings.lineage == "off":
        return RecordedEvent(_id_of(run, state, statement), ())
    hidden = {*secrets, *secrets_of(settings), *secrets_in()}
    build = partial(
        build_event, run, state=state, error=error, event_time=event_time, secrets=hidden
    )
    parts = _parts(build, statement, run, settings, hidden)
    if not parts:
        return RecordedEvent(_id_of(run, state, statement), ())
    done: dict[str, list[str]] = {}
    for part, built in parts:
        event_id = _id_of(run, state, part)
        is_new, done[event_id] = _write(event_id, part, built, settings, open_store)
        if is_new or not done[event_id]:
            send(built.event, run, timeout_s=settings.lineage_timeout_s, secrets=hidden)
    first, *more = done
    held = tuple(dict.fromkeys(registry for found in done.values() for registry in found))
    return RecordedEvent(first, held, tuple(more))


def _parts(
    build: Callable[[Statement], BuiltEvent],
    statement: Statement,
    run: RunInfo,
    settings: Settings,
    hidden: Iterable[str],
) -> list[tuple[Statement, BuiltEvent]]:
    """Return the events of a statement; none, with a warning, if it can't be said and need not."""
    try:
        return fitted(build, statement)
    except Exception as exc:
        if settings.lineage == "required":
            raise
        reason = clean(f"{type(exc).__name__}: {exc}", _REASON_MAX_CHARS, hidden)
        _log.warning("lineage of run %s is not recorded: %s", run.run_id, reason)
        return []


def _id_of(run: RunInfo, state: State, statement: Statement) -> str:
    return derive_event_id(run, state, statement.inputs, statement.outputs)


def _write(
    event_id: str,
    statement: Statement,
    built: BuiltEvent,
    settings: Settings,
    open_store: StoreOpener,
) -> tuple[bool, list[str]]:
    """Write one event into its registries; return whether it is new and which hold it."""
    markers = marker_keys(event_id, statement.inputs, statement.outputs)
    registries, must_hold = _destinations(statement.inputs, statement.outputs, settings)
    held: list[str] = []
    failures: dict[str, Exception] = {}
    is_new = not registries
    for registry in registries:
        try:
            store = _retried(partial(open_store, registry, settings))
            is_new |= _put(store, event_id, built.data, markers, settings.workers)
            held.append(registry)
        except Exception as exc:  # noqa: BLE001 (a warning or the cause of an error, see _report)
            failures[registry] = exc
    if failures:
        _report(event_id, failures, is_required=must_hold and settings.lineage == "required")
    return is_new, held


def _destinations(
    inputs: Sequence[Input], outputs: Sequence[Output], settings: Settings
) -> tuple[list[str], bool]:
    """Return where the event goes, and whether it must arrive there."""
    if outputs:
        return list(dict.fromkeys(output.ref.registry for output in outputs)), True
    if settings.lineage_registry:
        return [settings.lineage_registry], True
    read = dict.fromkeys(item.registry for item in inputs if item.registry)
    return [registry for registry in read if registry not in settings.read_only], False


def _put(store: Store, event_id: str, data: bytes, markers: Sequence[str], workers: int) -> bool:
    """Write the markers, then the event; return False if the event was there.

    Whoever finds a marker may find no event, never half of one.
    """
    key = event_key(event_id)
    was_there = _exists(store, key)
    start = _clocks_s()
    create = partial(store.create_empty, workers=workers)
    # Also of an event that is there: its writer may have died before it made lost ones again.
    there = _retried(partial(create, markers))
    if was_there:
        return False
    _create(store, key, data)
    # `repair` removes old markers without an event: it may have met some while there was none.
    is_late = any(now - then > _MARKER_LIFE_S for now, then in zip(_clocks_s(), start, strict=True))
    endangered = markers if is_late else there
    if endangered:
        _retried(partial(create, endangered))
    return True


def _clocks_s() -> tuple[float, float]:
    # The one stands still while the machine sleeps, the other may be set back.
    return time.monotonic(), time.time()


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


def _report(event_id: str, failures: dict[str, Exception], *, is_required: bool) -> None:
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

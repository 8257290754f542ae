"""What a task published, until it counts: announced on commit, taken back on rollback.

A Prefect transaction commits when its `with` block ends well, a task outside of one when it ends.
Until then nobody is told. A transaction that fails takes back what its tasks moved, each by
compare-and-swap: what somebody else has published since stays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from prefect.context import TaskRunContext
from prefect.transactions import get_transaction

from t4_ops import operations
from t4_ops.errors import ConflictError
from t4_ops.keys import NOW, RegistryLike, normalize_registry
from t4_ops.prefect.assets import Materialization, materialized
from t4_ops.prefect.events import Announcement, announce
from t4_ops.settings import Settings

if TYPE_CHECKING:
    from prefect.transactions import Transaction

    from t4_ops.operations import Expected

_KEY: Final = "t4_ops.outcome"
_MAX_SEEN: Final = 1_000
_log = logging.getLogger("t4_ops.prefect")
_seen: dict[tuple[UUID, str, str], str | None] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Undo:
    """How to take a publication back.

    Attributes:
        result: The step's result.
        before: The top hash that `latest` held before; None: the package was new.
        settings: How to reach the registry.
    """

    result: operations.StepResult
    before: str | None
    settings: Settings


@dataclass(frozen=True)
class Outcome:
    """What one task run did, to be told or taken back when its transaction ends.

    Attributes:
        announcement: The event to send; None: there is nothing new to tell.
        materialization: The asset that was made; None: none was.
        undo: How to take it back; None: there is nothing to take back.
    """

    announcement: Announcement | None = None
    materialization: Materialization | None = None
    undo: Undo | None = None


class Publishing:
    """One publication by a task: what `latest` held before, and how to take it back.

    Args:
        name: Package name.
        registry: Where; None is the default registry.
        settings: How to reach it.
        expected: What the user says that `latest` must hold.
        is_sure: Whether the step moves `latest` from what is expected or not at all: not if it
            replaces whatever there is, or goes on from what somebody publishes meanwhile.
    """

    def __init__(
        self,
        name: str,
        registry: RegistryLike | None,
        settings: Settings,
        *,
        expected: Expected = NOW,
        is_sure: bool = True,
    ) -> None:
        self._settings, self._given, self._is_sure = settings, expected, is_sure
        self._key = (name, normalize_registry(registry or settings.registry))
        self._before, self._is_damaged = None, False
        held = operations.held(name, registry=registry, settings=settings)
        if held is not None and not isinstance(held, str):
            # Damaged: the step says so, or mends it, and then there is no way back.
            self._is_damaged = True
            return
        self._before = held
        self._first = _first_seen(*self._key, self._before)

    @property
    def held(self) -> Expected:
        """What `latest` held just now; NOW: it is damaged."""
        return NOW if self._is_damaged else self._before

    @property
    def expected(self) -> Expected:
        """What `latest` must hold: what the user says, else what it held just now."""
        return self.held if self._given is NOW and self._is_sure else self._given

    def has_moved(self, result: operations.StepResult) -> bool:
        """Return whether the step published something, at this try or at an earlier one."""
        return result["changed"] or (not self._is_damaged and self._first != result["top_hash"])

    def undo(self, result: operations.StepResult) -> Undo | None:
        """Return how to take the publication back; None: it can't be."""
        if self._is_damaged:
            return None
        # An earlier try may have moved it already.
        before = self._first if self._before == result["top_hash"] else self._before
        if before != result["top_hash"]:
            if not self._is_sure:
                earlier = operations.revision_before(result, settings=self._settings)
                before = earlier.top_hash if earlier else None
            elif self._given is None or isinstance(self._given, str):
                before = self._given
        return Undo(result, before, self._settings)


def undo_of_rollback(result: operations.RollbackResult, settings: Settings) -> Undo | None:
    """Return how to take a rollback back; None: `latest` was damaged before, which nobody wants."""
    previous = result["previous"]
    return None if previous is None else Undo(result, previous, settings)


def _first_seen(name: str, registry: str, held: str | None) -> str | None:
    """Return what `latest` held at the first try of a task run; later tries are in this process."""
    context = TaskRunContext.get()
    if context is None:
        return held
    with _lock:
        if len(_seen) >= _MAX_SEEN:
            del _seen[next(iter(_seen))]
        return _seen.setdefault((context.task_run.id, name, registry), held)


def begin() -> None:
    """Begin a task: nothing has happened yet.

    Without an outcome of its own a task would get that of the task that called it: Prefect looks
    for what a transaction does not have in the one around it.
    """
    at_end(Outcome())


def at_end(outcome: Outcome) -> None:
    """Keep an outcome for the end of the transaction, if an engine runs one of our tasks.

    A task's `.fn` has neither: it is the step and nothing else.
    """
    transaction, context = get_transaction(), TaskRunContext.get()
    if transaction is None or context is None:
        return
    # In a user's own task the transaction is his, and so are its hooks.
    if on_commit in context.task.on_commit_hooks:
        transaction.set(_KEY, outcome)


def on_commit(transaction: Transaction) -> None:
    """Tell Prefect what a task did; a hook of the tasks.

    An error here would make Prefect roll back what has happened and call the run a success, so
    there is none.
    """
    outcome = _outcome(transaction)
    if outcome is None:
        return
    if outcome.materialization is not None:
        with _logged():
            materialized(outcome.materialization)
    if outcome.announcement is not None:
        with _logged():
            announce(outcome.announcement)


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 (see above; the log has it)
        _log.exception("Prefect was not told what was done")


def on_rollback(transaction: Transaction) -> None:
    """Take back what a task published; a hook of the tasks.

    Errors are logged, so that the other tasks of the transaction are still taken back.
    """
    outcome = _outcome(transaction)
    if outcome is None or outcome.undo is None:
        return
    undo = outcome.undo
    uri = undo.result["uri"]
    try:
        taken = operations.undo(undo.result, undo.before, settings=undo.settings)
    except ConflictError as exc:
        _log.warning("%s", exc)
    except Exception:  # noqa: BLE001 (see above; the log has it)
        _log.exception("%s was not taken back", uri)
    else:
        if taken["changed"]:
            _log.warning("%s was taken back: the transaction failed", uri)


# Prefect would write two lines of its own around each.
on_commit.log_on_run = False  # type: ignore[attr-defined]
on_rollback.log_on_run = False  # type: ignore[attr-defined]


def _outcome(transaction: Transaction) -> Outcome | None:
    found = transaction.get(_KEY, None)
    return found if isinstance(found, Outcome) else None

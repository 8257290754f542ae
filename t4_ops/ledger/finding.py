"""Finding the run that an orchestrator has started around this code.

Each orchestrator's face offers an object with what `Orchestrator` says, under the entry point group
`t4_ops.runs`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from t4_ops.errors import StorageError
from t4_ops.ledger.runs import RunInfo
from t4_ops.settings import LineageMode

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "t4_ops.runs"
ORCHESTRATORS: Final[Mapping[str, str]] = {"airflow": "airflow.sdk", "prefect": "prefect.context"}
"""Entry point -> module that is loaded wherever there can be a run of that orchestrator.

A process without it does not even look at the entry points, which takes up to half a second.
"""

Sender: TypeAlias = Callable[[Any], None]
"""Takes an OpenLineage `RunEvent` and sends it."""
Outcome: TypeAlias = Literal["COMPLETE", "ABORT"]
"""How a run ended that did not fail."""

_log = logging.getLogger("t4_ops.lineage")
_warned: set[str] = set()


class Orchestrator(Protocol):
    """What a face offers."""

    def current_run(self) -> RunInfo | None:
        """Return the run that this code is part of, if it is part of one."""

    def sender(self) -> Sender | None:
        """Return what sends the current run's events in our place.

        None if the orchestrator has no OpenLineage integration of its own that is active.
        """

    def outcome(self, error: BaseException) -> Outcome | None:
        """Return what an exception means that is the orchestrator's way to say something.

        None if it is none of those, so that it means a failure.
        """


def run_of_orchestrator(mode: LineageMode) -> RunInfo | None:
    """Return the run of the orchestrator that runs this code, if one does.

    Args:
        mode: `off` does not look. `best-effort` warns, once, if one can't tell.

    Raises:
        StorageError: `required`, and an orchestrator can't tell.
    """
    if mode == "off":
        return None
    try:
        return _first_run()
    except Exception as exc:
        # Foreign code, which may fail in any way.
        reason = f"the orchestrator's run can't be found: {type(exc).__name__}: {exc}"
        if mode == "required":
            raise StorageError(
                f"{reason}. Lineage is required: repair the orchestrator's installation, or set"
                " lineage to best-effort or off",
                retryable=False,
            ) from exc
        if reason not in _warned:
            _warned.add(reason)
            _log.warning("nothing is recorded outside lineage.run: %s", reason)
        return None


def _first_run() -> RunInfo | None:
    for orchestrator in _loaded():
        run = orchestrator.current_run()
        if run is not None:
            return run
    return None


def outcome_of(error: BaseException) -> Outcome | None:
    """Return how a run ended if `error` is an orchestrator's way to say that it did not fail."""
    try:
        found = (orchestrator.outcome(error) for orchestrator in _loaded())
        return next((outcome for outcome in found if outcome is not None), None)
    except Exception as exc:  # noqa: BLE001 (foreign code; the error itself matters more)
        _log.warning("an orchestrator can't tell what %s means: %s", type(error).__name__, exc)
        return None


def sender_of(run: RunInfo) -> Sender | None:
    """Return what sends the events of a run in our place, if its orchestrator has such a thing."""
    for orchestrator in _loaded(run.engine):
        return orchestrator.sender()
    return None


def _loaded(engine: str | None = None) -> Iterator[Orchestrator]:
    """Yield the faces of the orchestrators that this process has loaded, or of one of them."""
    for name, module in ORCHESTRATORS.items():
        if module in sys.modules and engine in (None, name):
            for point in _points(name):
                yield _face(point)


@cache
def _points(name: str) -> tuple[EntryPoint, ...]:
    # Here and not at the top: it is a sixth of what `import t4_ops` would cost.
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP, name=name))[:1]


@cache
def _face(point: EntryPoint) -> Orchestrator:
    face: Orchestrator = point.load()
    return face

"""The Prefect run around any code, found by the library itself: an entry point of `t4_ops.runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from prefect.exceptions import Abort, Pause, TerminationSignal

from t4_ops.prefect._runs import run_info

if TYPE_CHECKING:
    from t4_ops.operations import RunInfo


class PrefectRuns:
    """What the library asks about Prefect."""

    def current_run(self) -> RunInfo | None:
        """Return the task run or flow run that this code is part of."""
        return run_info()

    def sender(self) -> None:
        """Return None: Prefect sends no OpenLineage events of its own."""

    def outcome(self, error: BaseException) -> Literal["COMPLETE", "ABORT"] | None:
        """Return what the signals mean by which Prefect pauses and cancels runs.

        Source: `prefect.exceptions` and `prefect.flow_engine` of 3.7.7.
        """
        if isinstance(error, Pause):
            return "COMPLETE"
        return "ABORT" if isinstance(error, Abort | TerminationSignal) else None


RUNS = PrefectRuns()

"""The Airflow task around any code, for the library to find: an entry point of `t4_ops.runs`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow.sdk import Context, get_current_context
from airflow.sdk.exceptions import (
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTerminated,
    DagRunTriggerException,
    DownstreamTasksSkipped,
    TaskAwaitingInput,
    TaskDeferred,
)

from t4_ops.airflow._run import run_info

if TYPE_CHECKING:
    from t4_ops.operations import RunInfo

_NO_FAILURES: Final = (
    AirflowRescheduleException,
    AirflowSkipException,
    DagRunTriggerException,
    DownstreamTasksSkipped,
    TaskAwaitingInput,
    TaskDeferred,
)
_PROVIDER: Final = "airflow.providers.openlineage"

_log = logging.getLogger("t4_ops.lineage")


class AirflowRuns:
    """What the library asks about Airflow."""

    def __init__(self) -> None:
        # The task instance asked about last, and its run: reads come by the thousand.
        self._last: tuple[object, RunInfo] | None = None

    def current_run(self) -> RunInfo | None:
        """Return the run of the task that this process executes."""
        context = _context()
        if context is None:
            return None
        last = self._last
        if last is None or last[0] is not context["ti"]:
            last = self._last = (context["ti"], run_info(context))
        return last[1]

    def sender(self) -> Callable[[Any], None] | None:
        """Return what lets Airflow's OpenLineage provider send an event; None if it is not active.

        The provider has a transport of its own, and sends events of its own for each task under the
        same run id: ours besides would tell everything twice.
        """
        context = _context()
        if context is None or find_spec(_PROVIDER) is None:
            return None
        # Checked against the provider's version 2.20.3.
        from airflow.providers.openlineage import conf

        # Asked first: where the provider is off, nobody has paid yet for importing its `api`, which
        # takes most of a second.
        if conf.is_disabled():
            return None
        try:
            from airflow.providers.openlineage import api
        except ImportError:
            return _leave_to_old_provider
        if not api.is_openlineage_active():
            return None
        return partial(_send, context["ti"], run_info(context).run_id)

    def outcome(self, error: BaseException) -> Literal["COMPLETE", "ABORT"] | None:
        """Return what an exception means by which a task tells Airflow what to do with it.

        Source: `airflow.sdk.execution_time.task_runner` of 3.3.2, where it handles them.
        """
        if isinstance(error, _NO_FAILURES):
            return "COMPLETE"
        return "ABORT" if isinstance(error, AirflowTaskTerminated) else None


RUNS = AirflowRuns()


def _context() -> Context | None:
    try:
        return get_current_context()
    except RuntimeError:
        # Airflow's way to say that no task is being executed.
        return None


def _leave_to_old_provider(event: Any) -> None:
    """Send nothing: the provider is active, but offers no way to add datasets to its events."""
    _log.info(
        "Airflow's OpenLineage provider sends the events of run %s, without our datasets: a newer"
        " version takes them",
        event.run.runId,
    )


def _send(ti: Any, run_id: str, event: Any) -> None:
    """Send an event through the provider.

    Of the task's own run the provider sends beginning and end itself, so only what we know of it is
    added, by an event in between.
    """
    from airflow.providers.openlineage import api

    if event.run.runId != run_id:
        api.emit(event)
    elif event.inputs or event.outputs:
        api.emit_dataset_lineage(
            inputs=event.inputs,
            outputs=event.outputs,
            task_instance=ti,
            additional_run_facets=_own(event.run.facets),
            additional_job_facets=_own(event.job.facets),
            raise_on_error=True,
        )


def _own(facets: dict[str, Any]) -> dict[str, Any]:
    return {name: facet for name, facet in facets.items() if name.startswith("t4_")}

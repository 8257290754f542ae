"""What is above a flow run, which only Prefect's server knows: flow runs, and its deployment."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from prefect.client.orchestration import get_client

from t4_ops import operations

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from t4_ops.operations import JobRun

NAMESPACE: Final = "prefect"
"""OpenLineage namespace of the jobs."""
# Flows that call flows: far more levels than anybody writes.
_MAX_LEVELS: Final = 50
# A run asks at each of its reads: a server that is down must not be asked each time.
_SILENCE_S: Final = 300.0
_MAX_FAILURES: Final = 1000
_log = logging.getLogger("t4_ops.prefect")

Above: TypeAlias = "tuple[JobRun | None, JobRun | None]"


class _Asked:
    """What the server has said of the runs above task runs, and when it did not answer."""

    def __init__(self) -> None:
        self._failed_at_s: dict[UUID, float] = {}

    def above(self, task_run_id: UUID) -> Above:
        failed_at_s = self._failed_at_s.get(task_run_id)
        if failed_at_s is not None and time.monotonic() - failed_at_s < _SILENCE_S:
            return None, None
        try:
            return _above(task_run_id)
        except Exception as exc:  # noqa: BLE001 (whatever the client raises: the run goes on)
            _log.warning("the flow run above task run %s is not known: %s", task_run_id, exc)
            if len(self._failed_at_s) >= _MAX_FAILURES:
                self._failed_at_s.clear()
            self._failed_at_s[task_run_id] = time.monotonic()
            return None, None


_asked = _Asked()


def parent_and_root(flow_run: FlowRun) -> Above:
    """Return the flow run that started a flow run, and the outermost one; None: there is none.

    A root without a parent is never returned. What the server does not tell is left out of the
    lineage, with a warning: a wrong root would be worse than none.
    """
    if flow_run.parent_task_run_id is None:
        return None, None
    return _asked.above(flow_run.parent_task_run_id)


def deployment_of(flow_run: FlowRun) -> str | None:
    """Return the deployment that a flow run is of, as `flow/deployment`; None: it is of none."""
    return None if flow_run.deployment_id is None else _deployment(flow_run.deployment_id)


@lru_cache(maxsize=256)
def _deployment(deployment_id: UUID) -> str:
    """Return its name; where the server does not tell its id, which is then not asked again."""
    try:
        with get_client(sync_client=True) as client:
            found = client.read_deployment(deployment_id)
            return f"{client.read_flow(found.flow_id).name}/{found.name}"
    except Exception as exc:  # noqa: BLE001 (whatever the client raises: the run goes on)
        _log.warning("the name of the deployment %s is not known: %s", deployment_id, exc)
        return str(deployment_id)


@lru_cache(maxsize=256)
def _above(task_run_id: UUID) -> Above:
    found: list[JobRun] = []
    above: UUID | None = task_run_id
    with get_client(sync_client=True) as client:
        while above is not None and len(found) < _MAX_LEVELS:
            flow_run_id = client.read_task_run(above).flow_run_id
            if flow_run_id is None:
                break
            flow_run = client.read_flow_run(flow_run_id)
            name = client.read_flow(flow_run.flow_id).name
            found.append(
                operations.JobRun(run_id=str(flow_run.id), job_namespace=NAMESPACE, job_name=name)
            )
            above = flow_run.parent_task_run_id
    if not found:
        return None, None
    return found[0], found[-1] if above is None else None

"""The Prefect run that a step is part of: for its lineage, its retries and its log line."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import prefect
from prefect.context import FlowRunContext, TaskRunContext

from t4_ops import operations
from t4_ops.errors import StorageError
from t4_ops.prefect._parents import NAMESPACE, deployment_of, parent_and_root

if TYPE_CHECKING:
    from datetime import datetime

    from prefect import Task
    from prefect.client.schemas.objects import FlowRun, State, TaskRun

    from t4_ops.operations import CodeLocation, RunInfo
ENGINE: Final = "prefect"
# Long enough for a server that restarts; the storage itself retries short faults.
_DELAYS_S: Final = (2.0, 10.0)
_JITTER: Final = 0.5


def run_info() -> RunInfo | None:
    """Return the task run that this code is part of, else the flow run, else None."""
    flow_context, task_context = FlowRunContext.get(), TaskRunContext.get()
    flow = flow_context.flow if flow_context else None
    flow_run = flow_context.flow_run if flow_context else None
    flow_code = operations.code_of(flow.fn) if flow else None
    if task_context is None:
        if flow is None or flow_run is None:
            return None
        above, root = parent_and_root(flow_run)
        return replace(
            _run_info(flow_run, flow.name, flow_code),
            parent=above,
            root=root,
            deployment=deployment_of(flow_run),
        )
    run, name, function = task_context.task_run, task_context.task.name, task_context.task.fn
    # Of our own tasks the flow tells more: it says what they are for.
    is_ours = str(getattr(function, "__module__", "")).startswith("t4_ops.")
    code = flow_code if is_ours and flow_code else operations.code_of(function)
    if flow is None or flow_run is None:
        return _run_info(run, name, code)
    parent = operations.JobRun(run_id=str(flow_run.id), job_namespace=NAMESPACE, job_name=flow.name)
    above, root = parent_and_root(flow_run)
    if above is None and flow_run.parent_task_run_id is None:
        root = parent
    return replace(
        _run_info(run, f"{flow.name}.{name}", code, flow_run.expected_start_time),
        parent=parent,
        root=root,
        deployment=deployment_of(flow_run),
    )


def _run_info(
    run: FlowRun | TaskRun,
    job_name: str,
    code: CodeLocation | None,
    nominal_time: datetime | None = None,
) -> RunInfo:
    nominal_time = nominal_time or run.expected_start_time
    return operations.RunInfo(
        run_id=str(run.id),
        job_namespace=NAMESPACE,
        job_name=job_name,
        nominal_time=nominal_time.isoformat() if nominal_time else None,
        attempt=max(1, run.run_count),
        engine=ENGINE,
        engine_version=prefect.__version__,
        code=code,
    )


def is_retryable(
    task: Task[..., Any],  # noqa: ARG001 (Prefect passes all three)
    run: TaskRun,  # noqa: ARG001
    state: State[Any],
) -> bool:
    """Say whether a failed step may succeed when it is tried again; a `retry_condition_fn`."""
    error = state.data
    return isinstance(error, StorageError) and error.retryable


def retry_delays_s(retries: int) -> list[float]:
    """Return seconds to wait before each retry, drawn once for each process.

    Prefect 3 retries tasks in its own process and passes over their `retry_jitter_factor` (read in
    3.7.7), so that many workers would come back to a struggling server at the same moment.
    """
    waits = [_DELAYS_S[min(number, len(_DELAYS_S) - 1)] for number in range(retries)]
    return [wait * random.uniform(1 - _JITTER, 1 + _JITTER) for wait in waits]

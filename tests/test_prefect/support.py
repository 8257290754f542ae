"""What the tests of the Prefect tasks share: reading back what the server was told."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun

KEYS = {"uri", "registry", "name", "top_hash", "inputs", "files", "size_bytes", "changed", "host"}
_WAIT_S = 30.0

_T = TypeVar("_T")


def files_of(folder: str | Path) -> dict[str, bytes]:
    """Return the files below a folder by relative path."""
    root = Path(folder)
    found = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def task_runs(flow_run_id: str | None, count: int) -> list[TaskRun]:
    """Return the ended task runs of a flow run in the order they began, once there are `count`.

    What a flow tells the server about its tasks arrives there after a moment.
    """
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(str(flow_run_id))]))

    def read() -> list[TaskRun] | None:
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(flow_run_filter=chosen)
        ended = [run for run in runs if run.state is not None and run.state.is_final()]
        return ended if len(ended) >= count else None

    return sorted(until(read), key=lambda run: (run.start_time is None, run.start_time))


def until(ask: Callable[[], _T | None]) -> _T:
    """Return the first answer, asking until there is one."""
    deadline_s = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline_s:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"no answer within {_WAIT_S:.0f} s")

"""The flow, run by Prefect with a server of its own: `python -m demo.on_prefect JOB`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from demo.notes import result_note
from t4_ops.lineage import downstream, runs_of
from t4_ops.operations import StepResult

STEPS: Final = 8
"""Tasks of the flow: two of its own, six steps with packages."""


def configure(home: Path) -> None:
    """Give Prefect a home of its own; it reads these once, when it is imported."""
    os.environ.update(
        PREFECT_HOME=str(home),
        # Prefect below 3.8.6 does not move these two with PREFECT_HOME.
        PREFECT_LOCAL_STORAGE_PATH=str(home / "storage"),
        PREFECT_MEMO_STORE_PATH=str(home / "memo.toml"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="300",
        DO_NOT_TRACK="1",
    )


def main(job: dict[str, Any]) -> None:
    """Run the flow and write its steps and results."""
    home = Path(job["home"])
    configure(home)
    from flows.t4_weather import t4_weather

    state = t4_weather(source=job["source"], work_dir=str(home / "files"), return_state=True)
    if not state.is_completed():
        raise SystemExit(f"the flow run ended as {state}")
    packages: Any = state.result()
    steps = task_steps(state.state_details.flow_run_id, packages)
    Path(job["answer"]).write_text(json.dumps({"steps": steps, "packages": packages}))


def task_steps(flow_run_id: Any, packages: dict[str, StepResult]) -> list[dict[str, Any]]:
    """Return the steps of a flow run in order, as the server recorded them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    runs: list[Any] = []
    deadline_s = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        # The server records task runs a moment after they ended.
        while len(runs) < STEPS or not all(run.end_time for run in runs):
            if time.monotonic() > deadline_s:
                raise SystemExit(f"the server knows {len(runs)} of {STEPS} steps after a minute")
            time.sleep(0.2)
            runs = client.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
            )
    recorded = recorded_runs(packages)
    steps = []
    for run in sorted(runs, key=lambda item: item.start_time):
        name, result = recorded.get(str(run.id), (run.task_key.rsplit("-", 1)[0], None))
        steps.append(
            {
                "name": name,
                "top_hash": result and result["top_hash"],
                "seconds": run.total_run_time.total_seconds(),
                "note": result_note(result),
            }
        )
    return steps


def recorded_runs(packages: dict[str, StepResult]) -> dict[str, tuple[str, StepResult]]:
    """Return the task's name and the revision of every run that the ledger knows, by run id."""
    runs = {}
    for result in packages.values():
        published = runs_of(result["uri"])
        read = [step.event for step in downstream(result["uri"], depth=1).steps]
        for event in read + published:
            runs[event.run.run_id] = (event.run.job_name.rpartition(".")[2], result)
    return runs


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

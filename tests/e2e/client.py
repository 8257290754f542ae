"""What a user of Airflow's REST API sees of DAGs, runs and their tasks."""

from __future__ import annotations

from typing import Any, Final

from tests.e2e.stack import Stack, until

RUN_WITHIN_S: Final = 240.0


class Client:
    """Starts runs and looks at them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def unpause(self, *dag_ids: str) -> None:
        for dag_id in dag_ids:
            path = f"/dags/{dag_id}?update_mask=is_paused"
            self.stack.api("PATCH", path, {"is_paused": False})

    def trigger(self, dag_id: str) -> str:
        body = {"logical_date": None}
        return str(self.stack.api("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def backfilled(self, dag_id: str, from_date: str, to_date: str) -> list[Any]:
        """Have Airflow make up for the days from one to another, and return the ended runs."""
        body = {"dag_id": dag_id, "from_date": from_date, "to_date": to_date}
        self.stack.api("POST", "/backfills", body)

        def look() -> list[Any]:
            # Not the backfill's own `completed_at`: the scheduler looks at it each half minute.
            runs = [run for run in self.runs(dag_id) if run["run_type"] == "backfill"]
            ended = all(run["state"] in ("success", "failed") for run in runs)
            return runs if ended else []

        return until(look, RUN_WITHIN_S, f"the end of the backfill of {dag_id}")

    def runs(self, dag_id: str) -> list[Any]:
        return list(self.stack.api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"])

    def instances(self, dag_id: str, run_id: str) -> list[Any]:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self.stack.api("GET", path)["task_instances"])

    def tasks(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return the task instances by their id; of mapped ones, the last."""
        return {ti["task_id"]: ti for ti in self.instances(dag_id, run_id)}

    def ended(self, dag_id: str, run_id: str | None = None, state: str = "success") -> Any:
        """Wait for the end of a run, the only one unless it is named, and return it."""

        def look() -> Any:
            found = [r for r in self.runs(dag_id) if run_id in (None, r["dag_run_id"])]
            return found if found and found[0]["state"] in ("success", "failed") else None

        (run,) = until(look, RUN_WITHIN_S, f"the end of {dag_id}")
        if run["state"] != state:
            ran = self.instances(dag_id, run["dag_run_id"])
            told = {ti["task_id"]: (ti["state"], ti["try_number"], ti["hostname"]) for ti in ran}
            raise AssertionError(f"{dag_id} is {run['state']}, not {state}: {told}")
        return run

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.stack.api("GET", f"{path}?deserialize=true")["value"]

    def events(self, name: str) -> list[Any]:
        assets = self.stack.api("GET", "/assets?limit=100")["assets"]
        (asset,) = (asset for asset in assets if asset["name"].endswith(f"/{name}"))
        return list(self.stack.api("GET", f"/assets/events?asset_id={asset['id']}")["asset_events"])

    def events_of(self, dag_id: str) -> list[Any]:
        """Return the asset events of a DAG's runs, also of assets that Airflow just learned of."""
        return list(self.stack.api("GET", f"/assets/events?source_dag_id={dag_id}")["asset_events"])

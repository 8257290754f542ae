"""A package for each day, for a backfill to make; no run of its own, as its schedule is over."""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, task

with DAG(
    "e2e_days",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    end_date=datetime(2026, 1, 31, tzinfo=UTC),
    catchup=False,
):

    @task.package(name="e2e/day-{{ ds }}", message="{{ ds }}", t4_conn_id="by_uri")
    def day(ds: Any = None) -> dict[str, bytes]:
        """Return the files of the day."""
        return {"day.bin": ds.encode()}

    day()

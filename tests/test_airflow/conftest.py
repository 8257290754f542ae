"""Airflow's database, made once, and DAGs run on it for real."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG, Context


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Make the tables, once: Airflow keeps its engine for the whole process."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    initdb()
    DagBundlesManager().sync_bundles_to_db()


class Run:
    """A finished run of a DAG: what Airflow's database says of it."""

    def __init__(self, dag_run: DagRun) -> None:
        self._dag_run = dag_run
        self.state = str(dag_run.state)
        self.tries = {ti.task_id: ti.try_number for ti in dag_run.get_task_instances()}
        self.states = {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}

    def xcoms(self, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return what a task pushed, by key, as it is stored: the JSON that the UI shows."""
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            rows = session.scalars(
                select(XComModel).where(
                    XComModel.dag_id == self._dag_run.dag_id,
                    XComModel.run_id == self._dag_run.run_id,
                    XComModel.task_id == task_id,
                    XComModel.map_index == map_index,
                )
            )
            return {row.key: row.value for row in rows}

    def result(self, task_id: str, map_index: int = -1) -> Any:
        return self.xcoms(task_id, map_index)["return_value"]


@pytest.fixture(scope="session")
def run_dag(airflow_db: None) -> Callable[..., Run]:
    """Run a DAG, its tasks in this process, and return how that went."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    def run(dag: DAG, conf: dict[str, Any] | None = None, **when: Any) -> Run:
        bag = DagBag(dag_folder="", collect_dags=False)
        bag.bag_dag(dag)
        sync_bag_to_db(bag, "dags-folder", None)
        return Run(dag.test(run_conf=conf, **when))

    return run


@pytest.fixture
def context() -> Callable[..., Context]:
    """Make the part of a task's context that operators read."""
    from airflow.sdk.execution_time.context import OutletEventAccessors

    def make(**changes: Any) -> Context:
        moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
        facts = {
            "dag_id": "weather",
            "task_id": "group.push",
            "run_id": "manual__1",
            "try_number": 1,
            "map_index": -1,
            "logical_date": moment,
            "run_after": moment,
            "clear_number": 0,
            **changes,
        }
        both = SimpleNamespace(**facts)
        events = OutletEventAccessors()
        return {"ti": both, "dag_run": both, "outlet_events": events}  # type: ignore[typeddict-item]

    return make

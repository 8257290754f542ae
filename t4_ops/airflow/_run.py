"""From a task and its connection to what the steps take, and from their errors to Airflow's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from airflow.sdk import Context, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from t4_ops import operations
from t4_ops.errors import NotFoundError, StorageError, T4Error

if TYPE_CHECKING:
    from t4_ops import Settings
    from t4_ops.operations import CodeLocation, RunInfo


def run_info(context: Context) -> RunInfo:
    """Return the run that lineage records for this try of this task instance.

    Namespace, names and ids are those of Airflow's OpenLineage provider (checked against its
    version 2.20.3: `conf.namespace`, `build_task_instance_ol_run_id`, `build_dag_run_ol_run_id`),
    so that its events and ours tell of one run, whether it is installed or not.
    """
    from airflow import __version__ as airflow_version

    ti, dag_run = context["ti"], context["dag_run"]
    # Runs that an asset or the API started may have no logical date.
    moment = dag_run.logical_date or dag_run.run_after
    namespace = job_namespace()
    parent = operations.JobRun(
        run_id=_run_id(moment, namespace, ti.dag_id, dag_run.clear_number),
        job_namespace=namespace,
        job_name=ti.dag_id,
    )
    return operations.RunInfo(
        run_id=_run_id(moment, namespace, ti.dag_id, ti.task_id, ti.try_number, ti.map_index),
        job_namespace=namespace,
        job_name=f"{ti.dag_id}.{ti.task_id}",
        parent=parent,
        root=parent,
        nominal_time=moment.isoformat(),
        attempt=ti.try_number,
        engine="airflow",
        engine_version=airflow_version,
        code=_code(context),
    )


def settings_for(t4_conn_id: str | None) -> Settings:
    """Return the settings of a connection of type `t4`; None or empty text: those of the worker.

    Raises:
        NotFoundError: There is no such connection, or not the one it borrows from. (Airflow's own
            exception would have the task tried again.)
        InvalidInputError: The connection, or a setting of the worker, is not right.
    """
    # Here and not at the top: parsing a DAG needs no connection.
    from t4_ops.airflow.hook import T4Hook

    try:
        return T4Hook(t4_conn_id or None).settings
    except AirflowNotFoundException as exc:
        raise NotFoundError(str(exc), key=t4_conn_id) from exc


def _code(context: Context) -> CodeLocation | None:
    """Return where a task's function is, else the DAG's file."""
    found = operations.code_of(getattr(context.get("task"), "python_callable", None))
    dag_file = getattr(context.get("dag"), "fileloc", None)
    return found or (operations.code_of_file(dag_file) if dag_file else None)


def job_namespace() -> str:
    """Return the OpenLineage namespace of Airflow's jobs.

    It is `[openlineage] namespace`, else `OPENLINEAGE_NAMESPACE`, else `default`: the rule of
    Airflow's OpenLineage provider, because the namespace is part of its run ids.
    """
    option = conf.get("openlineage", "namespace", fallback="")
    return option or os.environ.get("OPENLINEAGE_NAMESPACE", "default")


def _run_id(moment: datetime, *parts: object) -> str:
    # Here and not at the top: OpenLineage's client takes half a second to import.
    from openlineage.client.uuid import generate_static_uuid

    return str(generate_static_uuid(moment, ".".join(map(str, parts)).encode()))


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise `AirflowFailException`, which ends a task without retries, where a retry can't help.

    Raises:
        AirflowFailException: Any error of ours but the next.
        StorageError: It is retryable; the task's own `retries` decide.
    """
    try:
        yield
    except T4Error as exc:
        if isinstance(exc, StorageError) and exc.retryable:
            raise
        raise AirflowFailException(exc.message) from exc

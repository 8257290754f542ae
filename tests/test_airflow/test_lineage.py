"""Plain tasks, which know nothing of lineage: the library finds their runs by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTerminated,
    TaskDeferred,
)

import t4_ops as t4
from t4_ops import lineage, operations
from t4_ops.airflow._run import run_info
from t4_ops.airflow.operators import (
    BrowsePackageOperator,
    BuildPackageOperator,
    PushPackageOperator,
)
from t4_ops.airflow.runs import RUNS
from tests.lineage_run_support import events, told

if TYPE_CHECKING:
    from tests.test_airflow.conftest import Run

RunDag = Callable[..., "Run"]


@pytest.fixture
def registry(tmp_path: Path) -> str:
    """A registry with the packages `raw/a` and `raw/b`, made outside any run."""
    folder = str(tmp_path / "registry")
    for name in ("a", "b"):
        t4.Package().set("x.json", {"from": name}).build(f"raw/{name}", folder)
    return folder


def test_a_plain_task_is_recorded(run_dag: RunDag, registry: str) -> None:
    seen: list[Any] = []

    @task
    def derive() -> None:
        context = get_current_context()
        seen.append(run_info(context))
        text = t4.Package.browse("raw/a", registry)["x.json"].get_as_string()
        t4.Package().set_text("y.txt", text).build("made/c", registry)
        t4.Package.browse("raw/b", registry)
        t4.Package().set_text("z.txt", text).push("made/d", registry)

    with DAG("plain", schedule=None) as dag:
        derive()
    assert run_dag(dag).state == "success"

    first, second = events(registry)
    assert told(first) == (["raw/a"], ["made/c"])
    assert told(second) == (["raw/a", "raw/b"], ["made/d"])
    (info,) = seen
    for event in (first, second):
        assert event["run"]["runId"] == info.run_id
        assert (event["job"]["namespace"], event["job"]["name"]) == ("default", "plain.derive")
        facets = event["run"]["facets"]
        assert facets["parent"]["run"]["runId"] == info.parent.run_id
        assert facets["parent"]["root"]["job"]["name"] == "plain"
        assert facets["nominalTime"]["nominalStartTime"] == info.nominal_time
        assert facets["t4_run"]["attempt"] == 1
        assert facets["processing_engine"]["name"] == "airflow"
        code = event["job"]["facets"]["t4_code"]
        assert code["path"].endswith("tests/test_airflow/test_lineage.py")
        assert code["function"].endswith("derive")


def test_a_retry_records_its_own_attempt(run_dag: RunDag, registry: str) -> None:
    @task(retries=1, retry_delay=timedelta(0))
    def flaky() -> None:
        attempt = get_current_context()["ti"].try_number
        t4.Package.browse("raw/a" if attempt == 1 else "raw/b", registry)
        t4.Package().set_text("y.txt", "x").build("made/c", registry)
        if attempt == 1:
            raise ValueError("first try")

    with DAG("flaky", schedule=None) as dag:
        flaky()
    assert run_dag(dag).state == "success"

    first, second = events(registry)
    assert [e["run"]["facets"]["t4_run"]["attempt"] for e in (first, second)] == [1, 2]
    assert [told(event)[0] for event in (first, second)] == [["raw/a"], ["raw/b"]]


def test_an_operator_records_once_and_names_the_dags_file(
    run_dag: RunDag, registry: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("x")
    with DAG("operators", schedule=None) as dag:
        BuildPackageOperator(
            task_id="build", name="made/c", source=str(tmp_path / "f"), registry=registry
        )
    assert run_dag(dag).state == "success"

    (event,) = events(registry)
    code = event["job"]["facets"]["t4_code"]
    assert code["path"].endswith("tests/test_airflow/test_lineage.py")
    assert "function" not in code


def test_column_lineage_may_name_another_tasks_output(
    run_dag: RunDag, registry: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("x")
    with DAG("columns", schedule=None) as dag:
        read = BrowsePackageOperator(task_id="read", package="raw/a", registry=registry)
        build = BuildPackageOperator(
            task_id="build",
            name="made/c",
            source=str(tmp_path / "f"),
            registry=registry,
            column_lineage={"total": [(read.output, "amount")]},
        )
        PushPackageOperator(
            task_id="push",
            package=build.output,
            registry=str(tmp_path / "other"),
            column_lineage={"total": [[read.output, "{{ 'amount' }}"]]},
        )
    assert run_dag(dag).state == "success"

    (built,) = (event for event in events(registry) if event["outputs"])
    (pushed,) = events(str(tmp_path / "other"))
    for event in (built, pushed):
        told_of = event["outputs"][0]["facets"]["columnLineage"]["fields"]
        (source,) = next(iter(told_of.values()))["inputFields"]
        assert (source["name"], source["field"]) == (f"{registry}/raw/a", "amount")


def test_a_step_in_a_plain_task_tells_what_the_task_has_read(
    run_dag: RunDag, registry: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("x")

    @task
    def work() -> Any:
        t4.Package.browse("raw/a", registry)
        return operations.build("made/c", tmp_path / "f", registry=registry)

    with DAG("steps", schedule=None) as dag:
        work()
    run = run_dag(dag)

    (event,) = events(registry)
    inputs, outputs = told(event)
    assert (inputs[1:], outputs) == (["raw/a"], ["made/c"])
    assert [item["name"] for item in run.result("work")["inputs"]][1:] == ["raw/a"]


def test_a_run_block_sees_the_end_of_the_task(run_dag: RunDag, registry: str) -> None:
    @task
    def work() -> None:
        with lineage.run():
            t4.Package.browse("raw/a", registry)
            t4.Package().set_text("y.txt", "x").build("made/c", registry)
            t4.Package.browse("raw/b", registry)
            raise ValueError("at the end")

    with DAG("block", schedule=None) as dag:
        work()
    assert run_dag(dag).state == "failed"

    (event,) = events(registry)
    assert event["eventType"] == "FAIL"
    assert event["job"]["name"] == "block.work"
    assert told(event) == (["raw/a", "raw/b"], ["made/c"])


def test_a_task_that_skips_itself_has_not_failed(run_dag: RunDag, registry: str) -> None:
    @task
    def work() -> None:
        with lineage.run():
            t4.Package.browse("raw/a", registry)
            raise AirflowSkipException("nothing to do today")

    with DAG("skip", schedule=None) as dag:
        work()
    run_dag(dag)

    (event,) = events(registry)
    assert event["eventType"] == "COMPLETE"
    assert "errorMessage" not in event["run"]["facets"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (AirflowRescheduleException(datetime.now(UTC)), "COMPLETE"),
        (TaskDeferred(trigger=None, method_name="go_on"), "COMPLETE"),
        (AirflowTaskTerminated("from outside"), "ABORT"),
        (AirflowFailException("no"), None),
        (ValueError("no"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_airflows_own_exceptions_are_told_from_failures(
    error: BaseException, outcome: str | None
) -> None:
    assert RUNS.outcome(error) == outcome


def test_outside_a_task_there_is_no_run(registry: str) -> None:
    assert RUNS.current_run() is None
    assert RUNS.sender() is None
    t4.Package.browse("raw/a", registry)
    t4.Package().set_text("y.txt", "x").build("made/c", registry)

    assert events(registry) == []

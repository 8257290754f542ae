"""Operators in DAGs that run for real: templates, mapping, retries."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, task

import t4_ops as t4
from t4_ops import lineage
from t4_ops.airflow.operators import (
    BrowsePackageOperator,
    BuildPackageOperator,
    InstallPackageOperator,
    PushPackageOperator,
)

if TYPE_CHECKING:
    from tests.test_airflow.conftest import Run

ROOT = Path(__file__).resolve().parents[2]
RunDag = Callable[..., "Run"]


@pytest.fixture
def source(tmp_path: Path) -> str:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"first")
    return str(folder)


def inputs_of(result: dict[str, Any]) -> list[str]:
    """Return what a revision was made from in one step, as far as that are packages."""
    (_, *found) = lineage.upstream(result, depth=1).walk()
    return [node.ref.name for node in found if node.ref is not None]


def test_templates_name_packages_registries_and_places(
    run_dag: RunDag, source: str, tmp_path: Path
) -> None:
    with DAG("templates", schedule=None, params={"registry": None, "owner": "team"}) as dag:
        build = BuildPackageOperator(
            task_id="build",
            name="{{ params.owner }}/raw",
            source={"a.txt": source + "/{{ 'a' }}.txt"},
            meta={"owner": "{{ params.owner }}"},
            message="for {{ params.owner }}",
            registry="{{ params.registry or '' }}",
        )
        push = PushPackageOperator(
            task_id="push",
            package="{{ ti.xcom_pull('build') }}",
            name="{{ params.owner }}/clean",
            registry="{{ params.registry }}",
            force="{{ params.owner == 'nobody' }}",
        )
        browse = BrowsePackageOperator(task_id="browse", package="{{ ti.xcom_pull('push').uri }}")
        install = InstallPackageOperator(
            task_id="install",
            package=browse.output,
            dest=str(tmp_path) + "/{{ ti.xcom_pull('push', key='top_hash') }}",
        )
        report = BuildPackageOperator(
            task_id="report",
            name="team/report",
            source=source,
            inputs="{{ [ti.xcom_pull('install'), ti.xcom_pull('build').uri] }}",
        )
        build >> push >> browse
        install >> report
    target = tmp_path / "shared"
    # Started as an event or the API would: without a logical date.
    run = run_dag(dag, {"registry": str(target)}, logical_date=None)
    assert run.state == "success"
    pushed, installed = run.result("push"), run.result("install")
    assert (pushed["name"], pushed["registry"]) == ("team/clean", f"file://{target}")
    assert Path(installed["dest"], "a.txt").read_bytes() == b"first"
    assert {"namespace": "file", "name": f"{source}/a.txt"} in pushed["inputs"]
    assert installed["dest"] == str(tmp_path / pushed["top_hash"])
    assert t4.Package.browse("team/clean", registry=str(target)).meta == {"owner": "team"}
    assert inputs_of(run.result("report")) == ["team/clean", "team/raw"]


def test_mapped_operators_take_and_give_mapped_results(run_dag: RunDag, source: str) -> None:
    @task
    def hashes(top_hashes: Iterable[str]) -> list[str]:
        return list(top_hashes)

    with DAG("mapped", schedule=None) as dag:
        build = BuildPackageOperator.partial(task_id="build", source=source).expand(
            name=["team/a", "team/b"]
        )
        push: Any = PushPackageOperator.partial(task_id="push").expand(package=build.output)
        hashes(push.output["top_hash"])
        BuildPackageOperator(
            task_id="joined", name="team/joined", source=source, inputs=[push.output]
        )
    run = run_dag(dag)
    assert run.state == "success"
    pushed = [run.result("push", index) for index in (0, 1)]
    assert [result["name"] for result in pushed] == ["team/a", "team/b"]
    assert run.result("hashes") == [result["top_hash"] for result in pushed]
    assert inputs_of(run.result("joined")) == ["team/a", "team/b"]
    runs = {event.run.run_id for result in pushed for event in lineage.runs_of(result)}
    assert len(runs) == 4  # two builds and two pushes, each a task instance of its own


@pytest.fixture
def dead_endpoint() -> Iterator[str]:
    """An address that refuses connections: bound, so that nobody takes it, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_what_the_user_must_mend_fails_once_and_a_storage_that_is_away_is_tried_again(
    run_dag: RunDag, dead_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T4_S3_ENDPOINT_URL", dead_endpoint)
    monkeypatch.setenv("T4_S3_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("T4_S3_REGION", "us-east-1")
    monkeypatch.setenv("T4_S3_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("T4_S3_SECRET_ACCESS_KEY", "secret")
    retries: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(0)}
    with DAG("failing", schedule=None, default_args=retries) as dag:
        BrowsePackageOperator(task_id="unknown", package="team/unknown")
        BrowsePackageOperator(task_id="away", package="team/raw", registry="s3://away-bucket")
    run = run_dag(dag)
    assert run.state == "failed"
    assert run.states == {"unknown": "failed", "away": "failed"}
    assert run.tries == {"unknown": 1, "away": 2}


def test_runs_of_days_gone_by_make_those_days_revisions(run_dag: RunDag, tmp_path: Path) -> None:
    """As a backfill does, newest first; each run again finds its work done."""

    @task
    def extract(folder: str, day: str) -> str:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, "day.txt").write_text(day)
        return folder

    with DAG("backfilled", schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        build = BuildPackageOperator(
            task_id="build",
            name="team/days",
            source=extract(f"{tmp_path}/{{{{ ds }}}}", "{{ ds }}"),
            registry=str(tmp_path / "registry"),
        )
        PushPackageOperator(task_id="push", package=build.output, name="team/{{ ds }}")
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (3, 2, 1)]
    first, again = (
        [run_dag(dag, logical_date=day).result("push") for day in days] for _ in range(2)
    )
    for day, one, other in zip(days, first, again, strict=True):
        text = f"{day:%Y-%m-%d}"
        assert one["name"] == f"team/{text}"
        assert t4.Package.browse(one["name"])["day.txt"].get_bytes() == text.encode()
        assert other == {**one, "changed": False}
        (event, *_) = lineage.runs_of(one)
        assert event.run.nominal_time == day.isoformat()


def test_a_step_over_its_time_stops_soon_and_publishes_nothing(
    run_dag: RunDag, tmp_path: Path
) -> None:
    source = tmp_path / "large"
    source.mkdir()
    for number in range(400):
        # Holes: they take no space, and hashing 6 GB takes far longer than the time it has.
        with (source / f"{number}.bin").open("wb") as file:
            file.truncate(16 * 1024 * 1024)
    with DAG("overtime", schedule=None) as dag:
        BuildPackageOperator(
            task_id="build",
            name="team/raw",
            source=str(source),
            execution_timeout=timedelta(seconds=2),
        )
    start_s = time.monotonic()
    run = run_dag(dag)
    assert run.states["build"] == "failed"
    assert time.monotonic() - start_s < 30
    assert list(t4.list_packages()) == []


def test_the_dag_of_the_documentation(run_dag: RunDag, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "airflow.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    (dags := tmp_path / "dags").mkdir()
    (dags / "orders.py").write_text(code.replace('"/tmp/orders"', repr(str(tmp_path / "work"))))
    (dags / "functions.py").write_text(text.split("```python\n")[2].split("```")[0])
    bag = DagBag(dag_folder=dags, safe_mode=False)
    assert bag.import_errors == {}
    functions = run_dag(bag.dags["functions"])
    assert functions.state == "success"
    assert inputs_of(functions.result("report")) == ["shop/orders"]
    t4.delete_package("shop/orders")
    first, second = (run_dag(bag.dags["orders"]) for _ in range(2))
    assert first.state == second.state == "success"
    assert second.result("count") == 2
    for step in ("build", "push", "install"):
        assert second.result(step)["top_hash"] == first.result(step)["top_hash"]
        assert (first.result(step)["changed"], second.result(step)["changed"]) == (True, False)

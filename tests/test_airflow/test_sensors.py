"""The sensor, in its three ways to wait, in DAGs that run for real."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException

import t4_ops as t4
from t4_ops.airflow.links import revision_links
from t4_ops.airflow.sensors import PackageSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tests.test_airflow.conftest import Run

RunDag = Callable[..., "Run"]
MakeContext = Callable[..., "Context"]


@pytest.fixture
def registry(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


def push(registry: str, text: str, name: str = "team/raw") -> str:
    package = t4.Package().set_text("a.txt", text).set_text("data/b.txt", text)
    return package.push(name, registry, force=True).top_hash


def later(work: Callable[[], object], delay_s: float = 2.0) -> threading.Timer:
    timer = threading.Timer(delay_s, work)
    timer.start()
    return timer


def test_what_is_there_is_found_at_once_and_pinned(run_dag: RunDag, registry: str) -> None:
    first = push(registry, "first")

    @task
    def use(top_hash: str, uri: str) -> list[str]:
        return [top_hash, uri]

    with DAG("there", schedule=None, params={"name": "team/raw"}) as dag:
        found = PackageSensor(
            task_id="wait",
            name="{{ params.name }}",
            registry=registry,
            contains=["a.txt", "data/"],
            poke_interval=0.1,
        )
        made: Any = found.output
        use(made["top_hash"], made["uri"])
    run = run_dag(dag)
    uri = t4.resolve("team/raw", registry).uri
    assert run.result("use") == [first, uri]
    assert run.result("wait")["top_hash"] == first


@pytest.mark.parametrize("how", ["poke", "reschedule", "deferrable"])
def test_a_move_after_the_beginning_is_waited_for(run_dag: RunDag, registry: str, how: str) -> None:
    before = push(registry, "before")
    ways: dict[str, Any] = {"deferrable": True} if how == "deferrable" else {"mode": how}
    with DAG(f"moves_{how}", schedule=None) as dag:
        PackageSensor(
            task_id="wait",
            name="team/raw",
            registry=registry,
            moved_since="now",
            poke_interval=0.2,
            timeout=60,
            **ways,
        )
    timer = later(lambda: push(registry, "after"), 4.0)
    run = run_dag(dag)
    timer.join()
    after = t4.resolve("team/raw", registry).top_hash
    assert run.state == "success"
    assert after != before
    assert run.result("wait")["top_hash"] == after


def test_a_step_result_says_since_when(run_dag: RunDag, registry: str) -> None:
    push(registry, "before")

    @task(multiple_outputs=True)
    def known() -> dict[str, str]:
        return t4.resolve("team/raw", registry).to_dict()

    with DAG("since", schedule=None) as dag:
        PackageSensor(
            task_id="wait",
            name="team/raw",
            registry=registry,
            moved_since=known(),
            poke_interval=0.1,
            timeout=0.3,
        )
    assert run_dag(dag).states["wait"] == "failed"
    with DAG("since_templated", schedule=None, params={"since": "0" * 64}) as dag:
        PackageSensor(
            task_id="wait",
            name="team/raw",
            registry=registry,
            moved_since="{{ params.since }}",
            poke_interval=0.1,
            timeout=0.3,
        )
    assert run_dag(dag).states["wait"] == "success"


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    "condition",
    [{"equals": "f" * 64}, {"contains": "missing.txt"}, {"name": "team/none"}],
    ids=lambda condition: next(iter(condition)),
)
def test_what_does_not_become_so_times_out(
    run_dag: RunDag, registry: str, condition: dict[str, str], deferrable: bool
) -> None:
    push(registry, "first")
    given: dict[str, Any] = {"name": "team/raw", **condition}
    with DAG(f"out_{next(iter(condition))}_{deferrable}", schedule=None) as dag:
        PackageSensor(
            task_id="wait",
            registry=registry,
            poke_interval=0.2,
            timeout=1,
            soft_fail=True,
            deferrable=deferrable,
            **given,
        )
    start_s = time.monotonic()
    run = run_dag(dag)
    assert run.states["wait"] == "skipped"
    assert time.monotonic() - start_s < 60


@pytest.mark.parametrize(
    "wrong", [{"name": "noslash"}, {"moved_since": "yesterday"}, {"equals": "xyz"}]
)
def test_what_the_user_must_mend_fails_at_once(
    registry: str, context: MakeContext, wrong: dict[str, str]
) -> None:
    given: dict[str, Any] = {"name": "team/raw", "registry": registry, **wrong}
    with pytest.raises(AirflowFailException):
        PackageSensor(task_id="wait", **given).poke(context())


def test_templates_may_have_rendered_results_and_lists_as_text(
    registry: str, context: MakeContext
) -> None:
    push(registry, "first")
    ref = str(t4.resolve("team/raw", registry).to_dict())
    given: dict[str, Any] = {"name": "team/raw", "registry": registry}
    conditions: list[tuple[dict[str, Any], bool]] = [
        ({"contains": "['a.txt', 'data/']"}, True),
        ({"contains": "['a.txt', 'c.txt']"}, False),
        ({"equals": ref}, True),
        ({"moved_since": ref}, False),
        ({"moved_since": "", "equals": "", "contains": ""}, True),
    ]
    for condition, is_so in conditions:
        sensor = PackageSensor(task_id="wait", **given, **condition)
        assert bool(sensor.poke(context())) is is_so, condition


def test_the_button_leads_to_what_was_seen(
    registry: str, context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    top_hash = push(registry, "first")
    monkeypatch.setenv("AIRFLOW__T4_OPS__REVISION_URL", "https://catalog.example/{top_hash}")
    (link,) = revision_links()
    key: Any = None
    polled, resumed = (
        PackageSensor(task_id="wait", name="team/raw", registry=registry) for _ in range(2)
    )
    assert link.get_link(polled, ti_key=key) == ""
    polled.execute(context())
    answer = {**t4.resolve("team/raw", registry).to_dict(), "met": True, "reason": "is so"}
    resumed.execute_complete(context(), answer)
    for sensor in (polled, resumed):
        assert link.get_link(sensor, ti_key=key) == f"https://catalog.example/{top_hash}"


def test_a_connection_that_is_not_there_fails_at_once(context: MakeContext) -> None:
    sensor = PackageSensor(task_id="wait", name="team/raw", t4_conn_id="nowhere")
    with pytest.raises(AirflowFailException, match="nowhere"):
        sensor.execute(context())


def test_a_storage_that_is_away_may_come_back(
    registry: str, context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T4_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("T4_S3_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("T4_S3_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("T4_S3_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("T4_S3_REGION", "us-east-1")
    sensor = PackageSensor(task_id="wait", name="team/raw", registry="s3://away-bucket")
    assert not sensor.poke(context())


def test_a_deferred_sensor_tells_what_the_triggerer_could_not_do(context: MakeContext) -> None:
    sensor = PackageSensor(task_id="wait", name="team/raw")
    with pytest.raises(AirflowFailException, match="no way"):
        sensor.execute_complete(context(), {"met": False, "reason": "no way"})


def test_every_argument_is_a_template_field() -> None:
    given = {name: ["{{ ds }}", name] for name in PackageSensor.template_fields}
    made: Any = PackageSensor(task_id="t", **given)  # type: ignore[arg-type]
    for name, value in given.items():
        assert getattr(made, name) is value
